"""Optional hooks: read in one place, with their defaults; a name that is nearly one is refused when it is looked up."""

from __future__ import annotations

import ast
from typing import Any, ClassVar

import pytest
from torch import Tensor

from robustcl import hooks, registry
from robustcl.errors import NotAPlugin
from robustcl.hooks import HOOKS, GeneratorHooks, ObjectiveHooks, PluginHooks, ViewHooks
from robustcl.protocols import Need
from robustcl.types import Attack
from tests import house


class Still:
    """A generator that has nothing but what it must have."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation = "None."

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        return x


def test_what_is_left_out_is_the_default() -> None:
    found = hooks.of(Still(), GeneratorHooks)
    assert (found.constants, found.lockstep, found.target, found.eot, found.step_size) == ((), True, None, 1, None)
    assert found.grow(2.0) == {}
    assert found.available() is None
    found.check_item((1, 2))
    assert hooks.of(Still, ViewHooks).range == (0.0, 1.0)
    assert not hooks.has(Still(), "defaults")


def test_a_plugin_s_own_comes_first() -> None:
    class Own(Still):
        lockstep = False
        constants: ClassVar[tuple[str, ...]] = ("other",)

        def grow(self, times: float) -> dict[str, float]:
            return {"length": times}

    found = hooks.of(Own(), GeneratorHooks)
    assert (found.lockstep, found.constants, found.grow(3.0)) == (False, ("other",), {"length": 3.0})
    assert hooks.has(Own(), "grow")


def test_what_is_no_hook_is_an_error() -> None:
    with pytest.raises(AttributeError):
        assert hooks.of(Still(), ObjectiveHooks).lockstep  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("wrong", "meant"), [("lockstp", "lockstep"), ("check_itm", "check_item"), ("constant", "constants")]
)
def test_a_misspelt_hook_is_refused(wrong: str, meant: str) -> None:
    cls = type("Wrong", (Still,), {wrong: (lambda self, item: None) if meant == "check_item" else False})
    with (
        pytest.raises(NotAPlugin, match=f"has '{wrong}', which nothing reads: did you mean '{meant}'"),
        registry.local("generator", "wrong", cls),
    ):
        pass


@pytest.mark.parametrize("name", ["_lockstp", "schedule", "radius", "constants_of_mine_alone"])
def test_other_names_are_the_plugin_s_own_business(name: str) -> None:
    with registry.local("generator", "mine", type("Mine", (Still,), {name: False})):
        assert registry.get("generator", "mine")


def test_helpers_of_one_s_own_are_no_misspellings() -> None:
    class Mine(Still):
        def step(self, x: Tensor) -> Tensor:
            return x

        def targets(self) -> int:
            return 3

        constant: ClassVar[Any] = staticmethod(lambda: 1.0)

    with registry.local("generator", "mine", Mine):
        assert registry.get("generator", "mine") is Mine


def test_a_hook_that_is_none_is_left_out() -> None:
    class Empty(Still):
        check_item = None
        grow = None
        available = None

    found = hooks.of(Empty(), GeneratorHooks)
    found.check_item((1,))
    assert (found.grow(2.0), found.available()) == ({}, None)


def test_an_option_is_no_misspelling() -> None:
    class Mine(Still):
        def __init__(self, *, step: float = 0.1, constant: float = 1.0) -> None:
            self.step, self.constant = step, constant

    with registry.local("generator", "mine", Mine):
        assert registry.get("generator", "mine") is Mine


@pytest.mark.parametrize("kind", HOOKS)
def test_every_installed_plugin_passes(kind: str) -> None:
    for name in registry.names(kind):
        assert registry.get(kind, name)


def test_every_kind_has_its_hooks() -> None:
    assert set(HOOKS) == set(registry.KINDS)
    assert all(issubclass(found, PluginHooks) for found in HOOKS.values())


def test_hooks_are_read_in_one_place() -> None:
    known = {name for found in HOOKS.values() for name in dir(found) if not name.startswith("_")} - {"preset"}
    read: list[Any] = []
    for path in (house.ROOT / "robustcl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "getattr" and len(node.args) == 3:
                name = node.args[1]
                if isinstance(name, ast.Constant) and name.value in known:
                    read.append((path.name, name.value))
    assert read == []
