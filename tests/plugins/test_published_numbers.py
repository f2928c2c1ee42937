"""The numbers of every recipe, against one table of what its source publishes: ``published.toml``.

Not a number of a recipe may move without this table. It holds what a composition for CIFAR-10 resolves to at the budget
``paper``, defaults of plugins included; where a recipe departs from its source, the recipe must say so itself.
"""

from __future__ import annotations

import fnmatch
import functools
import inspect
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from robustcl import compose, registry
from robustcl.api import Composition
from robustcl.options.duration import Progress
from robustcl.options.schedule import Schedule
from robustcl.ratio import ratio
from robustcl.train.plan import GeneratorPlan, Part, StagePlan, TermPlan

TABLE = tomllib.loads((Path(__file__).parent / "published.toml").read_text(encoding="utf-8"))
RECIPES = sorted(registry.recipes())
SETS: list[dict[str, Any]] = TABLE["set"]
ADAPTED = sorted(
    {
        (recipe, numbers["data"])
        for numbers in SETS
        if "data" in numbers
        for recipe in RECIPES
        if any(fnmatch.fnmatch(recipe, pattern) for pattern in numbers["of"])
    }
)
"""Recipes and the data sets to which the table has an adaptation of theirs."""
DEVIATIONS: list[dict[str, Any]] = TABLE["deviation"]
STEPS_AN_EPOCH = 100_000
"""So many that an offset of one step is nothing beside the digits of the table."""


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_number_of_a_recipe_is_the_published_one(recipe: str) -> None:
    found, epochs = numbers_of(recipe)
    held = held_of(recipe, found)
    assert wrong_of(found, held, epochs) == []
    loose = [f"{path} = {value}" for path, value in found.items() if path not in held and is_number(value)]
    assert loose == [], "the recipe has numbers that the table lacks"


@pytest.mark.parametrize("numbers", SETS, ids=lambda numbers: f"{numbers['of'][0]}")
def test_every_line_of_the_table_is_some_recipe_s(numbers: dict[str, Any]) -> None:
    of = recipes_of(numbers)
    assert all(any(fnmatch.fnmatch(recipe, pattern) for recipe in RECIPES) for pattern in numbers["of"])
    paths = [path for recipe in of for path in numbers_of(recipe, numbers.get("data", "cifar10"))[0]]
    assert [pattern for pattern in values_of(numbers) if not matching(paths, pattern)] == []


def test_the_table_names_a_source_for_every_set_and_every_recipe() -> None:
    assert {recipe for numbers in SETS for recipe in recipes_of(numbers)} == set(RECIPES)
    assert all(len(numbers["source"]) > 10 for numbers in [*SETS, *DEVIATIONS])


@pytest.mark.parametrize(("recipe", "data"), ADAPTED)
def test_adaptations_to_other_data_are_those_of_the_table(recipe: str, data: str) -> None:
    found, epochs = numbers_of(recipe, data)
    held = held_of(recipe, found, data)
    assert held
    assert wrong_of(found, held, epochs) == []


@pytest.mark.parametrize(
    ("data", "chosen"),
    [
        ("cifar10", {70, 60, 90, 75}),
        ("cifar100", {150, 125, 130, 85, 110}),
        ("stl10", {210, 145, 155, 200, 175, 215}),
    ],
)
def test_ncp_tries_every_number_of_clusters_that_its_paper_chose(data: str, chosen: set[int]) -> None:
    # Appendix A.2.2, over five seeds; 215 is of the caption of figure 2.
    targets = composed("ncp", data).recipe.stage[1].targets
    assert targets is not None
    assert chosen <= set(targets.grid)


@pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda deviation: f"{deviation['of'][0]}")
def test_a_recipe_says_where_it_departs_from_its_source(deviation: dict[str, Any]) -> None:
    for recipe in recipes_of(deviation):
        found, epochs = numbers_of(recipe)
        for pattern, published in values_of(deviation).items():
            paths = matching(found, pattern)
            assert paths, f"{recipe} has no {pattern}"
            same = [path for path in paths if agrees(found[path], published, epochs, path)]
            assert same == [], f"{recipe} has the published value by now: remove the deviation"
        said = [text for text in composed(recipe).recipe.deviations if deviation["said"] in text]
        assert said, f"no deviation of {recipe} says {deviation['said']!r}"


@pytest.mark.parametrize("recipe", RECIPES)
def test_at_paper_all_images_are_trained_on_where_the_source_holds_none_out(recipe: str) -> None:
    """The pretext tasks' paper chooses a checkpoint by images that it holds out; one recipe has no paper."""
    kept = ("rotation", "jigsaw", "selfie", "pretext-ensemble", "supcon-adversarial")
    assert composed(recipe).recipe.data.validation == (0.1 if recipe in kept else 0.0)
    assert compose(recipe=recipe, dataset="cifar10", budget="small").recipe.data.validation == 0.1


@functools.cache
def composed(recipe: str, dataset: str = "cifar10") -> Composition:
    return compose(recipe=recipe, dataset=dataset, budget="paper")


@functools.cache
def numbers_of(recipe: str, dataset: str = "cifar10") -> tuple[dict[str, Any], dict[str, int]]:
    """Return every option of a recipe by its path, and the epochs of its stages."""
    composition = composed(recipe, dataset)
    return dict(resolved(composition)), {plan.name: plan.epochs for plan in composition.stages}


def held_of(recipe: str, found: Mapping[str, Any], data: str | None = None) -> dict[str, Any]:
    """Return what the table says of a recipe's paths, later sets over earlier ones; on one data set's own sets."""
    held: dict[str, Any] = {}
    for numbers in SETS:
        if recipe in recipes_of(numbers) and numbers.get("data") == data:
            said = values_of(numbers).items()
            held |= {path: value for pattern, value in said for path in matching(found, pattern)}
    return held


def wrong_of(found: Mapping[str, Any], held: Mapping[str, Any], epochs: Mapping[str, int]) -> list[str]:
    return [
        f"{path} is {shown(found[path], value, epochs, path)}, published {value}"
        for path, value in held.items()
        if not agrees(found[path], value, epochs, path)
    ]


def recipes_of(numbers: Mapping[str, Any]) -> list[str]:
    return [recipe for recipe in RECIPES if any(fnmatch.fnmatch(recipe, pattern) for pattern in numbers["of"])]


def matching(paths: Iterable[str], pattern: str) -> list[str]:
    fits = regular(pattern)
    return [path for path in paths if fits.fullmatch(path)]


@functools.cache
def regular(pattern: str) -> re.Pattern[str]:
    """Return a pattern of the table, in which ``*`` stands within a part of a path and ``**`` across parts."""
    plain = re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", "[^.]*")
    return re.compile(plain.replace(r"\[ab\]", "[ab]"))


def values_of(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in numbers.items() if key not in ("of", "source", "data", "said")}


def is_number(value: object) -> bool:
    if isinstance(value, tuple):
        return bool(value) and all(map(is_number, value))
    return isinstance(value, (int, float, Schedule)) and not isinstance(value, bool)


def agrees(found: object, published: object, epochs: Mapping[str, int], path: str) -> bool:
    if isinstance(published, Mapping):
        if not isinstance(found, Schedule):
            return False
        return all(value(found, epoch, epochs, path) == near(of) for epoch, of in published.items())
    if isinstance(found, tuple) and isinstance(published, list):
        return len(found) == len(published) and all(a == near(b) for a, b in zip(found, published, strict=True))
    if isinstance(found, Schedule):
        return False
    return found == near(published) and isinstance(found, bool) == isinstance(published, bool)


def shown(found: object, published: object, epochs: Mapping[str, int], path: str) -> object:
    if isinstance(found, Schedule) and isinstance(published, Mapping):
        return {epoch: value(found, epoch, epochs, path) for epoch in published}
    return found


def value(schedule: Schedule, epoch: str, epochs: Mapping[str, int], path: str) -> float:
    """Return the number of a schedule when so many epochs are over; the path begins with the stage's name."""
    whole, at = epochs[path.split(".")[0]], float(epoch)
    return schedule.at(Progress(round(at * STEPS_AN_EPOCH), whole * STEPS_AN_EPOCH, at, float(whole)))


def near(published: object) -> Any:
    """Return what equals a published number to its digits; the table writes fractions of 255 out."""
    if isinstance(published, str) and "/" in published:
        above, below = published.split("/")
        return pytest.approx(float(above) / float(below), rel=1e-9)
    if isinstance(published, (int, float)) and not isinstance(published, bool):
        return pytest.approx(published, rel=1e-4, abs=1e-12)
    return published


def resolved(composition: Composition) -> Iterator[tuple[str, Any]]:
    """Yield every option of every part under a path, as the run would see it."""
    yield from {"threat.norm": composition.ball.norm, "threat.eps": composition.ball.eps}.items()
    yield from of_part("data", composition.dataset)
    yield from of_part("encoder", composition.encoder)
    head = composition.projector
    yield from {"head.widths": head.widths, "head.norm": head.norm, "head.last_norm": head.last_norm}.items()
    for plan in composition.stages:
        yield from of_stage(plan)
    for evaluation in composition.evaluations:
        under = f"evaluate.{evaluation.protocol.name}"
        yield from of_part(under, evaluation.protocol)
        if evaluation.table.curve:
            yield f"{under}.curve", tuple(map(ratio, evaluation.table.curve))
        for attack in evaluation.attacks:
            for member, generator in attack.plugin.members(10, composition.ball):
                yield from of_part(f"{under}.attack.{attack.name}", Part(member, generator))


def of_stage(plan: StagePlan) -> Iterator[tuple[str, Any]]:
    name = plan.name
    yield from {f"{name}.epochs": plan.epochs, f"{name}.batch": plan.batch, f"{name}.mode": plan.mode}.items()
    yield from {f"{name}.labelled": plan.labelled, f"{name}.clip": plan.clip}.items()
    for view in plan.views:
        yield from of_part(f"{name}.view.{view.name}", view.part)
    for generator in plan.generators:
        yield from of_generator(f"{name}.generator.{generator.name}", generator)
    for term in plan.terms:
        yield from of_term(f"{name}.term.{term.name}", term)
    if plan.epochs:
        yield from ((path, of) for path, of in of_part(f"{name}.optimizer", plan.optimizer) if path[-3:] != ".lr")
        yield f"{name}.lr", plan.lr
    if plan.targets is not None:
        under = f"{name}.targets"
        yield from of_part(under, plan.targets.part)
        yield f"{under}.clusters", plan.targets.clusters
        if plan.targets.clusters is None:
            yield f"{under}.grid", plan.targets.grid
        yield from {f"{under}.every": plan.targets.every, f"{under}.route": plan.targets.route}.items()
        yield from {f"{under}.layer": plan.targets.layer, f"{under}.encoder": plan.targets.encoder}.items()
    if plan.sampler is not None:
        yield from of_part(f"{name}.sampler", plan.sampler.part)
        yield from {f"{name}.sampler.every": plan.sampler.every, f"{name}.sampler.after": plan.sampler.after}.items()
    for ema, follower in plan.ema.items():
        yield f"{name}.ema.{ema}.momentum", follower.momentum


def of_generator(under: str, generator: GeneratorPlan) -> Iterator[tuple[str, Any]]:
    yield from of_part(under, generator.part)
    yield from {f"{under}.mode": generator.mode, f"{under}.norm": generator.ball.norm}.items()
    yield f"{under}.eps", generator.ball.eps
    if generator.maximise is not None:
        yield from of_part(f"{under}.maximise", generator.maximise.objective)


def of_term(under: str, term: TermPlan) -> Iterator[tuple[str, Any]]:
    yield from of_part(under, term.objective)
    yield from ((f"{under}.weight.{name}", weight) for name, weight in term.weights.items())
    if term.selector is not None:
        yield from of_part(f"{under}.selector", term.selector)


def of_part(under: str, part: Part) -> Iterator[tuple[str, Any]]:
    yield under, part.name
    for option in inspect.signature(type(part.plugin)).parameters:
        yield f"{under}.{option}", part.schedules.get(option, getattr(part.plugin, option))
