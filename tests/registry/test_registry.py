"""The registry over distributions that are made by hand: good, broken, doubled, clashing, lacking."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import pytest

from robustcl import protocols, registry
from robustcl.errors import AmbiguousPlugin, BrokenPlugin, NotAPlugin, UnknownPlugin, UsageError
from robustcl.protocols import Need
from tests.shared.distributions import GOOD, install

GENERATORS = "robustcl.generators"


def good(site: Path, name: str = "acme", module: str = "acme_plugins", **names: str) -> None:
    install(site, name, {GENERATORS: names or {"nudge": f"{module}:Nudge"}}, {f"{module}.py": GOOD})


def test_the_kinds_are_those_of_the_protocols() -> None:
    assert tuple(protocols.KINDS) == registry.KINDS


def test_names_import_nothing(site: Path) -> None:
    good(site)
    install(
        site,
        "bad",
        {GENERATORS: {"bang": "bang_module:Bang"}},
        {"bang_module.py": "raise RuntimeError('bang')"},
    )
    assert registry.names("generator") == ["bang", "nudge"]
    assert registry.origin("generator", "nudge") == registry.Origin("acme", "1.0", "acme_plugins:Nudge")
    assert registry.names("selector") == []
    assert "acme_plugins" not in sys.modules


def test_get_imports_only_that_one(site: Path) -> None:
    good(site)
    install(
        site,
        "bad",
        {GENERATORS: {"bang": "bang_module:Bang"}},
        {"bang_module.py": "raise RuntimeError('bang')"},
    )
    cls = registry.get("generator", "nudge")
    assert (cls.__module__, cls.__name__) == ("acme_plugins", "Nudge")
    assert "bang_module" not in sys.modules
    assert registry.get("generator", "acme/nudge") is cls
    assert str(registry.find("generator", "nudge").origin) == "acme 1.0"


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("raise RuntimeError('no CUDA here')", "RuntimeError: no CUDA here"),
        ("def (:", "SyntaxError"),
        ("import not_there_at_all", "ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("", "AttributeError"),
    ],
)
def test_a_broken_plugin_breaks_itself_alone(site: Path, source: str, cause: str) -> None:
    good(site)
    install(site, "bad", {GENERATORS: {"bang": "bang_module:Bang"}}, {"bang_module.py": source}, version="2.1")
    with pytest.raises(BrokenPlugin) as caught:
        registry.get("generator", "bang")
    for part in ("generator 'bang'", "bad 2.1", "bang_module:Bang", cause):
        assert part in str(caught.value)
    assert caught.value.__cause__ is not None
    assert registry.get("generator", "nudge").__name__ == "Nudge"


def test_an_unknown_name_is_answered_with_near_ones(site: Path) -> None:
    good(site)
    install(site, "more", {"robustcl.targets": {"silhouette": "m:X"}})
    with pytest.raises(
        UnknownPlugin,
        match="no installed distribution offers a generator called 'nugde', did you mean 'nudge'",
    ):
        registry.get("generator", "nugde")
    with pytest.raises(UnknownPlugin, match=r"'silhouette' is a name of another kind: target; there are: nudge"):
        registry.get("generator", "silhouette")
    with pytest.raises(UnknownPlugin, match=r"^--generator: no installed"):
        registry.find("generator", "nugde", "--generator")
    with pytest.raises(UnknownPlugin, match="the kinds are generator, objective"):
        registry.names("generators")
    with pytest.raises(UnknownPlugin):
        registry.get("generator", "more/nudge")


def test_two_owners_of_a_name_are_ambiguous(site: Path) -> None:
    """A third party that takes a built-in's name never replaces it in silence."""
    good(site, "robustcl", "built_in", nudge="built_in:Nudge", own="built_in:Nudge")
    good(site, "Acme.Tools", "acme_plugins", nudge="acme_plugins:Other")
    assert registry.names("generator") == ["Acme.Tools/nudge", "own", "robustcl/nudge"]
    with pytest.raises(AmbiguousPlugin) as caught:
        registry.get("generator", "nudge")
    for part in ("robustcl 1.0 (built_in:Nudge)", "Acme.Tools 1.0", "'Acme.Tools/nudge' or 'robustcl/nudge'"):
        assert part in str(caught.value)
    assert registry.get("generator", "robustcl/nudge").__module__ == "built_in"
    assert registry.get("generator", "acme-tools/nudge").__name__ == "Other"
    assert registry.get("generator", "own").__module__ == "built_in"


def test_the_same_distribution_twice_is_one(site: Path) -> None:
    """A build's egg-info beside the installed dist-info says what was, not what is."""
    install(site, "acme", {GENERATORS: {"old": "acme_plugins:Nudge"}}, egg=True, version="0.9")
    good(site)
    assert registry.names("generator") == ["nudge"]
    assert registry.origin("generator", "nudge").version == "1.0"
    install(site, "A-cme", {GENERATORS: {"nudge": "acme_plugins:Nudge"}})
    registry.refresh()
    assert registry.names("generator") == ["A-cme/nudge", "acme/nudge"]


def test_the_first_on_the_path_is_the_one_that_would_be_imported(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, version in (("first", "1.0"), ("second", "2.0")):
        install(site / folder, "acme", {GENERATORS: {"nudge": "acme_plugins:Nudge"}}, version=version)
    folders = [str(site / "first"), str(site / "second")]
    finder = importlib.metadata.MetadataPathFinder()
    context = importlib.metadata.DistributionFinder.Context(path=folders)
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: finder.find_distributions(context))
    assert registry.origin("generator", "nudge").version == "1.0"


@pytest.mark.parametrize(
    ("target", "missing"),
    [
        ("acme_plugins:Lacking", "has no method 'perturb'"),
        ("acme_plugins:Untold", "has no 'citation' and has no 'needs'"),
        ("acme_plugins:function", "is a function, not a class"),
    ],
)
def test_what_lacks_a_member_is_no_plugin(site: Path, target: str, missing: str) -> None:
    good(site, nudge=target)
    with pytest.raises(NotAPlugin) as caught:
        registry.get("generator", "nudge")
    assert missing in str(caught.value)
    assert f"acme 1.0 ({target})" in str(caught.value)


def test_a_colon_presets_the_declared_option(site: Path) -> None:
    good(site, nudge="acme_plugins:Nudge", plain="acme_plugins:Other")
    found = registry.find("generator", "nudge:a/b:c")
    assert dict(found.preset) == {"label": "a/b:c"}
    assert dict(registry.find("generator", "acme/nudge").preset) == {}
    assert registry.find("generator", "acme/nudge:PGD").preset == {"label": "PGD"}
    with pytest.raises(UsageError, match="takes nothing after a colon; write 'plain'"):
        registry.find("generator", "plain:PGD")
    with pytest.raises(UsageError, match="names nothing after the colon; write 'nudge:LABEL'"):
        registry.find("generator", "nudge:")


def test_metadata_is_scanned_once_for_all_groups(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good(site)
    count = 0
    patched = importlib.metadata.distributions

    def counted() -> Any:
        nonlocal count
        count += 1
        return patched()

    monkeypatch.setattr(importlib.metadata, "distributions", counted)
    for kind in registry.KINDS:
        registry.names(kind)
    registry.get("generator", "nudge")
    registry.recipes()
    assert count == 1


def test_unreadable_entry_points_register_nothing(site: Path) -> None:
    good(site)
    install(site, "torn", {})
    (site / "torn-1.0.dist-info" / "entry_points.txt").write_text("[robustcl.generators]\nno equals sign here\n")
    assert registry.names("generator") == ["nudge"]


class Mine:
    """A plugin of this session."""

    needs: frozenset[Need] = frozenset()
    citation = "Me, Here, 2024"

    def perturb(self, x: Any, attack: Any) -> Any:
        """Return x."""
        return x


def test_local_adds_inside_a_with(site: Path) -> None:
    good(site)
    with registry.local("generator", "mine", Mine) as cls, registry.local("generator", "also", Mine):
        assert cls is Mine
        assert registry.get("generator", "mine") is Mine
        assert registry.names("generator") == ["also", "mine", "nudge"]
        assert str(registry.origin("generator", "mine")) == "local"
        with pytest.raises(AmbiguousPlugin, match="local already"), registry.local("generator", "mine", Mine):
            pass
    assert registry.names("generator") == ["nudge"]
    with pytest.raises(RuntimeError, match="inside"), registry.local("generator", "mine", Mine):
        raise RuntimeError("inside")
    assert registry.names("generator") == ["nudge"]


def test_local_never_shadows_in_silence(site: Path) -> None:
    good(site)
    with registry.local("generator", "nudge", Mine):
        with pytest.raises(AmbiguousPlugin, match="'local/nudge' or 'acme/nudge'"):
            registry.get("generator", "nudge")
        assert registry.get("generator", "local/nudge") is Mine


def test_local_refuses_what_is_no_plugin() -> None:
    with pytest.raises(NotAPlugin, match="has no 'citation'"), registry.local("generator", "x", object):
        pass


def test_recipes_are_packages_of_toml_files(site: Path) -> None:
    toml = {
        "acme_recipes/__init__.py": "",
        "acme_recipes/fast.toml": "name = 'fast'",
        "acme_recipes/notes.txt": "no",
    }
    install(site, "acme", {"robustcl.recipes": {"acme": "acme_recipes"}}, toml)
    install(
        site,
        "bad",
        {"robustcl.recipes": {"bad": "bad_recipes"}},
        {"bad_recipes/__init__.py": "raise ValueError('x')"},
    )
    assert {name: str(origin) for name, origin in registry.recipes().items()} == {"fast": "acme 1.0"}
    assert registry.recipe_text("fast") == "name = 'fast'"
    assert "bad_recipes" in str(registry.broken_recipes()[0])
    with pytest.raises(
        UnknownPlugin, match=r"recipe called 'fats', did you mean 'fast'\?; the recipe 'bad' of bad 1.0"
    ):
        registry.recipe_text("fats")


def test_recipes_of_one_name_are_ambiguous(site: Path) -> None:
    for name in ("one", "two"):
        files = {f"{name}_recipes/__init__.py": "", f"{name}_recipes/fast.toml": f"name = '{name}'"}
        install(site, name, {"robustcl.recipes": {name: f"{name}_recipes"}}, files)
    assert list(registry.recipes()) == ["one/fast", "two/fast"]
    with pytest.raises(AmbiguousPlugin, match="'one/fast' or 'two/fast'"):
        registry.recipe_text("fast")
    assert registry.recipe_text("two/fast") == "name = 'two'"
