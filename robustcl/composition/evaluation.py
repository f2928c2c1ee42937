"""Evaluation of a run: the protocols' own stages, then clean and attacked accuracy per route, into journal and rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustcl import ranks
from robustcl.composition import audited, convergence, corrupt, curve, store
from robustcl.composition.data import open_test
from robustcl.composition.question import Question
from robustcl.composition.stages import Stages
from robustcl.data.subset import Images
from robustcl.evaluate import head, scaled, shards
from robustcl.evaluate.artifacts import keep
from robustcl.evaluate.classifier import of_encoder
from robustcl.evaluate.journal import Key, model_hash
from robustcl.evaluate.judge import Judge, Members
from robustcl.evaluate.likeness import content
from robustcl.evaluate.measure import Measurement
from robustcl.evaluate.work import Work
from robustcl.nn.encoder import Encoder
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl.train.plan import Part

if TYPE_CHECKING:
    from robustcl.composition.judging import EvaluationPlan


class Evaluation:
    """Measures every protocol, route and attack of a composition; what the journal knows is not measured again.

    ``work`` is this process's part. The share of one of several processes goes into a journal of its own, which
    ``robustcl merge`` joins with the others'; representations and images are kept by a whole evaluation alone.
    ``folder`` takes journal, artifacts and audits; it is the run's own where it is left out.
    """

    def __init__(self, run: Stages, work: Work, folder: Path | None = None) -> None:
        self.run, self.splits = run, run.splits
        self.folder = folder or run.folder
        self.composition = run.composition
        self.whole = work.shard == (0, 1)
        self.work = replace(work, told=lambda what, done, total: run.watcher(what, done, total, {}))
        self.journal = shards.journal(self.folder, work.shard) if ranks.rank() == 0 else None
        self.rows: list[dict[str, Any]] = []
        self.security: list[dict[str, Any]] = []
        self.convergence: list[dict[str, Any]] = []
        self.corruptions: list[dict[str, Any]] = []
        self.audit: list[dict[str, Any]] = []

    def measure(self) -> dict[str, Any]:
        """Return ``rows``, ``security``, ``convergence``, ``corruptions`` and ``audit`` of results.json."""
        test: Images | None = None
        for plan in self.composition.evaluations:
            for route in plan.table.route:
                encoder = self.prepared(plan, route)
                test = test or open_test(self.composition, self.run.engine.device)
                if ranks.rank() == 0:
                    self._judge(plan, route, encoder, test)
                ranks.wait()
        return {
            "rows": self.rows,
            "security": self.security,
            "convergence": self.convergence,
            "corruptions": self.corruptions,
            "audit": self.audit,
        }

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
        head.put(encoder, route, plan.protocol.plugin, self.splits.train, len(self.splits.classes))
        return encoder

    def _judge(self, plan: EvaluationPlan, route: str, encoder: Encoder, test: Images) -> None:
        rng = Rng(self.composition.recipe.seed, "evaluate", plan.table.use, route)
        judge = Judge(of_encoder(encoder, route), self.composition.ball, rng, self.run.engine.autocast)
        question = self.question(plan, route, encoder, test)
        measurement = self._measurement(plan)
        attacks = [(attack, self._members(attack, judge.ball)) for attack in plan.attacks]
        splits = {"test": test} | ({"validation": self.splits.validation} if self.splits.validation else {})
        for split, images in splits.items():
            self._row(measurement, plan, judge, images, question.clean(split), ())
            for number, (_, members) in enumerate(attacks):
                key = question.attacked(split, number, judge.ball)
                self._row(measurement, plan, judge, images, key, members)
        classes = len(self.splits.classes)
        if attacks and plan.table.curve and (points := curve.measured(judge, test, question, measurement, classes)):
            self.security.append(points)
        if plan.table.convergence and (steps := convergence.measured(judge, test, question, measurement, classes)):
            self.convergence.append(steps)
        dataset = self.composition.dataset.plugin
        if plan.table.corruptions and (sets := corrupt.measured(judge, test, dataset, question, measurement)):
            self.corruptions.append(sets)
        if attacks and self.whole:
            self._audit(plan, judge, test, question, measurement)
            attack, members = attacks[0]
            index = measurement.drawn(test, plan.table.samples)
            if len(index):
                keep(self.folder / "artifacts", judge, route, test, index, attack.name, members)

    def _row(
        self, measurement: Measurement, plan: EvaluationPlan, judge: Judge, images: Images, key: Key, members: Members
    ) -> None:
        found = measurement.row(judge, images, key, members, plan.table.samples)
        version, digest = plan.identity
        self.rows.append(found | {"protocol_version": version, "protocol_hash": digest})

    def _audit(
        self, plan: EvaluationPlan, judge: Judge, test: Images, question: Question, measurement: Measurement
    ) -> None:
        samples = audited.samples_of(plan.table.audit, len(measurement.index(test, plan.table.samples)))
        who = f"{plan.table.use} {question.route}"
        if samples == 0 or self.work.over:
            self.run.say(f"{who}: not audited, {'as was asked' if samples == 0 else 'because the time is up'}")
            return
        asked = self.questions(plan, question, judge.ball)
        journal, seed = measurement.journal, self.composition.recipe.seed
        found = audited.audited(self.folder, judge, test, journal, asked, samples, seed, self.work.told, self.run.say)
        self.audit.append(found)
        self.run.say(f"{who} audit of {found['samples']} samples: {found['verdict'].upper()}")

    def question(self, plan: EvaluationPlan, route: str, encoder: Encoder, test: Images) -> Question:
        """Return the keys of a prepared encoder's outcomes."""
        splits = {"test": test, "validation": self.splits.validation}
        contents = {name: content(images) for name, images in splits.items() if images is not None}
        return Question(self.composition, plan, route, model_hash(encoder.state_dict()), contents)

    def questions(self, plan: EvaluationPlan, question: Question, ball: Ball) -> list[tuple[Key, Members]]:
        """Return what is asked of the test images within a ball: the key of each attack, and its members."""
        return [
            (question.attacked("test", number, ball), self._members(attack, ball))
            for number, attack in enumerate(plan.attacks)
        ]

    def _measurement(self, plan: EvaluationPlan) -> Measurement:
        assert self.journal is not None
        work = replace(self.work, block=plan.table.block)
        return Measurement(self.journal, self.composition.recipe.seed, work, self.run.say)

    def _members(self, attack: Part, ball: Ball) -> Members:
        return scaled.members(attack.plugin, len(self.splits.classes), ball)
