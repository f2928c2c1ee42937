"""The ablations that ship: two runs differ in what their names say, and in nothing else."""

from __future__ import annotations

import copy
from typing import Any

from robustcl.recipe import override
from robustcl.study import api
from robustcl.study.plan.planned import Planned
from robustcl.study.plan.setting import Setting

ATTACKS = ("none", "noise", "deacl", "away", "toward", "ncp")


def taken(run: Planned, *paths: str) -> dict[str, Any]:
    """Return a run's recipe without what stands at these paths, and without what it says of itself."""
    tables = copy.deepcopy(run.composition.recipe.model_dump(mode="json"))
    for name in ("name", "about", "cite", "deviations", "base", "made", "lock"):
        tables.pop(name, None)
    for path in paths:
        override.put(tables, path, None, "test")
    return tables


def test_the_runs_of_ncp_ablation_differ_in_attack_weight_and_batch_norms_alone() -> None:
    found = api.compose("ncp-ablation", Setting(budget="paper", dataset="cifar10")).planned
    assert len(found) == len(ATTACKS) * 2 * 2
    attack = ("stage.robust.generator", "stage.robust.targets")
    weight = ("stage.robust.term.deacl.mix.robust",)
    norms = ("stage.robust.routes", "evaluate.slf.route", "judged")
    apart = [taken(run, *attack, *weight, *norms) for run in found]
    assert all(other == apart[0] for other in apart)
    by_name = {run.label: run for run in found}
    one, two = by_name["deacl, two BN, lambda = 6.0"], by_name["ncp, two BN, lambda = 6.0"]
    assert taken(one, *attack) == taken(two, *attack), "the attack alone"
    assert taken(one) != taken(two)
    one = by_name["ncp, two BN, lambda = 2.0"]
    assert taken(one, *weight) == taken(two, *weight), "the weight alone"
    one = by_name["ncp, one BN, lambda = 6.0"]
    assert taken(one, *norms) == taken(two, *norms), "the batch norms alone"


def test_ncp_ablation_attacks_as_its_rows_are_called() -> None:
    found = api.compose("ncp-ablation", Setting(budget="small")).planned
    used = {}
    for run in found:
        stage = run.composition.stages[1]
        (generator,) = (plan.part.plugin for plan in stage.generators)
        kind = type(generator).__name__
        used[run.row.name.partition(",")[0]] = (kind, getattr(generator, "strategy", None))
        step = getattr(generator, "step_size", None)
        assert step is None or float(step) == 8 / 255, f"{run.label}: the digits' step reaches every attack"
        routes = {stage.routes.get(view, "clean") for view in ("w", "w_adv")}
        assert len(routes) == (2 if "two BN" in run.label else 1)
        (judged,) = (plan.table.route for plan in run.composition.evaluations)
        assert judged == (["adv"] if "two BN" in run.label else ["clean"])
        assert {each.epochs for each in run.composition.stages} == {80, 40}
    assert used == {
        "none": ("NoPerturbation", None), "noise": ("UniformNoise", None), "deacl": ("DeACL", None),
        "away": ("NCP", "away"), "toward": ("NCP", "toward"), "ncp": ("NCP", "both"),
    }  # fmt: skip


def test_the_runs_of_ascl_ablation_differ_in_weights_and_selection_alone() -> None:
    found = api.compose("ascl-ablation", Setting(budget="paper", dataset="cifar10")).planned
    paths = ("stage.train.term.scl.selector", "stage.train.term.scl.weight", "stage.train.term.vat.weight")
    apart = [taken(run, *paths) for run in found]
    assert all(other == apart[0] for other in apart)
    assert len({run.digest for run in found}) == 4 * 3 * 2
