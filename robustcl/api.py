"""``compose``: flags or a recipe file to a checked composition, which explains itself and trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustcl.composition import naming
from robustcl.composition.assembly import assemble, read_plan
from robustcl.composition.choice import SMALL, Flags, choose
from robustcl.composition.plan import RecipePlan
from robustcl.errors import UsageError
from robustcl.options.arrays import whole
from robustcl.ratio import plain
from robustcl.recipe import inherit
from robustcl.train.log import Watcher

if TYPE_CHECKING:
    from robustcl.run.execution import Run

DEFAULT_BUDGET = SMALL


class Composition(RecipePlan):
    """The plan of a recipe with what people do with it: explain, lock, train. Nothing is trained yet."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return what it is in a line; ``explain`` says the rest."""
        stages = ", ".join(stage.name for stage in self.recipe.stage)
        said = f"{self.recipe.name}, seed {self.recipe.seed}, data {self.recipe.data.use}, stages {stages}"
        return f"<Composition {said}: print(it.explain()) says more>"

    def explain(self) -> str:
        """Return the composition in words: stages, plugins and their origin, who meets which need, BN modes, routes."""
        from robustcl.composition.explanation import explain

        return explain(self)

    def lock(self) -> dict[str, Any]:
        """Return the recipe with every default filled in, and each plugin's distribution and version."""
        from robustcl.composition.lock import lock

        return lock(self)

    def train(
        self,
        out: str | Path | None = None,
        *,
        device: str = "auto",
        devices: int | str | None = None,
        num_nodes: int | None = None,
        precision: str = "32-true",
        watcher: Watcher | None = None,
        say: Callable[[str], None] | None = None,
        report: bool = True,
        store: str | Path | None = None,
    ) -> Run:
        """Train every stage, evaluate, and keep the run and its report in a new directory.

        On a terminal and in a notebook it shows how far it is, unless ``watcher`` or ``say`` are given.

        Args:
            out: the run directory; by default a new one below ``runs``.
            device: "auto", "cpu", "cuda" or "cuda:1".
            devices: processes that train together on each machine, or "auto", one for each CUDA device; by default
                those that torchrun, srun or Kubeflow has started, else one.
            num_nodes: machines on which they have started processes; by default whatever they have.
            precision: "32-true", "bf16-mixed" or "64-true".
            watcher: called with the numbers of each logged step.
            say: called with each sentence for the person who waits.
            report: whether ``report.html`` is written, where something was evaluated.
            store: folder of finished stages, from which equal ones are taken; left out, ROBUSTCL_STORE, else none.

        Raises:
            UsageError: the directory exists or cannot be written.
            NonFiniteLoss, Interrupted: the run stopped; ``robustcl.resume`` continues it.
        """
        from robustcl.run.execution import add_report, start
        from robustcl.terminal.progress import show_progress

        with show_progress(watcher, say) as (watch, tell):
            count = devices if devices is None or isinstance(devices, str) else whole(devices, "devices")
            if isinstance(count, str) and count != "auto":
                raise UsageError(f'devices = {count!r}: write 1 or more, as a whole number, or "auto"')
            nodes = None if num_nodes is None else whole(num_nodes, "num_nodes")
            run = start(self, out, device=device, devices=count, num_nodes=nodes, precision=precision, watcher=watch,
                        say=tell, store=store)  # fmt: skip
            return add_report(run, tell) if report else run


def compose(
    *,
    recipe: str | None = None,
    generator: str | None = None,
    objective: str | None = None,
    selector: str | None = None,
    target: str | None = None,
    encoder: str | None = None,
    dataset: str | None = None,
    data_dir: str | None = None,
    budget: str | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    name: str | None = None,
) -> Composition:
    """Compose a method from parts, or from a named recipe with some parts replaced.

    ``recipe`` names an installed recipe or a file; otherwise the base recipe of ``objective`` (and ``generator``) is
    taken. ``budget`` is "smoke", "small" or "paper", left out "small"; a file without that one is taken as it stands.
    ``overrides`` are dotted, ``"stage.robust.generator.steps=10"``. ``name`` is the composition's; left out, the base
    recipe's, with the parts that stand in place of others: ``ncp+drift``.

    Raises:
        UsageError: anything that cannot be composed, in one sentence.
    """
    if name is not None:
        naming.check(name)
    if budget is None and not (recipe is not None and inherit.is_file(recipe)):
        budget = DEFAULT_BUDGET
    flags = Flags(
        recipe, generator, objective, selector, target, encoder, dataset, data_dir, budget, plain(seed), overrides, name
    )
    tables, how = choose(flags)
    return from_tables(tables, "the recipe", how)


def from_file(
    path: Path,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    budget: str | None = None,
    name: str | None = None,
) -> Composition:
    """Compose from a recipe file, a lock included; ``budget`` is one that the file has, "paper" the file as it is."""
    if name is not None:
        naming.check(name)
    flags = Flags(seed=plain(seed), overrides=overrides, budget=budget, name=name)
    return _open(read_plan(path, flags))


def from_tables(tables: Mapping[str, Any], where: str, how: Sequence[str] = ()) -> Composition:
    """Compose from a recipe's tables; errors as in ``assembly.assemble``."""
    return _open(assemble(tables, where, how))


def _open(plan: RecipePlan) -> Composition:
    return Composition(**{field.name: getattr(plan, field.name) for field in fields(plan)})
