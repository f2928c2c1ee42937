"""Evaluation of a run: the protocols' own stages, then clean and attacked accuracy per route, into journal and rows."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from robustcl import ranks
from robustcl.composition import store
from robustcl.composition.data import open_test
from robustcl.composition.stages import Stages
from robustcl.data.subset import Images
from robustcl.evaluate.interval import wilson
from robustcl.evaluate.journal import Journal, Key, Outcome
from robustcl.evaluate.judge import Judge, Members
from robustcl.nn.encoder import Encoder
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.train.plan import Part

if TYPE_CHECKING:
    from robustcl.composition.judging import EvaluationPlan

_SHOWN = 8
"""Images in the report's strip."""
_EMBEDDED = 500
"""Images whose representations the report draws."""


class Evaluation:
    """Measures every protocol, route and attack of a composition; what the journal knows is not measured again."""

    def __init__(self, run: Stages) -> None:
        self.run, self.splits = run, run.splits
        self.composition = run.composition
        self.journal = Journal(run.folder / "journal.jsonl") if ranks.rank() == 0 else None
        self.rows: list[dict[str, Any]] = []
        self.security: list[dict[str, Any]] = []

    def measure(self) -> dict[str, Any]:
        """Return ``rows`` and ``security`` of results.json."""
        test: Images | None = None
        for plan in self.composition.evaluations:
            for route in plan.table.route:
                encoder = self.prepared(plan, route)
                test = test or open_test(self.composition, self.run.engine.device)
                if ranks.rank() == 0:
                    self._judge(plan, route, encoder, test)
                ranks.wait()
        return {"rows": self.rows, "security": self.security}

    def prepared(self, plan: EvaluationPlan, route: str) -> Encoder:
        """Run the protocol's stages on a copy of the judged encoder."""
        judged = plan.table.stage or self.composition.stages[-1].name
        suffix = "" if plan.table.encoder == "online" else f"@{plan.table.encoder}"
        encoder = store.load(store.resolve(f"stage:{judged}{suffix}", self.run.folder))
        for number, (stage, stage_plan) in enumerate(plan.stages[route]):
            name = f"evaluate-{plan.table.use}-{route}-{judged}{suffix}" + (f"-{number}" if number else "")
            if store.facts(self.run.folder, name) is not None:
                encoder = store.load(store.stage_folder(self.run.folder, name))
                continue
            self.run.say(f"evaluate {plan.table.use} on route {route}: {stage.epochs} epochs")
            named = replace(stage_plan, name=name)
            encoder = self.run.train(stage, named, name=name, online=encoder)
        self.run.engine.place(encoder)
        return encoder

    def _judge(self, plan: EvaluationPlan, route: str, encoder: Encoder, test: Images) -> None:
        rng = Rng(self.composition.recipe.seed, "evaluate", plan.table.use, route)
        judge = Judge(encoder, route, self.composition.ball, rng, self.run.engine.autocast)
        splits = {"test": test} | ({"validation": self.splits.validation} if self.splits.validation else {})
        for split, images in splits.items():
            index = _first(images, plan.table.samples)
            self._row(judge, images, index, self._key(plan, route, split), (), plan)
            for number, attack in enumerate(plan.attacks):
                key = self._key(plan, route, split, number, judge.ball)
                self._row(judge, images, index, key, self._members(attack, judge.ball), plan)
        if plan.attacks and plan.table.curve:
            self._curve(judge, test, _first(test, plan.table.samples), plan, route)
        if plan.attacks:
            self._artifacts(judge, test, plan.attacks[0])

    def _key(
        self, plan: EvaluationPlan, route: str, split: str, attack: int | None = None, ball: Ball | None = None
    ) -> Key:
        """Return the question; its ``spec`` holds every setting, so that other settings find no old answers."""
        resolved = self.composition.parts.resolved
        spec: dict[str, Any] = {
            "protocol": resolved(plan.table),
            "stage": plan.table.stage or "",
            "encoder": plan.table.encoder,
        }
        name = None
        if attack is not None and ball is not None:
            name = plan.attacks[attack].name
            options = resolved(plan.table.attacks[attack])
            spec |= {"attack": options, "norm": ball.norm, "eps": float(ball.eps)}
        return Key(plan.table.use, route, split, name, json.dumps(spec, sort_keys=True))

    def _row(
        self, judge: Judge, images: Images, index: Tensor, key: Key, members: Members, plan: EvaluationPlan
    ) -> None:
        assert self.journal is not None
        outcomes = judge.judge(
            images, index, key, members, self.journal, plan.table.block, self.composition.recipe.seed
        )
        correct = sum(outcome.correct for outcome in outcomes)
        low, high = wilson(correct, len(outcomes))
        self.rows.append({
            "protocol": key.protocol, "route": key.route, "split": key.split, "attack": key.attack,
            "metric": "clean_acc" if key.attack is None else f"{key.attack}_acc",
            "n": len(outcomes), "correct": correct, "value": correct / len(outcomes), "low": low, "high": high,
            "spec": json.loads(key.spec),
        })  # fmt: skip
        self.run.say(f"{key.protocol} {key.route} {key.split} {key.attack or 'clean'}: {correct / len(outcomes):.2%}")

    def _curve(self, judge: Judge, images: Images, index: Tensor, plan: EvaluationPlan, route: str) -> None:
        """Attack with growing budgets; the step size grows with the budget, so that every edge can be reached."""
        assert self.journal is not None
        attack = plan.attacks[0]
        clean = self.journal.known(self._key(plan, route, "test"))
        points = [(0.0, _accuracy([clean[int(i)] for i in index]))]
        full = float(judge.ball.eps)
        for eps in plan.table.curve:
            ball = Ball.checked(judge.ball.norm, eps)
            scaled = Judge(judge.encoder, judge.route, ball, judge.rng, judge.autocast)
            key = self._key(plan, route, "test", 0, ball)
            members = self._members(attack, ball, float(ball.eps) / full)
            outcomes = scaled.judge(
                images, index, key, members, self.journal, plan.table.block, self.composition.recipe.seed
            )
            points.append((float(ball.eps), _accuracy(outcomes)))
        points.sort()
        self.security.append({
            "protocol": plan.table.use, "route": route, "attack": attack.name, "n": len(index),
            "eps": [eps for eps, _ in points], "accuracy": [accuracy for _, accuracy in points],
        })  # fmt: skip

    def _members(self, attack: Part, ball: Ball, scale: float = 1.0) -> Members:
        plugin = attack.plugin
        if scale != 1.0 and hasattr(plugin, "step_size"):
            plugin = copy.copy(plugin)
            plugin.step_size = plugin.step_size * scale
        members: Members = plugin.members(len(self.splits.classes), ball)
        return members

    def _artifacts(self, judge: Judge, images: Images, attack: Part) -> None:
        """Keep what the report draws: representations, and a strip of images, of the last judged route."""
        folder = self.run.folder / "artifacts"
        folder.mkdir(exist_ok=True)
        index = _first(images, _EMBEDDED).to(images.device)
        x, label = images.fetch(index), images.labels[index]
        with torch.no_grad():
            clean_prediction = judge.predict(x)
        adversarial, prediction = judge.attack(x, label, index, attack.name, self._members(attack, judge.ball))
        np.savez(
            folder / "representation.npz",
            clean=_array(judge.features(x)), adversarial=_array(judge.features(adversarial)),
            label=_array(label), route=np.array(judge.route),
        )  # fmt: skip
        np.savez(
            folder / "strip.npz",
            clean=_array(x[:_SHOWN]), adversarial=_array(adversarial[:_SHOWN]), label=_array(label[:_SHOWN]),
            clean_prediction=_array(clean_prediction[:_SHOWN]), adversarial_prediction=_array(prediction[:_SHOWN]),
            index=_array(index[:_SHOWN]),
        )  # fmt: skip


def _first(images: Images, samples: int | None) -> Tensor:
    return torch.arange(min(images.samples, samples or images.samples))


def _accuracy(outcomes: list[Outcome]) -> float:
    return sum(outcome.correct for outcome in outcomes) / len(outcomes)


def _array(value: Tensor) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = value.detach().cpu().numpy()
    return array
