"""Options read from ``__init__``: what is accepted, what is refused and in which words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
import tomli_w
from annotated_types import Ge, Le
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from robustcl.errors import NotAPlugin, OptionError
from robustcl.options import (
    REQUIRED,
    Count,
    Fraction,
    NonNegative,
    Positive,
    Ratio,
    build,
    describe,
    model_of,
    resolve,
)
from robustcl.options.schedule import Progress

if TYPE_CHECKING:
    from decimal import Decimal

WHERE = "stage.robust.generator.w_adv"


class Plugin:
    """Has an option of every type.

    Args:
        eps: the radius,
            in parts of the range.
        steps (int): how many steps.
    """

    def __init__(
        self,
        *,
        clusters: Count,
        eps: Annotated[Ratio, Ge(0), Le(1)] = 8 / 255,
        steps: Annotated[int, Ge(1)] = 5,
        momentum: Fraction = 0.9,
        decay: NonNegative = 0.0,
        clip: Positive | None = None,
        mode: Literal["sum", "mean"] = "mean",
        layers: tuple[int, ...] = (1, 2),
        mix: Mapping[str, float] | None = None,
        path: Path = Path("data"),
        copy: bool = False,
    ) -> None:
        self.values = {k: v for k, v in locals().items() if k != "self"}


def values(**options: Any) -> dict[str, Any]:
    found: dict[str, Any] = build(Plugin, {"clusters": 3, **options}, WHERE).instance.values
    return found


def refusal(**options: Any) -> str:
    with pytest.raises(OptionError) as caught:
        build(Plugin, {"clusters": 3, **options}, WHERE)
    return str(caught.value)


def test_defaults_reach_the_instance_as_they_are() -> None:
    found = values()
    assert found == {
        "clusters": 3, "eps": 8 / 255, "steps": 5, "momentum": 0.9, "decay": 0.0, "clip": None,
        "mode": "mean", "layers": (1, 2), "mix": None, "path": Path("data"), "copy": False,
    }  # fmt: skip


def test_toml_values_become_what_the_annotation_says() -> None:
    found = values(layers=[3, 4], path="elsewhere", mix={"a": 1}, clip=2, copy=True, mode="sum")
    assert found["layers"] == (3, 4)
    assert found["path"] == Path("elsewhere")
    assert found["mix"] == {"a": 1.0}
    assert (found["clip"], type(found["clip"])) == (2.0, float)
    assert found["copy"] is True


@pytest.mark.parametrize(("text", "number"), [("8/255", 8 / 255), ("0.5", 0.5), (" 1 / 4 ", 0.25), ("1e-3", 1e-3)])
def test_a_ratio_may_be_written(text: str, number: float) -> None:
    assert values(eps=text)["eps"] == number


@given(st.integers(0, 1000), st.integers(1, 1000))
def test_a_ratio_is_the_quotient(top: int, bottom: int) -> None:
    written = f"{top}/{bottom}"
    if top <= bottom:
        assert values(eps=written)["eps"] == top / bottom
    else:
        assert "give ratio >= 0, <= 1" in refusal(eps=written)


@pytest.mark.parametrize("junk", ["8/0", "8/", "/255", "eight", "8/255/2", "nan", "inf", "1/inf", ""])
def test_a_ratio_that_is_none_is_answered_with_an_example(junk: str) -> None:
    message = refusal(eps=junk)
    assert message.startswith(f"{WHERE}.eps = {junk!r}: ")
    assert "8/255" in message


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("clusters", True, "int >= 1"),
        ("clusters", 0, "int >= 1"),
        ("clusters", 2.0, "int >= 1"),
        ("clusters", "2", "int >= 1"),
        ("eps", True, "ratio >= 0, <= 1"),
        ("eps", "-1/255", "ratio >= 0, <= 1"),
        ("eps", float("nan"), "ratio >= 0, <= 1"),
        ("decay", "0.1", "float >= 0"),
        ("decay", False, "float >= 0"),
        ("decay", -1, "float >= 0"),
        ("decay", float("inf"), "float >= 0"),
        ("clip", 0, "float > 0"),
        ("momentum", 1.5, "float >= 0, <= 1"),
        ("copy", 1, "bool"),
        ("copy", "false", "bool"),
        ("mode", "max", "'sum' | 'mean'"),
        ("layers", ["a"], "list of int"),
        ("layers", 1, "list of int"),
        ("mix", {"a": "b"}, "table of float"),
    ],
)
def test_nothing_is_guessed(option: str, value: object, wanted: str) -> None:
    assert refusal(**{option: value}) == f"{WHERE}.{option} = {value!r}: not accepted; give {wanted}"


def test_an_unknown_option_is_answered_with_the_near_one() -> None:
    assert refusal(setps=3) == f"{WHERE}.setps: Plugin has no option 'setps', did you mean 'steps'?"
    assert "; it has: clusters, eps, steps" in refusal(zzz=3)


def test_a_missing_option_is_named_with_its_type() -> None:
    with pytest.raises(
        OptionError, match=rf"^{WHERE}: Plugin needs the option 'clusters'; add clusters = ... \(int >= 1\)"
    ):
        build(Plugin, {}, WHERE)


def test_what_no_recipe_can_hold_is_refused() -> None:
    assert "which no recipe can hold" in refusal(path=object())


def test_describe_reads_types_defaults_bounds_and_docs() -> None:
    found = {option.name: option for option in describe(Plugin)}
    assert list(found)[:3] == ["clusters", "eps", "steps"]
    assert found["clusters"].required
    assert found["clusters"].default is REQUIRED
    eps = found["eps"]
    assert (eps.type, eps.default, eps.constraints) == ("ratio", 8 / 255, ">= 0, <= 1")
    assert eps.doc == "the radius, in parts of the range."
    assert found["steps"].doc == "how many steps."
    assert (found["clip"].type, found["clip"].constraints) == ("float", "> 0")
    assert found["mode"].type == "'sum' | 'mean'"
    assert found["mix"].type == "table of float"
    assert found["mode"].doc == ""


def test_resolve_fills_in_every_default_and_builds_the_same_again() -> None:
    table = {"clusters": 3, "eps": "8/255", "steps": {"linear": [5, 10]}, "clip": 1}
    found = resolve(Plugin, table, WHERE)
    assert found == {
        "clusters": 3, "eps": "8/255", "steps": {"linear": [5, 10]}, "momentum": 0.9, "decay": 0.0,
        "clip": 1.0, "mode": "mean", "layers": [1, 2], "path": "data", "copy": False,
    }  # fmt: skip
    assert tomli_w.dumps(found)
    assert json.loads(json.dumps(found)) == found
    assert resolve(Plugin, found, WHERE) == found
    assert build(Plugin, found, WHERE).instance.values == build(Plugin, table, WHERE).instance.values


def test_a_number_may_follow_a_schedule() -> None:
    built = build(Plugin, {"clusters": 3, "eps": {"linear": ["0/255", "8/255"]}, "steps": {"linear": [1, 4]}}, WHERE)
    assert built.instance.values["eps"] == 0.0
    assert (built.instance.values["steps"], type(built.instance.values["steps"])) == (1, int)
    assert set(built.schedules) == {"eps", "steps"}
    half = Progress(step=50, steps=100, epoch=5.0, epochs=10.0)
    assert built.schedules["eps"].at(half) == pytest.approx(4 / 255)
    steps = [built.schedules["steps"].at(Progress(i, 100, i / 10, 10.0)) for i in range(101)]
    assert set(steps) == {1, 2, 3, 4}
    assert all(type(number) is int for number in steps)


def test_an_optional_number_may_follow_a_schedule() -> None:
    assert set(build(Plugin, {"clusters": 3, "clip": {"constant": 2}}, WHERE).schedules) == {"clip"}


def test_a_table_option_is_no_schedule() -> None:
    built = build(Plugin, {"clusters": 3, "mix": {"linear": 2.0}}, WHERE)
    assert built.instance.values["mix"] == {"linear": 2.0}
    assert not built.schedules


@pytest.mark.parametrize(
    ("option", "table", "reached"),
    [
        ("momentum", {"linear": [0.5, 1.5]}, "reaches 1.5"),
        ("steps", {"linear": [0, 5]}, "reaches 0,"),
        ("steps", {"linear": [1, 5.5]}, "reaches 5.5"),
        ("clip", {"cosine": [1.0, 0.5], "warmup": "2 epochs"}, "reaches 0,"),
        ("eps", {"piecewise": [0.1, 2.0, 0.1], "at": [1, 2]}, "reaches 2,"),
        ("decay", {"constant": -1}, "reaches -1,"),
    ],
)
def test_a_schedule_outside_its_options_range_is_refused(option: str, table: dict[str, Any], reached: str) -> None:
    message = refusal(**{option: table})
    assert message.startswith(f"{WHERE}.{option} = {table!r}: the schedule {reached}")
    assert "outside the option's range; give" in message


def test_only_numbers_can_be_scheduled() -> None:
    assert "only numbers can be scheduled; give 'sum' | 'mean'" in refusal(mode={"linear": [0, 1]})
    assert "only numbers can be scheduled; give bool" in refusal(copy={"linear": [0, 1]})
    assert "did you mean 'linear'" in refusal(eps={"liner": [0, 1]})


def test_plugins_without_an_init_have_no_options() -> None:
    class Plain:
        pass

    class Module(nn.Module):
        pass

    class Inherits(Plugin):
        pass

    for cls in (Plain, Module):
        assert describe(cls) == []
        assert isinstance(build(cls, {}, WHERE).instance, cls)
        with pytest.raises(OptionError, match="has no option 'steps'; it has: none"):
            build(cls, {"steps": 1}, WHERE)
    assert describe(Inherits)[0].name == "clusters"


class Positional:
    def __init__(self, steps: int = 1) -> None:
        self.steps = steps


class Bare:
    def __init__(self, *, steps=1) -> None:  # type: ignore[no-untyped-def]
        self.steps = steps


class Gathers:
    def __init__(self, **options: int) -> None:
        self.options = options


class Unreadable:
    def __init__(self, *, steps: Decimal) -> None:
        self.steps = steps


class Odd:
    def __init__(self, *, module: nn.Module) -> None:
        self.module = module


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (Positional, "is not keyword-only"),
        (Bare, "the option 'steps' of .*Bare has no annotation"),
        (Gathers, "is not keyword-only"),
        (Unreadable, "name 'Decimal' is not defined; import their names at run time"),
        (Odd, "cannot be checked"),
    ],
)
def test_an_init_that_declares_no_options_is_no_plugin(cls: type, said: str) -> None:
    with pytest.raises(NotAPlugin, match=said):
        model_of(cls)


def test_a_default_must_satisfy_its_own_bounds() -> None:
    class Wrong:
        def __init__(self, *, steps: Count = 0) -> None:
            self.steps = steps

    with pytest.raises(OptionError, match="Wrong's own default steps = 0 is not int >= 1"):
        build(Wrong, {}, WHERE)


def test_a_refusal_by_the_plugin_names_the_place() -> None:
    class Picky:
        def __init__(self, *, low: float = 0.0, high: float = 1.0) -> None:
            if low > high:
                raise ValueError(f"low {low:g} is above high {high:g}")

    with pytest.raises(OptionError, match=rf"^{WHERE}: Picky refuses these options: low 2 is above high 1"):
        build(Picky, {"low": 2.0}, WHERE)
