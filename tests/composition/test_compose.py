"""Composing: the right base, parts replaced with care, every need met or refused in a sentence, and all of it told."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from robustcl import registry
from robustcl.api import Composition, compose, from_tables
from robustcl.composition.lock import digest
from robustcl.errors import NeedNotMet, RobustclError, UnknownPlugin, UsageError
from robustcl.options.schedule import Ramp
from robustcl.protocols import Need
from robustcl.recipe import override
from robustcl.types import Attack, Pairs, Scene
from tests.shared import tiny

STAGE = """
name = "one"
[data]
use = "digits"
[[stage]]
name = "only"
epochs = 1
views = { a = "weak", b = "weak" }
optimizer = "sgd"
[stage.term.pull]
use = "info-nce"
views = ["a", "b"]
"""
"""One stage of two views and a term, to be changed."""


def composed(*overrides: str, text: str = STAGE) -> Composition:
    tables = tomllib.loads(text)
    for assignment in overrides:
        override.apply(tables, assignment)
    return from_tables(tables, "the file")


def refusal(*overrides: str, text: str = STAGE, kind: type[UsageError] = UsageError) -> str:
    with pytest.raises(kind) as caught:
        composed(*overrides, text=text)
    return one_sentence(caught.value)


def one_sentence(error: RobustclError) -> str:
    said = str(error)
    assert said
    assert "\n" not in said
    assert error.exit_code == 2
    return said


def robust(*overrides: str) -> str:
    return refusal(*overrides, text=tiny.RECIPE)


# --- the base recipe


def named(generator: str | None, objective: str) -> str:
    return compose(generator=generator, objective=objective, budget="smoke").recipe.name


@pytest.mark.parametrize(
    ("generator", "objective", "name"),
    [
        ("ncp", "deacl", "ncp"),
        ("deacl", "deacl", "deacl"),
        (None, "info-nce", "simclr"),
        ("none", "info-nce", "simclr"),
        ("none", "supcon", "supcon"),
        (None, "supcon", "supcon"),
        ("pgd", "supcon", "supcon-adversarial"),
        (None, "cross-entropy", "ce"),
        ("pgd", "cross-entropy", "at"),
    ],
)
def test_the_base_recipe(generator: str | None, objective: str, name: str) -> None:
    assert named(generator, objective) == name


@pytest.mark.parametrize("objective", registry.names("objective"))
@pytest.mark.parametrize("generator", registry.names("generator"))
def test_every_pair_is_composed_as_asked_or_refused_in_a_sentence(generator: str, objective: str) -> None:
    try:
        composition = compose(generator=generator, objective=objective, budget="smoke")
    except UsageError as error:
        said = one_sentence(error)
        assert generator in said.lower() or objective in said
        return
    used = {part.part.name for plan in composition.stages for part in plan.generators}
    assert used == {generator} or generator == "none"
    assert objective in {term.objective.name for term in composition.stages[-1].terms}
    assert f"generator {generator} and objective {objective}" in composition.how[0]


def test_what_no_recipe_fits() -> None:
    with pytest.raises(UsageError, match="nothing says what to train: give --objective NAME or --recipe NAME"):
        compose()
    with pytest.raises(UnknownPlugin, match=r"--objective: .*'nonsense'"):
        compose(objective="nonsense")
    with pytest.raises(UnknownPlugin, match=r"--generator: .*'pdg', did you mean 'pgd'\?"):
        compose(objective="info-nce", generator="pdg")
    with pytest.raises(UnknownPlugin, match="'nonsense'"):
        compose(recipe="nonsense")
    with pytest.raises(UsageError, match="no budget 'smal', did you mean 'small'"):
        compose(objective="info-nce", budget="smal")


# --- shipped recipes


@pytest.mark.parametrize("budget", ["smoke", "small", "paper"])
@pytest.mark.parametrize("name", sorted(registry.recipes()))
def test_every_shipped_recipe_composes_under_every_budget(name: str, budget: str, monkeypatch: Any) -> None:
    def opened(self: object, split: str) -> None:
        raise AssertionError("composing opened the data")

    composition = compose(recipe=name, budget=budget)
    monkeypatch.setattr(type(composition.dataset.plugin), "open", opened)
    composition = compose(recipe=name, budget=budget)
    text = composition.explain()
    assert text.startswith(f"{composition.recipe.name}, seed 0, budget {budget}\n")
    assert composition.recipe.made is not None
    assert composition.recipe.made.replaced == []
    assert digest(from_tables(composition.lock(), "the lock")) == digest(composition)
    assert composition.recipe.cite
    for deviation in composition.recipe.deviations:
        assert deviation in text


def test_a_budget_changes_what_it_names_and_paper_changes_nothing() -> None:
    epochs = {b: compose(recipe="ncp", budget=b).recipe.find("pretrain").epochs for b in ("smoke", "small", "paper")}
    assert epochs["smoke"] < epochs["small"] < epochs["paper"] == 1000
    how = compose(recipe="ncp", budget="smoke", overrides=["stage.pretrain.epochs=5"])
    assert how.recipe.find("pretrain").epochs == 5, "what is said last wins"
    [told] = [line for line in how.how if line.startswith("budget smoke: ")]
    assert "stage.pretrain.batch=" in told, "what still stands"


def test_a_recipe_adapts_to_the_data_set_however_it_is_named() -> None:
    named = compose(recipe="ncp", budget="paper", overrides=["data.use=cifar10"])
    assert named.recipe == compose(recipe="ncp", budget="paper", dataset="cifar10").recipe
    assert named.recipe.threat.eps == "8/255"


def test_a_recipe_adapts_to_the_data_set() -> None:
    digits = compose(recipe="ncp", budget="paper")
    assert digits.recipe.threat.eps == "32/255"
    assert any(line.startswith("adapted to digits: threat.eps=32/255") for line in digits.how)
    own = compose(recipe="ncp", budget="paper", dataset="npz:mine.npz")
    assert own.recipe.threat.eps == "8/255"
    assert own.dataset.plugin.path == "mine.npz"
    assert own.encoder.name == type(own.dataset.plugin).encoder == "resnet-18"
    assert compose(recipe="ncp", dataset="npz", data_dir="mine.npz").dataset.plugin.path == "mine.npz"


# --- replaced parts


def test_a_replaced_generator_keeps_what_both_know_and_says_what_it_lost() -> None:
    composition = compose(recipe="ncp", generator="pgd", budget="paper", overrides=["stage.robust.generator.steps=7"])
    (generator,) = composition.stages[-1].generators
    assert (generator.part.name, generator.part.plugin.steps, generator.reads) == ("pgd", 7, ("w",))
    assert generator.part.plugin.step_size == pytest.approx(8 / 255), "shared options stay"
    assert any(
        "stage.robust.generator.w_adv: ncp replaced by pgd, without strategy, neighbour" in line
        for line in composition.how
    )
    assert composition.stages[-1].targets is None, "what only ncp read is gone"


def test_other_parts_are_replaced() -> None:
    composition = compose(recipe="supcon", selector="all", encoder="cnn-4", seed=5, budget="smoke")
    (term,) = composition.stages[-1].terms
    assert term.selector is not None
    assert term.selector.name == "all"
    assert composition.encoder.name == "cnn-4"
    assert composition.recipe.seed == 5
    composition = compose(recipe="ncp", target="spherical-kmeans", budget="smoke")
    assert composition.stages[-1].targets is not None
    composition = compose(recipe="simclr", objective="supcon", budget="smoke")
    assert composition.stages[-1].terms[0].objective.name == "supcon"
    assert any("info-nce replaced by supcon" in line for line in composition.how)


def test_flags_with_nothing_to_replace_are_refused() -> None:
    with pytest.raises(UsageError, match=r"--selector global: nothing in stage.robust reads pairs \(deacl\)"):
        compose(recipe="ncp", selector="global")
    with pytest.raises(UsageError, match="--generator pgd: the recipe has no generator to replace"):
        compose(recipe="simclr", generator="pgd")
    with pytest.raises(UsageError, match=r"stage.pretrain.targets: nothing reads the clusters"):
        compose(recipe="simclr", target="spherical-kmeans")


# --- explain


def test_explain_tells_everything() -> None:
    text = compose(generator="ncp", objective="deacl", budget="smoke").explain()
    own = str(registry.origin("generator", "ncp"))
    for line in (
        "base recipe ncp, the one for generator ncp and objective deacl",
        f"data      digits [{own}], batch 256",
        "threat    Linf eps 32/255 (0.125490), pixels in [0, 1]",
        f"generator w -> w_adv: ncp [{own}]",
        "BN mode eval: running statistics, none updated",
        f"targets   spherical-kmeans [{own}] of none@online, route clean, layer h, K by silhouette, refresh every 1",
        "(clean=w@online, adversarial=w_adv@online, teacher=w@teacher); distil x 1, robust x 6",
        "routes    w through clean, w_adv through adv; forward by-route; training BN mode train",
        "routes    one BN branch (clean)",
        "lr cosine 0.5 to 0 after a warm-up of",
        "stage.robust.generator.w_adv (ncp) needs cluster targets: met by spherical-kmeans",
        "stage.robust.term.deacl (deacl) needs a frozen teacher encoder: met by the encoder teacher",
        "stage.pretrain.term.contrast (info-nce) needs a sample selector: met by the selector all",
        "known deviations",
        "resolved recipe",
        "neighbour = 2",
    ):
        assert line in text, line
    ours, data = text.index("still ours: the known deviations"), text.index("data      digits")
    assert ours < data < text.index("resolved recipe"), "what is no number of the source comes first"
    assert "batch 256, 0.1 of the training images held out" in text
    assert "batch 256, none held out" in compose(recipe="ncp", budget="paper").explain()


@pytest.mark.parametrize(
    ("mode", "words"), [("batch", "batch statistics, none updated"), ("train", "polluted at every attack step")]
)
def test_explain_names_the_mode_of_the_attack(mode: str, words: str) -> None:
    text = composed(f'stage.robust.generator.mode="{mode}"', text=tiny.RECIPE).explain()
    assert f"BN mode {mode}: " in text
    assert words in text


def test_a_ball_of_its_own_is_printed() -> None:
    assert "own ball" not in composed(text=tiny.RECIPE).explain()
    composition = composed('stage.robust.generator.ball={norm="l2", eps=0.5}', text=tiny.RECIPE)
    assert "own ball: L2 eps 0.5, range (0.0, 1.0)" in composition.explain()
    unbounded = composed('stage.robust.generator.ball={eps="16/255", unbounded=true}', text=tiny.RECIPE)
    (generator,) = unbounded.stages[-1].generators
    assert generator.ball.range is None
    assert generator.ball.eps == pytest.approx(16 / 255)
    assert generator.ball.norm == "Linf"


# --- needs


def test_unmet_needs_say_what_to_add() -> None:
    said = robust('stage.robust.encoders={slow={of="online"}}', 'stage.robust.term.deacl.views.teacher="w@slow"')
    assert "stage.robust.term.deacl: deacl needs a frozen teacher encoder, and the stage has none" in said
    assert 'add encoders = { teacher = "stage:NAME" }' in said

    tables = tiny.tables()
    del tables["stage"][1]["targets"]
    with pytest.raises(NeedNotMet) as caught:
        from_tables(tables, "x")
    said = one_sentence(caught.value)
    assert "stage.robust.generator.w_adv: ncp needs cluster targets, and the stage has none" in said
    assert "add --target spherical-kmeans" in said

    said = refusal('stage.only.labels="targets:0"', 'stage.only.term.pull.selector="global"', kind=NeedNotMet)
    assert "stage.only.labels: labels from targets need targets = " in said


def test_pairs_come_from_the_objectives_own_selector_where_none_is_named() -> None:
    (term,) = composed().stages[0].terms
    assert term.selector is not None
    assert term.selector.name == "all"


ATTACKED = STAGE.replace('views = { a = "weak", b = "weak" }', 'views = { a = "weak" }').replace(
    'views = ["a", "b"]', 'views = ["a", "a_adv"]'
)


def attacked(*overrides: str, use: str = '"pgd"') -> Composition:
    return composed(f"stage.only.generator={{a_adv={{use={use}}}}}", *overrides, text=ATTACKED)


def test_a_borrowing_generator_maximises_the_term_that_reads_it() -> None:
    (generator,) = attacked().stages[0].generators
    assert generator.maximise is not None
    assert (generator.maximise.name, generator.reads, generator.writes) == ("pull", ("a",), ("a_adv",))
    two = 'stage.only.term={pull={use="info-nce", views=["a", "a_adv"]}, more={use="supcon", views=["a", "a_adv"]}}'
    with pytest.raises(UsageError, match=r"generator.a_adv: pull, more reads a_adv; say which one to maximise"):
        attacked(two)
    chosen = attacked(two, 'stage.only.generator.maximise="more"')
    assert chosen.stages[0].generators[0].maximise is chosen.stages[0].terms[1]
    with pytest.raises(UsageError, match="no term 'mor', did you mean 'more'"):
        attacked(two, 'stage.only.generator.maximise="mor"')


def test_a_generator_may_maximise_what_no_term_is() -> None:
    own = 'stage.only.generator.maximise={use="cross-entropy", views=["a_adv"]}'
    taught = 'stage.only.term.ce={use="cross-entropy", views=["a"]}'
    composition = attacked(own, taught)
    (generator,) = composition.stages[0].generators
    assert generator.maximise is not None
    assert generator.maximise.objective.name == "cross-entropy"
    assert "maximises stage.only.generator.a_adv.maximise" in composition.explain()


def test_what_reads_predictions_wants_a_classifier_that_has_learnt() -> None:
    said = refusal('stage.only.term.pull.selector="hard-ls"', kind=NeedNotMet)
    assert said.startswith("stage.only.term.pull.selector: hard-ls reads a classifier's logits, but nothing trains")
    own = 'stage.only.generator.a_adv={use="pgd", reads=["a"], maximise={use="cross-entropy", views=["a_adv"]}}'
    bound = 'stage.only.term.pull.views=["a_adv", "b"]'
    assert "nothing trains the classifier" in refusal(own, bound, kind=NeedNotMet)


def test_a_generator_may_choose_its_own_pairs() -> None:
    (generator,) = attacked('stage.only.generator.selector="global"').stages[0].generators
    assert generator.maximise is not None
    assert generator.maximise.selector is not None
    assert generator.maximise.selector.name == "global"


# --- what nothing reads


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        (["stage.robust.views.v='weak'"], "stage.robust: nothing reads the view 'v'; bind it to a term or remove it"),
        (["stage.robust.term.deacl.selector='all'"], "stage.robust.term.deacl.selector: deacl reads no pairs"),
        (["stage.pretrain.targets='spherical-kmeans'"], "stage.pretrain.targets: nothing reads the clusters"),
        (["stage.pretrain.encoders={t='stage:pretrain'}"], "stage.pretrain.encoders: nothing reads the encoder 't'"),
        (["stage.robust.routes.x='adv'"], "stage.robust.routes: there is no view 'x'"),
        (["stage.robust.encode={x='teacher'}"], "stage.robust.encode: there is no view 'x'"),
        (["stage.robust.groups={g=['w']}"], "stage.robust.groups.g: no term is of this group"),
        (["stage.robust.generator.maximise='deacl'"], "w_adv.maximise: ncp brings its own loss; remove the line"),
        (["stage.robust.generator.selector='all'"], "ncp brings its own loss"),
        (["stage.robust.forward=[['w', 'x']]"], "stage.robust.forward: there is no view 'x'"),
        (["stage.robust.differentiable=['x']"], "stage.robust.differentiable: there is no view 'x'"),
        (["stage.robust.trainable=['projectr']"], "there is no part 'projectr', did you mean 'projector'"),
        (["stage.robust.freeze=['head']"], "stage.robust.freeze: there is no part 'head'"),
        (["stage.robust.encoders.slow.of='fast'"], "stage.robust.encoders.slow.of: there is no encoder 'fast'"),
        (["stage.robust.labels='targets:1'"], "stage.robust.labels: there is no clustering 1, the targets make 1"),
        (["stage.robust.targets.of.encoder='none'"], "stage.robust: there is no encoder 'none'"),
        (["stage.robust.views.w.of='x'"], "stage.robust.views.w.of: there is no view 'x'"),
        (["stage.robust.generator.writes=['w']"], "the view 'w' is made twice"),
        (["stage.robust.generator.reads=['x']"], "generator.w_adv.reads: there is no view 'x' yet"),
        (["stage.robust.generator.reads=['w', 'w']"], "it writes w_adv but reads w, w"),
        (["stage.robust.term.deacl.group='g'"], "the stage has no group 'g'; declare it in [stage.groups]"),
        (["stage.robust.name='pretrain'"], "two stages are named 'pretrain'"),
        (["stage.robust.init='stage:prtrain'"], "no earlier stage is named 'prtrain', did you mean 'pretrain'"),
        (["stage.robust.init='pretrain'"], 'write "stage:NAME", "run:FOLDER" or "file:FOLDER"'),
        (["stage.robust.init='stage:pretrain@slow'"], "stage pretrain leaves no encoder 'slow'; it leaves online"),
        (["stage.robust.init='file:/no/such'"], "there is no folder /no/such"),
        (["stage.robust.targets.refresh='2 steps'"], "write epochs"),
        (["evaluate.slf.route=['advers']"], "evaluate.slf.route: the encoder has no route 'advers'; it has clean, adv"),
        (["evaluate.slf.stage='x'"], "evaluate.slf.stage: no stage is named 'x'"),
        (["evaluate.slf.encoder='teacher'"], "stage robust leaves no encoder 'teacher'; it leaves online, slow"),
        (["evaluate.slf.curve=[8]"], "evaluate.slf.curve: eps 8 is wider"),
        (["evaluate.slf.attacks=['pgd-02']"], "evaluate.slf.attacks: "),
        (["evaluate.slf.protocl=1"], "evaluate.slf.protocl: "),
        (["run.checkpoint='5%'"], 'run.checkpoint = \'5%\': write "1 epoch" or "50 steps"'),
        (["run.checkpoint='0 steps'"], 'run.checkpoint = \'0 steps\': write "1 epoch" or "50 steps"'),
        (["threat.eps=8"], "threat: eps 8 is wider than the pixels' range 0 .. 1: write 8/255"),
        (["threat.eps='-1/255'"], "threat: eps"),
        (["threat.eps='8/0'"], "threat: eps '8/0': a ratio over zero"),
        (["threat.norm='Lp'"], "threat: the norm 'Lp' is not known: write one of Linf, L2, L1"),
        (["stage.robust.init=''"], 'write "stage:NAME", "run:FOLDER" or "file:FOLDER"'),
        (["stage.robust.forward=[['w', 'w_adv'], ['w']]"], "stage.robust.forward: the view 'w' is named twice"),
        (["stage.pretrain.objective.views=['a', 'a']"], "info-nce compares views of an image, and 'a' is named twice"),
        (["stage.robust.encoders.slow.momentum=1.5"], "stage.robust.encoders.slow.momentum = 1.5: not accepted"),
        (["stage.robust.encoders.slow.momentum={linear=[0.9, -1]}"], "the schedule reaches -1, outside"),
        (["stage.robust.generator.neighbour=6"], "generator.w_adv: ncp: neighbour = 6 needs as many clusters"),
        (["stage.robust.generator.clustering=1"], "generator.w_adv: ncp: clustering = 1, but there are 1, from 0 on"),
        (
            ["stage.robust.targets.clusters='silhouette'", "stage.robust.generator.neighbour=6"],
            "lower neighbour or raise the targets' clusters; the silhouette may choose 5, the least in targets.grid",
        ),
        (["stage.robust.targets.init='stage:pretrain'"], "stage pretrain clusters nothing; name a stage that has"),
        (["stage.robust.generator.stepsize=1"], "has no option 'stepsize', did you mean 'step_size'"),
        (["data.use='cifr10'"], "'cifr10', did you mean 'cifar10'"),
        (["encoder.widht=3"], "did you mean 'width'"),
    ],
)  # fmt: skip
def test_what_nothing_reads_and_what_is_not_there_is_refused(assignments: list[str], words: str) -> None:
    said = robust(*assignments)
    assert words in said


def test_a_generator_whose_output_nothing_reads_is_refused() -> None:
    said = refusal('stage.only.generator={x={use="noise", reads=["a"]}}')
    assert "nothing reads the view 'x'" in said
    # Reading it in order to make it is not reading it.
    own = 'x={use="pgd", reads=["a"], maximise={use="info-nce", views=["x", "b"]}}'
    assert "nothing reads the view 'x'" in refusal(f"stage.only.generator={{{own}}}")
    # Another generator that starts from it does read it.
    more = f'stage.only.generator={{{own}, y={{use="noise", reads=["x"]}}}}'
    assert len(composed(more, 'stage.only.term.pull.views=["a", "b", "y"]').stages[0].generators) == 2


# --- roles


def test_roles_are_bound_by_default() -> None:
    every = STAGE.replace('views = ["a", "b"]\n', "")
    assert [str(ref) for _, ref in composed(text=every).stages[0].terms[0].roles] == ["a@online", "b@online"]
    single = every.replace('views = { a = "weak", b = "weak" }', 'views = { w = "weak" }').replace(
        "info-nce", "cross-entropy"
    )
    assert [(role, str(ref)) for role, ref in composed(text=single).stages[0].terms[0].roles] == [("input", "w@online")]
    two = every.replace("info-nce", "cross-entropy")
    assert "no view is bound to the role 'input' of cross-entropy; write input = one of a, b" in refusal(text=two)
    counted = every.replace('views = { a = "weak", b = "weak" }', 'views = { a = { use = "weak", count = 3 } }')
    assert [role for role, _ in composed(text=counted).stages[0].terms[0].roles] == ["a1", "a2", "a3"]
    asked = counted.replace('use = "info-nce"', 'use = "info-nce"\nviews = ["a"]')
    assert [role for role, _ in composed(text=asked).stages[0].terms[0].roles] == ["a1", "a2", "a3"]


@pytest.mark.parametrize(
    ("views", "words"),
    [
        ('["w"]', "deacl has the roles clean, adversarial, teacher, but 1 views are given"),
        ('{ clean = "w", adversarial = "w_adv" }', "no view is bound to the role 'teacher' of deacl"),
        ('{ clean = "w", adversarial = "w_adv", teacher = "w@teacher", x = "w" }', "deacl has no role 'x'"),
        ('{ clean = "v", adversarial = "w_adv", teacher = "w@teacher" }', "there is no view 'v'"),
        ('{ clean = "w", adversarial = "w_adv", teacher = "w@techer" }', "no encoder 'techer', did you mean 'teacher'"),
    ],
)
def test_roles_that_cannot_be_bound(views: str, words: str) -> None:
    assert words in robust(f"stage.robust.term.deacl.views={views}")


# --- several terms, joint generators, constants, EMA, pseudo-labels, schedules


def test_weights_and_mixes_are_products_and_may_be_schedules() -> None:
    plan = composed(
        "stage.robust.term.deacl.weight=0.5",
        "stage.robust.term.deacl.mix={distil=2, robust=6}",
        "stage.robust.term.slow.mix={robust={linear=[0.0, 4.0]}}",
        text=tiny.RECIPE,
    ).stages[1]
    deacl, slow = plan.terms
    assert dict(deacl.weights) == {"distil": 1.0, "robust": 3.0}
    assert slow.weights["distil"] == 1.0
    assert isinstance(slow.weights["robust"], Ramp)
    scheduled = ["stage.robust.term.slow.weight={cosine=[1.0, 0.0]}", "stage.robust.term.slow.mix.robust=2.0"]
    assert "write the schedule into the mix" in robust(*scheduled)
    assert "deacl has no term 'robst', did you mean 'robust'" in robust("stage.robust.term.slow.mix.robst=2.0")
    assert "weight is 'x'" in robust("stage.robust.term.slow.weight='x'")
    text = composed("stage.robust.term.slow.mix.robust={linear=[0.0, 4.0]}", text=tiny.RECIPE).explain()
    assert "robust x linear 0 to 4" in text


def test_a_joint_generator_reads_and_writes_several_views() -> None:
    (plan,) = compose(recipe="acl-ds", budget="paper").stages
    (generator,) = plan.generators
    assert (generator.reads, generator.writes) == (("a", "b"), ("a_adv", "b_adv"))
    assert generator.maximise is plan.terms[1]
    assert [term.name for term in plan.terms] == ["nat", "adv"]
    assert [dict(term.weights) for term in plan.terms] == [{"contrast": 0.5}, {"contrast": 0.5}]
    assert dict(plan.routes) == {"a_adv": "adv", "b_adv": "adv"}


def test_constants_name_a_view_through_an_encoder() -> None:
    reads = 'stage.robust.generator={w_adv={use="profeat", reads=["w"]}}'
    plan = composed(reads, 'stage.robust.generator.constants={target="w@teacher"}', *NO_CLUSTERS, text=tiny.RECIPE)
    assert str(plan.stages[1].generators[0].constants["target"]) == "w@teacher"
    assert "no encoder 'x'" in robust(reads, 'stage.robust.generator.constants={target="w@x"}')
    assert "no view 'x'" in robust(reads, 'stage.robust.generator.constants={target="x@teacher"}')


NO_CLUSTERS = ["stage.robust.labels='targets:0'"]
"""Something that reads the clusters where no generator does."""


def test_a_schedule_that_its_stage_is_too_short_for_is_told() -> None:
    late = 'stage.only.optimizer.lr={cosine=[0.1, 0.0], warmup="2 epochs"}'
    told = [line for line in composed(late).how if "the stage has 1 epochs" in line]
    assert len(told) == 1
    assert told[0].startswith("stage.only: sgd.lr = cosine 0.1 to 0 after a warm-up of 2 epochs")
    assert told[0].endswith("so its warm-up does not end")
    assert composed(late, "stage.only.epochs=2").how == ()
    steps = 'stage.only.term.weight={piecewise=[1.0, 0.5], at=["3 epochs"]}'
    assert "its last values are not reached" in composed(steps).how[0]


def test_a_constant_that_nothing_reads_is_refused() -> None:
    said = robust('stage.robust.generator.constants={target="w@teacher"}')
    assert said == (
        "stage.robust.generator.w_adv.constants: ncp does not read the constant 'target'; it reads none: remove it"
    )
    reads = 'stage.robust.generator={w_adv={use="profeat", reads=["w"]}}'
    said = robust(reads, 'stage.robust.generator.constants={target="w@teacher", targte="w@teacher"}')
    assert "profeat does not read the constant 'targte', did you mean 'target'?; it reads target: remove it" in said


def test_a_replaced_generator_takes_its_constants_along() -> None:
    kept = compose(recipe="profeat", generator="deacl", budget="smoke")
    assert dict(kept.stages[1].generators[0].constants) == {}
    assert any("without the constants target, which nothing reads any more" in line for line in kept.how)


@pytest.mark.parametrize("part", ["projector", "online.projector", "classifier"])
def test_a_part_that_nobody_has_trained_cannot_be_frozen(part: str) -> None:
    said = refusal(f"stage.only.freeze=['{part}']", kind=NeedNotMet)
    assert said.startswith(f"stage.only.freeze: {part!r} keeps random weights, because nothing has trained the ")
    assert f'init = "stage:NAME" ("run:FOLDER", "file:FOLDER"), or take {part!r} out' in said


def test_a_part_that_an_earlier_stage_has_trained_can_be_frozen() -> None:
    frozen = "stage.robust.freeze=['projector']"
    assert composed(frozen, text=tiny.RECIPE).stages[1].freeze == ("projector",)
    for fresh in ("stage.robust.init='stage:pretrain'", "stage.pretrain.epochs=0"):
        untouched = [fresh, "stage.pretrain.freeze=['projector']"] if "init" in fresh else [fresh]
        assert "has trained the projector before" in robust(frozen, *untouched)
    labelled = 'stage.pretrain.objective={use="cross-entropy", views=["a"]}'
    said = robust(frozen, labelled, "stage.pretrain.views={a='weak'}", "stage.pretrain.split='train'")
    assert "has trained the projector before" in said, "a classifier's loss does not reach the projector"


def test_followers() -> None:
    plan = composed(
        'stage.robust.encoders.slow={of="teacher", momentum={linear=[0.9, 1.0]}, '
        'update="before-optimiser", buffers="copied"}',
        text=tiny.RECIPE,
    ).stages[1]
    slow = plan.ema["slow"]
    assert (slow.of, slow.before_optimiser, slow.copy_buffers) == ("teacher", True, True)
    assert isinstance(slow.momentum, Ramp)
    assert plan.frozen == ("teacher",)
    assert composed(text=tiny.RECIPE).stages[1].ema["slow"].momentum == 0.9
    assert "slow.of: there is no encoder 'slow'" in robust("stage.robust.encoders.slow.of='slow'")


def test_labels_from_targets() -> None:
    plan = composed(
        'stage.only.targets={use="spherical-kmeans", clusters=[5, 9]}',
        'stage.only.labels="targets:1"',
        'stage.only.term.pull.selector="global"',
    ).stages[0]
    assert plan.labels == 1
    assert plan.targets is not None
    assert plan.targets.clusters == (5, 9)
    met = composed(
        'stage.only.targets={use="spherical-kmeans", clusters=5}',
        'stage.only.labels="targets:0"',
        'stage.only.term.pull.selector="global"',
    ).met
    assert met["stage.only.term.pull.selector (global) needs labels"] == "clustering 0 of the targets"


def test_routes_of_an_encoder_are_those_of_all_stages() -> None:
    for route in ("clean", "adv"):
        assert composed(f'evaluate.slf.route=["{route}"]', text=tiny.RECIPE).evaluations[0].table.route == [route]


# --- plugins of one's own


class Still:
    """A generator with an option, for tests."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.LABELS})
    citation: ClassVar[str] = "None"

    def __init__(self, *, strength: float = 1.0) -> None:
        self.strength = strength

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        return x.detach()


class Spread:
    """An objective with two roles, for tests."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.FEATURES, Need.PAIRS})
    citation: ClassVar[str] = "None"
    views: ClassVar[tuple[str, ...]] = ("a", "b")
    terms: ClassVar[tuple[str, ...]] = ("spread",)
    selector: ClassVar[str] = "nobody"

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        return {"spread": scene.views["a"].h.sum(1)}


class Nobody:
    """A selector, for tests."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "None"

    def select(self, scene: Scene) -> Pairs:
        nothing = torch.zeros(len(scene.rows.sample), len(scene.columns.sample), dtype=torch.bool)
        return Pairs(positive=nothing, negative=nothing)


def test_plugins_of_ones_own_compose() -> None:
    with (
        registry.local("generator", "still", Still),
        registry.local("objective", "spread", Spread),
        registry.local("selector", "nobody", Nobody),
    ):
        composition = composed(
            'stage.only.generator={x={use="still", reads=["a"], strength=2.0}}',
            'stage.only.term.pull={use="spread", views=["x", "b"]}',
        )
        (plan,) = composition.stages
        assert plan.generators[0].part.plugin.strength == 2.0
        assert plan.terms[0].selector is not None
        assert plan.terms[0].selector.name == "nobody", "an objective may name the selector that it takes by default"
        assert composition.lock()["lock"]["plugins"]["generator still"].startswith("local")
        assert "x: still [local" in composition.explain()
        assert composition.met["stage.only.generator.x (still) needs labels"] == "the data set"
        assert "no option 'strenght', did you mean 'strength'" in refusal(
            'stage.only.generator={x={use="still", reads=["a"], strenght=2.0}}'
        )
        replaced = compose(recipe="supcon-adversarial", generator="still", budget="smoke")
        assert replaced.stages[0].generators[0].part.name == "still"
        assert any("pgd replaced by still, without " in line for line in replaced.how)
    assert "'still'" in refusal('stage.only.generator={x={use="still", reads=["a"]}}')


def test_weights_from_outside_are_only_a_path_until_the_run(tmp_path: Path) -> None:
    composition = composed(f'stage.robust.encoders.teacher="file:{tmp_path}"', text=tiny.RECIPE)
    assert composition.recipe.stage[1].encoders["teacher"] == f"file:{tmp_path}"


@pytest.mark.parametrize("mode", ["batch", "train"])
def test_a_generator_that_drops_rows_is_refused_batch_statistics(mode: str) -> None:
    with pytest.raises(UsageError, match=r"square looks at some rows more often .* take mode = \"eval\""):
        compose(recipe="at", generator="square", overrides=[f"stage.train.generator.w_adv.mode={mode}"])
    replaced = compose(recipe="adr", generator="fab")
    assert any("replaced by fab, without" in line and "mode" in line for line in replaced.how)
