"""``robustcl study``: a table or figure of a paper, made anew on your data and budget."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustcl import registry
from robustcl.cli.parts import as_json, device, launcher, precision, refuse_numbered, refuse_time, repeat, slots, timed
from robustcl.errors import UsageError
from robustcl.recipe.inherit import summary
from robustcl.terminal.width import columns, fold

if TYPE_CHECKING:
    from robustcl.protocols import Launcher
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
def run(context: click.Context, /, name: str, **given: Any) -> int:
    """Run the study NAME, or a study file; the same command goes on where it was cut off.

    With --launcher or --slots every run is a task of its own, several at once; without, one process does them one after
    the other. Exit code 1 where a run's loss became infinite or its task failed: its line of the table is empty then.
    """
    launched = given["launcher"] is not None or given["slots"] is not None
    _check(given, launched)
    from robustcl.cli.runs import ProgressBar
    from robustcl.launch.choice import choose_launcher
    from robustcl.study import api

    chosen = choose_launcher(given["launcher"], given["slots"]) if launched else None
    composed = _compose(name, given)
    if given["dry_run"]:
        _show_costs(composed, given)
        return 0
    if chosen is not None:
        return _print(_launch(composed, chosen, context), given)
    with ProgressBar() as progress:
        told = {key: given[key] for key in ("device", "precision", "store")}
        told |= {"watcher": progress.watch, "say": progress.say}
        if given["only"] is not None:
            click.echo(f"run     {api.run_one(composed, given['only'], given['until'], given['out'], **told)}")
            return 0
        outcome = api.run(composed, given["out"], so_far=given["so_far"], **told)
    return _print(outcome, given)


def _check(given: Mapping[str, Any], launched: bool) -> None:
    """Refuse flags that contradict each other."""
    refuse_time(given["timed"], given["dry_run"])
    refuse_numbered(given["device"], given["launcher"], given["slots"])
    if given["until"] is not None and given["only"] is None:
        raise UsageError(f"--until {given['until']} is of one run: name it with --only")
    others = ("--so-far", given["so_far"]), ("--json", given["as_json"]), ("--dry-run", given["dry_run"])
    for flag, said in (("--launcher and --slots", launched), *others):
        if said and given["only"] is not None:
            raise UsageError(f"--only runs one run and makes no table: leave {flag} out")
    if launched and given["so_far"]:
        raise UsageError("--so-far trains nothing that a launcher could launch: leave one of them out")


def _compose(name: str, given: Mapping[str, Any]) -> Composed:
    from robustcl.study import api
    from robustcl.study.plan.setting import Setting, parse_models

    keys = ("dataset", "data_dir", "budget", "seeds", "overrides", "others", "samples", "amount")
    setting = Setting(**{key: given[key] for key in keys}, models=parse_models(given["models"], given["weights"]))
    return api.compose(name, setting, out=given["out"], device=given["device"], precision=given["precision"])


def _show_costs(composed: Composed, given: Mapping[str, Any]) -> None:
    """Print the runs of a study and what they cost."""
    from robustcl.study.runs.costs import tell_costs
    from robustcl.terminal import printable

    click.echo(fold(composed.explain(), columns()))
    if composed.planned:
        told = given["device"], given["precision"]
        costs = tell_costs(composed.planned, *told, timed=given["timed"], room=columns())
        click.echo(f"\n{fold(printable(costs), columns())}")


def _launch(composed: Composed, launcher: Launcher, context: click.Context) -> FinishedStudy:
    """Have the runs done by a launcher, each by the flags of this command."""
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
    return launch(composed, folder, launcher, words, machine, lambda sentence: click.echo(sentence, err=True))


def _print(outcome: FinishedStudy, given: Mapping[str, Any]) -> int:
    """Print the tables of a study, or its numbers for tools; return the exit code."""
    if given["as_json"]:
        whole = {"study": outcome.study.name, "out": str(outcome.path), "notes": outcome.notes,
                 "failed": dict(outcome.failed), "rows": outcome.records(),
                 "terms": [dataclasses.asdict(one) for one in outcome.row_terms],
                 "claims": [claim.model_dump(mode="json") for claim in outcome.claims]}  # fmt: skip
        click.echo(json.dumps(whole))
    else:
        click.echo(fold(outcome.markdown(columns()), columns()))
        click.echo(f"study   {outcome.path / 'study.html'}")
    return int(bool(outcome.failed) and not given["so_far"])


def _about(name: str) -> str:
    try:
        return summary(str(tomllib.loads(registry.study_text(name)).get("about", "")))
    except tomllib.TOMLDecodeError as error:
        return f"broken: {error}"
