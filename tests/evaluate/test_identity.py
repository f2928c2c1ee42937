"""A protocol's version and hash: one for each way of judging, and pinned for the built-in ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest

from robustcl import registry
from robustcl.api import from_tables
from robustcl.evaluate.identity import Identity, make_identity
from robustcl.protocols import Need
from robustcl_plugins.generators.pgd import PGD
from robustcl_plugins.protocols.frozen import StandardLinear
from tests.shared import tiny

PINNED = {
    "aff": ("aff-v1", "887bc8200bb1"),
    "alf": ("alf-v1", "f3cf7bcea8e4"),
    "fsf": ("fsf-v1", "f3733b6add0a"),
    "knn": ("knn-v1", "1a4a877e4059"),
    "linear": ("linear-v1", "39f3d6f6aa32"),
    "own": ("own-v1", "b9a431d18892"),
    "semi-supervised": ("semi-supervised-v1", "f813276e5669"),
    "slf": ("slf-v1", "061c1dafcf1d"),
}


def of(use: str, **options: Any) -> Identity:
    """Return the identity of a protocol in a composition."""
    entry = {"use": use, "route": ["clean"], **options}
    return from_tables(tiny.tables(evaluate=[entry]), "tiny").evaluations[0].identity


@pytest.mark.parametrize("name", sorted(PINNED))
def test_a_built_in_protocol_changes_with_its_version_alone(name: str) -> None:
    """Where this fails, results are no longer comparable with earlier ones: write a new version, then a new hash.

    A new option of a plugin that a protocol uses changes the hash as well; where its default changes nothing, the
    version may stay.
    """
    assert (name, *PINNED[name]) == (name, *_judging_trained(name))


def test_every_built_in_protocol_is_pinned() -> None:
    own = {entry.name for entry in registry.entries("protocol") if entry.origin.distribution == "robustcl"}
    assert own == set(PINNED)
    assert len({one for one, _ in PINNED.values()}) == len(PINNED), "two protocols share a version"


@pytest.mark.parametrize(
    ("use", "changed"),
    [
        ("slf", {"epochs": 24}),
        ("slf", {"lr": 0.01}),
        ("slf", {"decay_at": [10, 20]}),
        ("slf", {"view": "none"}),
        ("slf", {"view": {"use": "weak", "flip": 0.0}}),
        ("slf", {"mode": "train"}),
        ("alf", {"steps": 11}),
        ("alf", {"step_size": "1/255"}),
        ("aff", {"beta": 5.0}),
        ("knn", {"k": 20}),
        ("semi-supervised", {"fraction": 0.01}),
    ],
)
def test_a_changed_option_is_another_hash(use: str, changed: dict[str, Any]) -> None:
    assert of(use, **changed).hash != of(use).hash
    assert of(use, **changed).version == of(use).version


def test_what_is_no_setting_of_the_protocol_changes_nothing() -> None:
    plain = of("slf")
    assert of("slf", route=["clean", "adv"]) == plain
    assert of("slf", route=["adv"]) == plain
    assert of("slf", attacks=["pgd-20"], samples=8) == plain
    assert of("slf", epochs=25, lr=0.1, view="weak") == plain
    entry = {"use": "slf"}
    other = tiny.tables(evaluate=[entry], threat={"eps": "4/255"}, seed=3)
    assert from_tables(other, "tiny").evaluations[0].identity == plain


def test_the_order_of_keys_changes_nothing_and_the_order_of_stages_does() -> None:
    first: Mapping[str, Any] = {"name": "a", "term": {"ce": 1, "kl": {"weight": 6.0, "use": "kl"}}}
    turned: Mapping[str, Any] = {"term": {"kl": {"use": "kl", "weight": 6.0}, "ce": 1}, "name": "a"}
    second: Mapping[str, Any] = {"name": "b"}
    protocol = StandardLinear()
    assert make_identity("slf", protocol, [first]) == make_identity("slf", protocol, [turned])
    assert make_identity("slf", protocol, [first, second]) != make_identity("slf", protocol, [second, first])


class Foreign:
    """A stranger's protocol without a version."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.LABELS})
    citation: ClassVar[str] = "no source"

    def stages(self, route: str) -> Sequence[Mapping[str, Any]]:
        return StandardLinear().stages(route)


class Other(Foreign):
    """The same, under a version of its own."""

    version: ClassVar[str] = "foreign-v2"


def test_a_protocol_without_a_version_has_version_0() -> None:
    with registry.local("protocol", "foreign", Foreign), registry.local("protocol", "other", Other):
        unversioned, versioned = of("foreign"), of("other")
    assert (unversioned.version, versioned.version) == ("foreign-v0", "foreign-v2")
    assert unversioned.hash != versioned.hash != of("slf").hash


class Longer(PGD):
    """The attack of ALF, whose default start is another one day."""

    def __init__(self, *, steps: int = 10, step_size: float = 2 / 255, restarts: int = 2) -> None:
        super().__init__(steps=steps, step_size=step_size, restarts=restarts)


class Attacking(Foreign):
    """A protocol whose stage names an attack and leaves its options to it."""

    def stages(self, route: str) -> Sequence[Mapping[str, Any]]:
        (stage,) = StandardLinear().stages(route)
        term = {"ce": {"use": "cross-entropy", "views": ["w_adv"]}}
        return [{**stage, "term": term, "generator": {"w_adv": {"use": "growing", "reads": ["w"]}}}]


def test_another_default_of_a_part_is_another_hash() -> None:
    found = []
    for attack in (PGD, Longer):
        with registry.local("protocol", "attacking", Attacking), registry.local("generator", "growing", attack):
            found.append(of("attacking"))
    assert found[0].version == found[1].version
    assert found[0].hash != found[1].hash


def _judging_trained(name: str) -> Identity:
    """``own`` needs a classifier that the run has trained."""
    tables = tiny.tables(evaluate=[{"use": name}])
    if name == "own":
        ce = {"use": "cross-entropy", "views": ["w"]}
        tables["stage"][1]["term"] = {"ce": ce, **tables["stage"][1]["term"]}
    return from_tables(tables, "tiny").evaluations[0].identity
