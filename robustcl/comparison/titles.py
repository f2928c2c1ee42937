"""Attacks as the field writes them: AutoAttack, RayS, PGD-20, APGD-CE."""

from __future__ import annotations

from robustcl import registry
from robustcl.evaluate import aim


def title(attack: str) -> str:
    """Return the title of a registered attack or generator.

    Its class's own spelling where that is the name: AutoAttack, RayS, Multi-Targeted-PGD. Otherwise acronyms in
    capitals where a word has at most four letters: "pgd-20" is PGD-20. Behind a colon stands another library's own
    name, which is left alone; a class that the attack aims at follows it: "PGD, target 3".
    """
    name, target = aim.split_aimed(attack)
    aimed = "" if target is None else f", target {target}"
    if ":" in name:
        return name + aimed
    return (_own(name) or "-".join(_capital(word) for word in name.split("-"))) + aimed


def _own(name: str) -> str | None:
    """Return the class's spelling of a name, with the name's hyphens; ``None`` where the class is called otherwise."""
    plain = name.replace("-", "")
    for entry in (entry for kind in ("attack", "generator") for entry in registry.entries(kind) if entry.name == name):
        own = entry.origin.target.rpartition(":")[2].rpartition(".")[2]
        for spelling in (own, own.removesuffix("Attack")):
            if spelling.lower() == plain:
                letters = iter(spelling)
                return "".join("-" if letter == "-" else next(letters) for letter in name)
    return None


def _capital(word: str) -> str:
    return word.upper() if len(word) <= 4 else word.capitalize()
