"""A study that is composed, as a value: its runs and models, before anything is trained or judged."""

from __future__ import annotations

from dataclasses import dataclass

from robustcl.recipe import Use
from robustcl.study.grammar.spots import show_dataset
from robustcl.study.grammar.study import Study
from robustcl.study.numbers.checks import say_lacking
from robustcl.study.plan.planned import Planned
from robustcl.study.plan.setting import Setting
from robustcl.study.plan.timings import Timings
from robustcl.threat import Ball


@dataclass(frozen=True, slots=True)
class Composed:
    """A study whose every row composes and can have every column; nothing is trained yet.

    ball: the threat of rows that are models, in columns without one of their own; ``None`` where no row is one.
    timings: of equal seconds, what every epoch takes.
    """

    study: Study
    setting: Setting
    planned: tuple[Planned, ...]
    ball: Ball | None = None
    timings: Timings | None = None

    @property
    def dataset(self) -> Use:
        """What the rows are trained on, or the models judged on."""
        if self.planned:
            first = next((run for run in self.planned if run.row.on == "data"), self.planned[0])
            return first.composition.recipe.data
        path = {"path": self.setting.data_dir} if self.setting.data_dir is not None else {}
        return Use(use=str(self.setting.dataset), **path)

    @property
    def threat(self) -> str:
        """The ball in which the rows are trained or the models judged, in words."""
        if self.ball is not None:
            return f"{self.ball.norm} {float(self.ball.eps):.4g}"
        plan = self.planned[0].composition
        return f"{plan.ball.norm} {plan.recipe.threat.eps}"

    def explain(self) -> str:
        """Return the runs in words, and what each starts from."""
        runs = {run.folder for run in self.planned}
        numbers = len(self.planned) + len(self.setting.models) * self.setting.seeds
        models = f" and {len(self.setting.models)} models" if self.setting.models else ""
        lines = [f"study {self.study.name}: {numbers} numbers a column, from {len(runs)} runs{models}"]
        for run in self.planned:
            stages = ", ".join(f"{stage.name} ({stage.epochs} epochs)" for stage in run.composition.stages)
            lines.append(f"  {run.label}, seed {run.seed}, runs/{run.folder}: {stages}")
            if run.elsewhere is not None:
                judged = [run.composition.evaluations[place].table.use for place in run.elsewhere.places]
                lines.append(f"    then {', '.join(judged)} on {show_dataset(run.elsewhere.dataset)}")
        lines += [f"  {name}: the model {model.spec}" for name, model in self.setting.models.items()]
        columns = self.study.columns_of(self.study.row[0])
        lines.append(f"columns: {', '.join(column.name for column in columns) or 'none'}")
        if self.study.claim:
            lines.append(f"claims: {', '.join(claim.name for claim in self.study.claim)}")
        return "\n".join(lines + self.absent() + say_lacking(self.planned))

    def absent(self) -> list[str]:
        """Say which rows have no numbers, and why."""
        given = self.setting.models
        names = [row.name for row in self.study.row if (row.name not in given if given else not row.is_trained)]
        if not names:
            return []
        if given:
            return [f"left out, because no --model is given for them: {'; '.join(names)}"]
        said = "judge trained ones with --model 'ROW=SPEC'"
        return [f"left out, because no recipe here trains them: {'; '.join(names)}; {said}"]
