"""Evaluation of a run: the protocols' own stages, then clean and attacked accuracy per route, into journal and rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from robustcl import ranks
from robustcl.composition import audited, averages, convergence, corrupt, curve, store
from robustcl.composition.data import open_test
from robustcl.composition.identify import settings_of
from robustcl.composition.plan import EvaluationPlan
from robustcl.composition.question import Question
from robustcl.composition.stages import Stages
from robustcl.data.subset import Images
from robustcl.evaluate import head, resolved, scaled, shards
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
from robustcl.train.falling import still_falling
from robustcl.train.plan import Part


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
                test = test or self.splits.test or open_test(self.composition, self.run.engine.device)
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
        for name, (stage, stage_plan) in zip(self._names(plan, route), plan.stages[route], strict=True):
            settings = settings_of(stage)
            if store.facts(self.run.folder, name) is not None:
                store.require_settings(self.run.folder, name, settings)
                encoder = store.load(store.stage_folder(self.run.folder, name))
                continue
            self.run.say(f"evaluate {plan.table.use} on route {route}: {stage.epochs} epochs")
            named = replace(stage_plan, name=name)
            encoder = self.run.train(stage, named, name=name, online=encoder, settings=settings)
        self.run.engine.place(encoder)
        head.put(
            encoder, route, plan.protocol.plugin, self.splits.train, len(self.splits.classes),
            validation=self.splits.validation, rng=Rng(self.composition.recipe.seed, "head"),
        )  # fmt: skip
        return encoder

    def _told(self, plan: EvaluationPlan, route: str, encoder: Encoder) -> dict[str, Any]:
        """Say how the classifier was come by and what to know of it; returns the same for its rows."""
        remarks = [*getattr(encoder.classifier, "remarks", ()), *self._short(plan, route), *self._stale(plan)]
        outcome = getattr(encoder.classifier, "outcome", None)
        who = f"{plan.table.use} {route}"
        if outcome:
            numbers = {name: f"{v:.4g}" if isinstance(v, float) else v for name, v in outcome.items() if name != "grid"}
            self.run.say(f"{who}: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in numbers.items()))
        for remark in remarks:
            self.run.say(f"{who}: {remark}")
        return ({"fit": dict(outcome)} if outcome else {}) | ({"remarks": remarks} if remarks else {})

    def _short(self, plan: EvaluationPlan, route: str) -> list[str]:
        """Return a sentence where the objective of the protocol's last stage was still falling at its end."""
        if not plan.stages[route]:
            return []
        facts = store.facts(self.run.folder, self._names(plan, route)[-1]) or {}
        curve = facts.get("objective")  # earlier runs kept none
        said = still_falling(**curve) if curve and curve["first"] is not None else None
        advice = "the figure measures the schedule, too; --protocol linear fits the classifier to its optimum"
        return [f"{said}; {advice}"] if said else []

    def _stale(self, plan: EvaluationPlan) -> list[str]:
        """Return a sentence where the judged encoder is an average that is, in part, what its stage began with."""
        judged = plan.table.stage or self.composition.stages[-1].name
        stage = next(stage for stage in self.composition.stages if stage.name == judged)
        steps = (store.facts(self.run.folder, judged) or {}).get("steps")
        said = averages.stale(stage, plan.table.encoder, steps) if isinstance(steps, int) else None
        return [said] if said else []

    def _names(self, plan: EvaluationPlan, route: str) -> list[str]:
        judged = plan.table.stage or self.composition.stages[-1].name
        suffix = "" if plan.table.encoder == "online" else f"@{plan.table.encoder}"
        name = f"evaluate-{plan.table.use}-{route}-{judged}{suffix}"
        return [name + (f"-{number}" if number else "") for number in range(len(plan.stages[route]))]

    def _judge(self, plan: EvaluationPlan, route: str, encoder: Encoder, test: Images) -> None:
        rng = Rng(self.composition.recipe.seed, "evaluate", plan.table.use, route)
        judge = Judge(of_encoder(encoder, route), self.composition.ball, rng, self.run.engine.autocast)
        question = self.question(plan, route, encoder, test)
        measurement = self._measurement(plan)
        told = self._told(plan, route, encoder)
        attacks = [(attack, self._members(attack, judge.ball)) for attack in plan.attacks]
        splits = {"test": test} | ({"validation": self.splits.validation} if self.splits.validation else {})
        for split, images in splits.items():
            self._row(measurement, plan, judge, images, question.clean(split), (), told)
            for number, (_, members) in enumerate(attacks):
                key = question.attacked(split, number, judge.ball)
                self._row(measurement, plan, judge, images, key, members, told | self._resolved(plan, number, judge))
        classes = len(self.splits.classes)
        if attacks and plan.table.curve and (points := curve.measure(judge, test, question, measurement, classes)):
            self.security.append(points)
        if plan.table.convergence and (steps := convergence.measure(judge, test, question, measurement, classes)):
            self.convergence.append(steps)
        dataset = self.composition.dataset.plugin
        if plan.table.corruptions and (sets := corrupt.measure(judge, test, dataset, question, measurement)):
            self.corruptions.append(sets)
        if attacks and self.whole:
            self._audit(plan, judge, test, question, measurement)
            attack, members = attacks[0]
            index = measurement.drawn(test, plan.table.samples)
            if len(index):
                keep(self.folder / "artifacts", judge, route, test, index, attack.name, members)

    def _row(
        self, measurement: Measurement, plan: EvaluationPlan, judge: Judge, images: Images, key: Key, members: Members,
        told: dict[str, Any],
    ) -> None:  # fmt: skip
        found = measurement.row(judge, images, key, members, plan.table.samples)
        version, digest = plan.identity
        how = {"seed": measurement.seed, "precision": self.run.engine.precision}
        self.rows.append(found | {"protocol_version": version, "protocol_hash": digest} | how | told)

    def _resolved(self, plan: EvaluationPlan, number: int, judge: Judge) -> dict[str, Any]:
        """Return the options of an attack as it runs, which its key need not spell out."""
        stated = self.composition.parts.resolved(plan.table.attacks[number])
        plugin, classes = plan.attacks[number].plugin, len(self.splits.classes)
        return {"resolved": resolved.options(plugin, stated, classes, judge.ball)}

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
        found = audited.obtain(self.folder, judge, test, journal, asked, samples, seed, self.work.told, self.run.say)
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
