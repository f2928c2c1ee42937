"""``robustcl study``: a table or figure of a paper, made anew on your data and budget."""

from __future__ import annotations

import dataclasses
import json
import tomllib

import click

from robustcl import registry
from robustcl.cli.parts import as_json, device, precision, refuse_time, timed
from robustcl.recipe.inherit import summary
from robustcl.terminal.width import columns, fold


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
@as_json
@click.option("--so-far", is_flag=True, help="Train nothing: make table and figures of the runs that are finished.")
@click.option(
    "--dry-run", is_flag=True, help="Compose every row, print the runs and their cost, and stop: nothing is trained."
)
@timed
def run(
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
    as_json: bool,
    so_far: bool,
    dry_run: bool,
    timed: bool,
) -> int:
    """Run the study NAME, or a study file; the same command goes on where it was cut off.

    Exit code 1 where a run's loss became infinite: its line of the table is empty then.
    """
    refuse_time(timed, dry_run)
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
        outcome = api.run(
            composed, out, device=device, precision=precision, watcher=progress.watch, say=progress.say, so_far=so_far,
            store=store,
        )  # fmt: skip
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


def _about(name: str) -> str:
    try:
        return summary(str(tomllib.loads(registry.study_text(name)).get("about", "")))
    except tomllib.TOMLDecodeError as error:
        return f"broken: {error}"
