"""By which name each part draws: two parts of one name would share their numbers, and another name is another result.

Results, journals and weights of earlier runs can be made again only as long as these names stand.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustcl import api, gradients, registry
from robustcl import rng as rng_module
from robustcl.audit import record, rivals
from robustcl.audit.arms import CHEAP
from robustcl.audit.bench import Bench
from robustcl.data.draw import ViewSpec, draw_views
from robustcl.data.labelled import choose_labelled
from robustcl.data.split import holdout
from robustcl.evaluate.classifier import of_model
from robustcl.evaluate.journal import Outcome
from robustcl.evaluate.judge import Judge
from robustcl.evaluate.measure import Measurement
from robustcl.evaluate.points import order
from robustcl.evaluate.work import Work
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.train.survey import RunSurvey
from robustcl_plugins.samplers.mixed import Mixed
from robustcl_plugins.samplers.rcs import RCS
from tests.shared import tiny
from tests.shared.asked import subject
from tests.shared.one_step import one_step, stage_run


@pytest.fixture(autouse=True)
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the streams that numbers were drawn from, from the seed on, as they come."""
    whole: dict[int, tuple[str | int, ...]] = {}
    found: list[str] = []
    digest, plain = rng_module._digest, {name: getattr(Rng, name) for name in ("_bits", "seed", "generator")}

    def named(*path: str | int) -> int:
        key = digest(*path)
        whole[key] = whole.get(path[0], (path[0],)) + path[1:]  # type: ignore[call-overload]
        return key

    def telling(name: str) -> Callable[..., Any]:
        def told(self: Rng, *given: Any, **options: Any) -> Any:
            found.append(" ".join(map(str, whole[self.key])) + ("" if name == "_bits" else f" {name}"))
            return plain[name](self, *given, **options)

        return told

    monkeypatch.setattr(rng_module, "_digest", named)
    for name in plain:
        monkeypatch.setattr(Rng, name, telling(name))
    _now.clear()
    _now.append(found)
    return found


_now: list[list[str]] = []


def names(work: Callable[[], Any]) -> list[str]:
    """Return the names of the streams that ``work`` draws from, each once, sorted."""
    _now[0].clear()
    work()
    return sorted(set(_now[0]))


def test_splits_and_labels() -> None:
    labels = torch.arange(40) % 2
    assert names(lambda: holdout(labels, 0.2, Rng(5))) == [f"5 holdout {label} permutation 1" for label in (0, 1)]
    assert names(lambda: choose_labelled(labels, 4, Rng(5))) == [
        "5 class 0 permutation 1", "5 class 1 permutation 1", "5 classes permutation 1",
    ]  # fmt: skip
    digits = registry.find("dataset", "digits").cls()
    assert {name.partition(" holdout")[0] for name in names(lambda: digits.open("test"))} <= {"0 digits test"}
    images: Any = SimpleNamespace(samples=6)
    hurried = Measurement(None, 7, Work(deadline=1.0), print)  # type: ignore[arg-type]
    assert names(lambda: hurried.index(images, None)) == ["7 evaluate order permutation 1"]
    known = {0: [Outcome(0, 0, 0, True, 7, "")]}
    assert names(lambda: order(known, 6)) == ["7 evaluate order permutation 1"]


class Drawing:
    def draw(self, x: Tensor, rng: Rng) -> Tensor:
        return x + 0 * rng.uniform((len(x), 1))


def test_views() -> None:
    specs = {"a": ViewSpec(Drawing(), count=2), "b": ViewSpec(Drawing(), of="a1")}
    found = names(lambda: draw_views(torch.zeros(2, 1), torch.arange(2), specs, Rng(5)))
    assert found == ["5 view a 0 rows", "5 view a 1 rows", "5 view b 0 rows"]


def test_samplers() -> None:
    survey: Any = SimpleNamespace(
        labels=torch.tensor([0] * 3 + [-1] * 4), samples=7, rng=Rng(5, "now"), lasting=Rng(5, "lasting"), batch=2
    )
    assert names(lambda: Mixed(labelled=2, unlabelled=2).select(survey, 0)) == [
        "5 now labelled 0 permutation 1", "5 now labelled 1 permutation 1", "5 now unlabelled 0 permutation 1",
    ]  # fmt: skip
    assert names(lambda: RCS(warmup=9).select(survey, 0)) == ["5 lasting held out permutation 1"]
    run = one_step("acl-rcs").run
    seen = RunSurvey(run, Rng(5, "now"))
    seen.samples = 80
    sampler = RCS(warmup=0, fraction=0.5, granularity="samples", batch=20, steps=1)
    found = names(lambda: sampler.select(seen, 0))
    assert {name for name in found if "permutation" in name} == {
        "0 stage survey held out permutation 1", "5 now batches permutation 1",
    }  # fmt: skip


class Firm(nn.Module):
    """Says class 0 to everything, and has a gradient."""

    def forward(self, x: Tensor) -> Tensor:
        slope = x.flatten(1).mean(1)
        return torch.stack([10 + 0 * slope, slope, slope.square(), slope.sqrt()], 1)


TWICE = {"steps": 1, "targets": 2, "restarts": 2}


@pytest.mark.parametrize(("use", "options", "behind"), [
    ("noise", {}, [""]), ("fgsm", {}, []), ("pgd", {"steps": 1, "restarts": 3}, ["", "restart 1", "restart 2"]),
    ("apgd", {"steps": 1, "restarts": 2}, ["restart 0", "restart 1"]),
    ("apgd-targeted", TWICE, [f"target {target} restart {number}" for target in (0, 1) for number in (0, 1)]),
    ("multi-targeted-pgd", TWICE, [f"start {target} {number}" for target in (0, 1) for number in (0, 1)]),
    ("square", {"queries": 2, "restarts": 2}, ["restart 0", "restart 1"]),
    ("fab", {"steps": 1, "targets": 2, "restarts": 2}, ["restart 1 0", "restart 1 1"]), ("vat", {}, [""]),
])  # fmt: skip
def test_attacks(use: str, options: dict[str, Any], behind: list[str]) -> None:
    generator = registry.find("generator", use).cls(**options)
    judge = Judge(of_model(Firm().eval()), Ball("Linf", 0.01), Rng(5), nullcontext)
    x, label = torch.full((2, 1, 6, 6), 0.5), torch.zeros(2, dtype=torch.int64)
    found = names(lambda: judge.attack(x, label, torch.tensor([3, 4]), "it", [("one", generator)]))
    assert found == sorted(f"5 attack it one rows {name}".rstrip() for name in behind)


def test_the_audit() -> None:
    x = torch.full((2, 1, 6, 6), 0.5)
    bench = Bench(
        of_model(Firm().eval()), x, torch.zeros(2, dtype=torch.int64), torch.arange(2), Ball("Linf", 0.01), Rng(5),
        replace(CHEAP, noise=2), 250,
    )  # fmt: skip
    assert names(lambda: rivals.noise(bench)) == ["5 noise rows"]
    assert names(lambda: record.broader(bench)) == ["5 corruptions rows"]


def test_a_row_without_a_gradient() -> None:
    at = torch.zeros(1, 2, requires_grad=True)
    assert names(lambda: gradients.toward(at.sqrt().sum(1), at)) == ["0 gradients lost"]


def test_training(tmp_path: Path, drawn: list[str]) -> None:
    composition = api.from_tables(tiny.tables(evaluate=[]), "the test")
    plan = composition.stages[1]
    run = stage_run(composition, plan, tmp_path)
    found = {*drawn, *names(run.train)}
    own = {name.removeprefix("0 stage ") for name in found if name.startswith("0 stage ")}
    steps = range(10)
    assert run.done == 10
    built = {f"build {number} seed" for number in range(len(plan.parts()))}
    views = {f"step {step} view w 0 rows" for step in steps}
    noise = {f"step {step} generator w_adv rows" for step in steps}
    orders = {f"order {epoch} permutation 1" for epoch in (0, 1)}
    fits = {f"clusters fit {epoch:.6f} clusters 5 restart 0" for epoch in (0, 1)}
    assert own == built | views | noise | orders | fits


def test_clusters_of_a_drawn_view_and_of_a_number_that_is_chosen(tmp_path: Path) -> None:
    composition = api.from_tables(tiny.tables(evaluate=[]), "the test")
    plan = composition.stages[1]
    assert plan.targets is not None
    drawn_view = replace(plan.targets, view=plan.views[0].part, clusters=None, grid=(2, 3))
    run = stage_run(composition, replace(plan, targets=drawn_view), tmp_path)
    assert run.clusters.chosen is None
    chosen_of = [f"clusters choice {count} clusters {count} restart 0" for count in (2, 3)]
    found = names(lambda: run._refresh(0.0))
    assert run.clusters.chosen is not None
    fit = f"clusters fit 0.000000 clusters {run.clusters.chosen[0]} restart 0"
    view = "clusters at 0.000000 view view clustered 0 rows"
    assert found == ["0 encoder layout", *(f"0 stage {name}" for name in (view, *chosen_of, fit))]


def test_what_a_sampler_asks(tmp_path: Path) -> None:
    run = one_step("acl-rcs").run
    survey, rows = RunSurvey(run, Rng(5, "now")), torch.arange(8)
    assert {name.partition(" view ")[0] for name in names(lambda: survey.take(rows))} == {"5 now take"}
    assert survey.lasting.key == run.rng.child("survey").key
    found = names(lambda: survey.gradient(rows, "projector"))
    views = {name for name in found if name.startswith("5 now gradient view ")}
    assert set(found) - views == {"5 now generator pair rows"}
    assert len(views) == 4, "crops and colours of two views"


def test_new_classifiers_and_heads() -> None:
    from robustcl.nn.encoder import build_encoder
    from robustcl.nn.projector import Projector

    plugin = registry.find("encoder", "resnet-small").cls(width=1)
    found = names(lambda: build_encoder(
        plugin, name="resnet-small", item=(1, 8, 8), classes=2, projector=Projector(widths=()), mean=(0.5,), std=(0.5,),
        routes=("main",), rng=Rng(5),
    ))  # fmt: skip
    assert found == ["5 classifier seed", "5 seed"]
    label = torch.arange(40) % 2
    linear = registry.find("protocol", "linear").cls()
    for rng, seed in ((Rng(5), "5"), (None, "0 head")):
        found = names(lambda rng=rng: linear.head(torch.randn(40, 3), label, 2, validation=None, rng=rng))
        assert found == [f"{seed} linear holdout {each} permutation 1" for each in (0, 1)]


def test_a_stream_of_each_name_is_one_of_its_own() -> None:
    rng = Rng(5)
    assert names(lambda: rng.child("a", 1).for_rows(torch.arange(2)).uniform((2,))) == ["5 a 1 rows"]
    assert names(lambda: rng.permutation(3)) == ["5 permutation 1"]
    assert names(lambda: rng.permutation(3)) == ["5 permutation 2"]


def test_an_audit_as_the_command_runs_it() -> None:
    from robustcl.analysis.audit import Opened

    images: Any = SimpleNamespace(
        fetch=lambda index: torch.full((len(index), 1, 6, 6), 0.5), labels=torch.zeros(3, dtype=torch.int64),
        device=torch.device("cpu"), samples=3,
    )  # fmt: skip
    judge = Judge(of_model(Firm().eval()), Ball("Linf", 0.01), Rng(0), nullcontext)
    opened = Opened("it", subject(judge, images, seed=5))
    found = names(lambda: opened.audit(1, deep=False, told=lambda what, done, total: None))
    assert found
    assert all(name.startswith("5 audit ") for name in found)
