"""``robustcl study``: a table or figure of a paper, made anew on your data and budget."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustcl import registry
from robustcl.cli.parts import as_json, device, launcher, precision, refuse_numbered, refuse_time, repeat, slots, timed
from robustcl.errors import UsageError
from robustcl.recipe.inherit import summary
from robustcl.terminal.width import columns, fold

if TYPE_CHECKING:
    from robustcl.study.composed import Composed
    from robustcl.study.finished import FinishedStudy


class RunByDefault(click.Group):
    """A group whose command is ``run`` where none is named: ``robustcl study NAME`` runs NAME."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ``run`` before what is no command and no plea for help."""
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=RunByDefault, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Make a table or figure of a paper anew: `robustcl study NAME`, or `robustcl study my.toml`."""


@command.command("list")
@as_json
def list_(as_json: bool) -> None:
    """List the studies with what they are and their origin."""
    rows = [{"name": name, "about": _about(name), "origin": str(origin)} for name, origin in registry.studies().items()]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        click.echo(f"{row['name']:<{width}}  {row['about']}  [{row['origin']}]")


@command.command()
@click.argument("name")
def show(name: str) -> None:
    """Print the study NAME as TOML."""
    click.echo(registry.study_text(name), nl=False)


@command.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@as_json
def status(folder: Path, as_json: bool) -> None:
    """Say how far the study in FOLDER is, from any machine that sees it: its runs, and why some have failed."""
    from robustcl.launch.standings import HEAD, explain_failures, say_all, sum_up, tabulate

    rows = tabulate(folder)
    if as_json:
        click.echo(json.dumps([dict(zip(HEAD, row, strict=True)) for row in rows], indent=1))
        return
    click.echo("\n".join([sum_up(folder), say_all(rows), *explain_failures(folder)]))


@command.command()
@click.argument("name")
@click.option("--dataset", help="Data set of all rows, e.g. digits, cifar10, npz:FILE  [default: the recipes']")
@click.option("--data-dir", help="File or folder of the data set.")
@click.option(
    "--other-dataset",
    "others",
    multiple=True,
    metavar="NAME",
    help="Data set in place of the study's other one, e.g. stl10; may be given several times.",
)
@click.option("--budget", default="small", show_default=True, help="smoke, small, or paper: as published.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Seeds 0 to N - 1 for every row.")
@click.option(
    "--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Change anything in the recipes of all rows."
)
@click.option("--samples", type=click.IntRange(1), help="Judge only the first so many test images.")
@click.option("--amount", type=float, help="Of what the study makes equal, e.g. 400 steps, in place of its own amount.")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="ROW=SPEC",
    help="Judge a model in place of a run: module:function or torchvision:NAME. Rows without one are left out.",
)
@click.option("--weights", multiple=True, metavar="ROW=FILE", help="Weights of a --model: a safetensors file.")
@device
@precision
@click.option(
    "--store",
    metavar="DIR",
    help="Take finished stages from this folder and keep them there, or none"
    "  [default: ROBUSTCL_STORE, else ~/.cache/robustcl]",
)
@click.option("--out", help="Directory of the study and its runs  [default: studies/NAME-BUDGET]")
@launcher
@slots
@click.option("--only", metavar="RUN", help="Run this one alone, by the name of its folder, and make no table.")
@click.option("--until", metavar="STAGE", help="With --only: train it up to this stage, and judge nothing.")
@as_json
@click.option("--so-far", is_flag=True, help="Train nothing: make table and figures of the runs that are finished.")
@click.option(
    "--dry-run", is_flag=True, help="Compose every row, print the runs and their cost, and stop: nothing is trained."
)
@timed
@click.pass_context
def run(
    context: click.Context,
    name: str,
    dataset: str | None,
    data_dir: str | None,
    others: tuple[str, ...],
    budget: str,
    seeds: int,
    overrides: tuple[str, ...],
    samples: int | None,
    amount: float | None,
    models: tuple[str, ...],
    weights: tuple[str, ...],
    device: str,
    precision: str,
    store: str | None,
    out: str | None,
    launcher: str | None,
    slots: int | None,
    only: str | None,
    until: str | None,
    as_json: bool,
    so_far: bool,
    dry_run: bool,
    timed: bool,
) -> int:
    """Run the study NAME, or a study file; the same command goes on where it was cut off.

    With --launcher or --slots every run is a task of its own, several at once; without, one process does them one after
    the other. Exit code 1 where a run's loss became infinite or its task failed: its line of the table is empty then.
    """
    refuse_time(timed, dry_run)
    refuse_numbered(device, launcher, slots)
    _check(launcher if launcher is not None else slots, only, until, so_far, as_json, dry_run)
    from robustcl.cli.runs import ProgressBar
    from robustcl.study import api
    from robustcl.study.plan.setting import Setting, parse_models

    given = parse_models(models, weights)
    setting = Setting(dataset, data_dir, budget, seeds, overrides, others, samples, amount, given)
    composed = api.compose(name, setting, out=out, device=device, precision=precision)
    if dry_run:
        from robustcl.study.runs.costs import tell_costs
        from robustcl.terminal import printable

        click.echo(fold(composed.explain(), columns()))
        if composed.planned:
            click.echo("")
            costs = tell_costs(composed.planned, device, precision, timed=timed, room=columns())
            click.echo(fold(printable(costs), columns()))
        return 0
    with ProgressBar() as progress:
        told: dict[str, Any] = {"device": device, "precision": precision, "say": progress.say, "store": store}
        if only is not None:
            click.echo(f"run     {api.run_one(composed, only, until, out, watcher=progress.watch, **told)}")
            return 0
        if launcher is None and slots is None:
            outcome = api.run(composed, out, watcher=progress.watch, so_far=so_far, **told)
    if launcher is not None or slots is not None:
        outcome = _launch(composed, context)
    if as_json:
        whole = {"study": composed.study.name, "out": str(outcome.path), "notes": outcome.notes,
                 "failed": dict(outcome.failed), "rows": outcome.records(),
                 "terms": [dataclasses.asdict(one) for one in outcome.row_terms],
                 "claims": [claim.model_dump(mode="json") for claim in outcome.claims]}  # fmt: skip
        click.echo(json.dumps(whole))
    else:
        click.echo(fold(outcome.markdown(columns()), columns()))
        click.echo(f"study   {outcome.path / 'study.html'}")
    return int(bool(outcome.failed) and not so_far)


def _launch(composed: Composed, context: click.Context) -> FinishedStudy:
    """Have the runs done by the launcher that the flags name, each by the flags of this command."""
    from robustcl.launch.choice import choose_launcher
    from robustcl.store import places
    from robustcl.study.api import default_folder
    from robustcl.study.launching import launch
    from robustcl.study.runs.execution import Machine

    given = context.params
    folder = Path(given["out"]) if given["out"] is not None else default_folder(composed.study, composed.setting)
    place = places.find_place(given["store"], places.HOME)
    # The store by its name: what the environment says here, machines of a cluster do not hear.
    words = [*repeat(context, ("launcher", "slots", "out", "store", "as_json")), f"--store={place or places.NONE}"]
    words = ["study", "run", *words, f"--out={folder}"]
    machine = Machine(given["device"], given["precision"], place)
    chosen = choose_launcher(given["launcher"], given["slots"])
    return launch(composed, folder, chosen, words, machine, lambda sentence: click.echo(sentence, err=True))


def _check(launched: object, only: str | None, until: str | None, so_far: bool, as_json: bool, dry_run: bool) -> None:
    """Refuse flags that contradict each other."""
    if until is not None and only is None:
        raise UsageError(f"--until {until} is of one run: name it with --only")
    others = ("--launcher and --slots", launched is not None), ("--so-far", so_far), ("--json", as_json)
    for flag, given in (*others, ("--dry-run", dry_run)):
        if given and only is not None:
            raise UsageError(f"--only runs one run and makes no table: leave {flag} out")
    if launched is not None and so_far:
        raise UsageError("--so-far trains nothing that a launcher could launch: leave one of them out")


def _about(name: str) -> str:
    try:
        return summary(str(tomllib.loads(registry.study_text(name)).get("about", "")))
    except tomllib.TOMLDecodeError as error:
        return f"broken: {error}"
