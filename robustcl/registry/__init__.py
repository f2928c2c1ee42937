"""What is installed and what it is called: entry points to plugins, recipes, studies and presets of attacks."""

from robustcl.registry.find import (
    FoundPlugin,
    broken_recipes,
    find,
    get,
    load,
    local,
    names,
    origin,
    recipe_text,
    recipes,
    refresh,
    studies,
    study_text,
)
from robustcl.registry.installed import KINDS, LOCAL, Entry, Origin
from robustcl.registry.lookup import choose, entries, kind_of, labels

__all__ = [
    "KINDS",
    "LOCAL",
    "Entry",
    "FoundPlugin",
    "Origin",
    "broken_recipes",
    "choose",
    "entries",
    "find",
    "get",
    "kind_of",
    "labels",
    "load",
    "local",
    "names",
    "origin",
    "recipe_text",
    "recipes",
    "refresh",
    "studies",
    "study_text",
]
