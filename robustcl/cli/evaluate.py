"""``robustcl evaluate``: judge the encoder of a finished run again, or a model that somebody else has trained."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustcl.cli.parts import as_json, launcher, refuse_numbered, refuse_others, repeat, slots
from robustcl.errors import UsageError

if TYPE_CHECKING:
    from robustcl.cli.runs import ProgressBar
    from robustcl.evaluate.work import Work
    from robustcl.run.execution import Run

_OF_RUN = ("protocol", "route", "corruptions", "curve", "convergence")
_OF_MODEL = ("weights", "block", "seed", "precision")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", type=click.Path(file_okay=False), required=False)
@click.option("--protocol", help="Protocol for RUN  [default: the recipe's]")
@click.option("--route", multiple=True, help="Batch-norm branch of RUN; may be given several times.")
@click.option(
    "--corruptions",
    metavar="made|FOLDER",
    help='Judge RUN on corrupted images too: "made" from the test images, or the folder that holds CIFAR-10-C.',
)
@click.option("--curve", metavar="EPS,...", help="Budgets of a security curve of RUN, e.g. 4/255,8/255,16/255.")
@click.option("--convergence", metavar="STEPS,...", help="Judge RUN after so many attack steps, e.g. 1,2,5,10,20,50.")
@click.option(
    "--model", help="Instead of RUN: module:function that returns a classifier, or torchvision:NAME[:own|:plain]."
)
@click.option("--weights", type=click.Path(dir_okay=False), help="Weights of --model: a safetensors file.")
@click.option("--dataset", help="Data set for --model, or another one for the encoder of RUN, e.g. cifar10.")
@click.option("--data-dir", help="File or folder of --dataset.")
@click.option("--norm", help="Norm of the threat for --model, or of another one for RUN  [default: RUN's, or Linf]")
@click.option(
    "--eps",
    help="Size of the threat for --model  [default: 8/255], or of another one for RUN, in a folder of its own.",
)
@click.option("--block", type=click.IntRange(1), help="Images of --model attacked together  [default: 250]")
@click.option("--seed", type=int, help="Seed of the attacks on --model  [default: 0]")
@click.option("--device", help='"auto", "cpu", "cuda" or "cuda:1"  [default: that of RUN, or auto]')
@click.option("--precision", type=click.Choice(["32-true", "bf16-mixed", "64-true"]), help="Of attacks on --model.")
@click.option(
    "--out",
    type=click.Path(file_okay=False),
    help="Folder for the results of --model, of another data set or of another threat  [default for RUN: below RUN]",
)
@click.option(
    "--attack",
    "attacks",
    multiple=True,
    metavar="NAME|TABLE",
    help="Attack by name, or with options: '{ use = \"pgd\", steps = 50 }'; may be given several times. "
    "With samples = N in it the first N images are judged under it.",
)
@click.option("--samples", type=click.IntRange(1), help="Judge only the first so many test images.")
@click.option("--audit-samples", type=click.IntRange(1), help="Audit so many  [default: a quarter, at most 100].")
@click.option("--no-audit", is_flag=True, help='Leave the audit out: the number then stands as "not audited".')
@click.option(
    "--no-witnesses", is_flag=True, help="Keep no adversaries that fool: robustcl verify can then prove nothing."
)
@click.option("--shard", help='Judge one share, e.g. "1/4"; robustcl merge joins the shares.')
@click.option(
    "--worker",
    is_flag=True,
    help="Judge beside other processes of the same command, wherever they run: each takes the next block.",
)
@launcher
@slots
@click.option("--budget", help='Stop after a time, e.g. "10m", and give bounds instead of a number.')
@as_json
@click.pass_context
def command(
    context: click.Context, /, shard: str | None, worker: bool, launcher: str | None, slots: int | None,
    budget: str | None, as_json: bool, run: str | None, **given: Any,
) -> None:  # fmt: skip
    """Judge the encoder of a finished RUN, or any --model; what its journal knows already is not computed again.

    With --dataset, RUN's protocols train and judge their classifiers on that data set, in a folder of their own. With
    --eps, its classifiers are judged under another threat, in a folder of their own too.

    With --worker, give the same command as often as there are processes, at any time; it is safe to kill and to repeat.
    --slots N launches N of them, here or where --launcher brings them.
    """
    from robustcl.analysis.together import judge_together
    from robustcl.cli.runs import ProgressBar, conclude
    from robustcl.evaluate.work import Work, parse_shard, parse_time

    if (run is None) == (given["model"] is None):
        raise UsageError("name what is to be judged: the folder of a finished run, or --model module:function")
    refuse_others(given, _OF_MODEL if run is not None else _OF_RUN, run is not None)
    if given["no_audit"] and given["audit_samples"] is not None:
        raise UsageError("--no-audit and --audit-samples contradict each other: leave one out")
    together = "--worker" if worker else "--launcher" if launcher is not None else "--slots" if slots else None
    if run is not None:
        _check_run(given, "--shard" if shard is not None else together)
    if worker and (launcher is not None or slots is not None):
        raise UsageError("--worker and --slots contradict each other: this is one of the workers that --slots launches")
    if together and (other := "--shard" if shard is not None else "--budget" if budget is not None else None):
        raise UsageError(
            f"{together} and {other} contradict each other: workers share out the blocks, and end when all are judged; "
            f"leave {other} out"
        )
    refuse_numbered(given["device"], launcher, slots)
    if together and not worker:
        from robustcl.cli.workers import find_folder, judge_by_workers

        words = ["evaluate", *repeat(context, ("launcher", "slots", "as_json")), "--worker"]
        judge_by_workers(find_folder(given, run), words, launcher, slots, as_json, int(given["device"] != "cpu"))
        return
    share = parse_shard(shard) if shard is not None else (0, 1)
    end = time.monotonic() + parse_time(budget) if budget is not None else None
    work = Work(shard=share, deadline=end, witnesses=not given["no_witnesses"])
    with ProgressBar() as progress:

        def judge(part: Work) -> Run:
            return _run(run, given, part, progress) if run is not None else _model(given, part, progress)

        finished = judge_together(judge, progress.say, work) if worker else judge(work)
    if finished is None:
        return
    if share == (0, 1):
        conclude(finished, as_json)
        return
    click.echo(f"share {shard} of {finished.path} is judged; when all are: robustcl merge {finished.path}")


def _run(run: str, given: dict[str, Any], work: Work, progress: ProgressBar) -> Run:
    from robustcl.analysis.again import Wanted, evaluate_again
    from robustcl.analysis.other_data import evaluate_elsewhere
    from robustcl.analysis.other_threat import evaluate_under

    corruptions = given["corruptions"] or False
    asked: dict[str, Any] = {
        "protocol": given["protocol"],
        "routes": given["route"],
        "attacks": given["attacks"],
        "samples": given["samples"],
        "corruptions": True if corruptions == "made" else corruptions,
        "curve": [part.strip() for part in given["curve"].split(",")] if given["curve"] else (),
        "convergence": _steps(given["convergence"]) if given["convergence"] else (),
        "audit": _audit(given),
        "device": given["device"],
    }
    told: dict[str, Any] = {"work": work, "watcher": progress.watch, "say": progress.say}
    if given["dataset"] is None and given["eps"] is None:
        return evaluate_again(Path(run), **asked, **told)
    out = Path(given["out"]) if given["out"] else None
    wanted = Wanted(**asked)
    if given["eps"] is not None:
        return evaluate_under(Path(run), given["eps"], wanted, norm=given["norm"], out=out, **told)
    return evaluate_elsewhere(Path(run), given["dataset"], wanted, data_dir=given["data_dir"], out=out, **told)


def _steps(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--convergence {text}: write growing numbers of steps, e.g. 1,2,5,10,20,50") from None


def _model(given: dict[str, Any], work: Work, progress: ProgressBar) -> Run:
    from robustcl.analysis.bare import ModelQuestion, judge_model

    for flag in ("dataset", "out"):
        if given[flag] is None:
            raise UsageError(f"--model needs --{flag} as well")
    words = {
        key: given[key] for key in ("data_dir", "norm", "eps", "samples", "block", "seed") if given[key] is not None
    }
    words["audit"] = _audit(given)
    if given["attacks"]:
        words["attacks"] = given["attacks"]
    weights = Path(given["weights"]) if given["weights"] else None
    machine = {key: given[key] for key in ("device", "precision") if given[key] is not None}
    asked = ModelQuestion(given["model"], given["dataset"], weights, **words)
    return judge_model(asked, Path(given["out"]), work=work, watcher=progress.watch, say=progress.say, **machine)


def _audit(given: dict[str, Any]) -> int | None:
    """Return how many images are audited, ``None`` where nothing is said of it."""
    samples: int | None = given["audit_samples"]
    return 0 if given["no_audit"] else samples


def _check_run(given: dict[str, Any], part: str | None) -> None:
    """Refuse flags that nothing would read, and shares of what is not trained yet."""
    elsewhere, under = given["dataset"] is not None, given["eps"] is not None
    if given["data_dir"] and not elsewhere:
        raise UsageError("--data-dir is for --model or --dataset, not for a run by itself: leave it out")
    if given["out"] and not (elsewhere or under):
        raise UsageError("--out is for --model or --dataset or --eps, not for a run by itself: leave it out")
    if given["norm"] is not None and not under:
        raise UsageError(f"--norm {given['norm']} needs --eps as well: a radius of one norm means nothing in another")
    if elsewhere and under:
        raise UsageError(
            "--eps and --dataset: judge RUN on the data set first, then what that has made, "
            "robustcl evaluate RUN/transfer-DATASET --eps"
        )
    if under and given["corruptions"]:
        raise UsageError("--corruptions: corrupted images are of no threat; judge RUN on them without --eps")
    if elsewhere and part is not None:
        raise UsageError(
            f"{part}: the first evaluation on another data set trains its classifiers in one process; leave it out, "
            f"and share out later ones with robustcl evaluate RUN/transfer-DATASET {part}"
        )
