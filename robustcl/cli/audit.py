"""``robustcl audit``: ask whether a robustness number may be due to an attack that failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustcl.cli.parts import as_json, refuse_others
from robustcl.errors import UsageError

if TYPE_CHECKING:
    from robustcl.analysis.audit import Opened
    from robustcl.audit import Audit
    from robustcl.cli.runs import ProgressBar

FAILED = 3
"""The exit code where a check failed."""

_OF_RUN = ("protocol", "route", "attack")
_OF_MODEL = ("weights", "dataset", "data_dir", "seed", "device")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", type=click.Path(file_okay=False), required=False)
@click.option("--protocol", help="Audit only this protocol of RUN  [default: all that judged it]")
@click.option("--route", multiple=True, help="Batch-norm branch of RUN; may be given several times.")
@click.option(
    "--attack",
    multiple=True,
    metavar="NAME|TABLE",
    help="Attack whose number on RUN is audited; may be given several times  [default: the recipe's]",
)
@click.option(
    "--model", help="Instead of RUN: module:function that returns a classifier, or torchvision:NAME[:own|:plain]."
)
@click.option("--weights", type=click.Path(dir_okay=False), help="Weights of --model: a safetensors file.")
@click.option("--dataset", help="Data set for --model, e.g. cifar10 or npz:FILE.")
@click.option("--data-dir", help="File or folder of the data set for --model.")
@click.option("--norm", help="Norm of the threat for --model, or of another one for RUN  [default: RUN's, or Linf]")
@click.option("--eps", help="Size of the threat for --model  [default: 8/255], or of another one for RUN.")
@click.option("--seed", type=int, help="Seed of the attacks on --model  [default: 0]")
@click.option("--device", help='For --model: "auto", "cpu", "cuda" or "cuda:1"  [default: auto]')
@click.option(
    "--surrogate",
    help="Another model of the same task, a finished RUN or as --model: its adversarial images are tried too.",
)
@click.option("--surrogate-weights", type=click.Path(dir_okay=False), help="Weights of --surrogate.")
@click.option("--samples", type=click.IntRange(1), help="Audit the first so many test images  [default: 200]")
@click.option("--deep", is_flag=True, help="Hard-label attack, 10,000 draws of noise, more queries, steps, restarts.")
@click.option("--out", type=click.Path(dir_okay=False), help="Keep the audit as JSON in this file.")
@as_json
def command(run: str | None, as_json: bool, deep: bool, samples: int | None, out: str | None, **given: Any) -> int:
    """Audit the encoder of a finished RUN, or any --model: could its attack have failed for a wrong reason?

    Exit code 3 where a check fails.
    """
    from robustcl.analysis.audit import open_audited, open_audited_model
    from robustcl.cli.runs import ProgressBar

    if (run is None) == (given["model"] is None):
        raise UsageError("name what is to be audited: the folder of a finished run, or --model module:function")
    refuse_others(given, _OF_MODEL if run is not None else _OF_RUN, run is not None)
    if given["surrogate_weights"] and not given["surrogate"]:
        raise UsageError("--surrogate-weights needs --surrogate as well: name the model that they belong to")
    if run is not None and given["norm"] is not None and given["eps"] is None:
        raise UsageError(f"--norm {given['norm']} needs --eps as well: a radius of one norm means nothing in another")
    with ProgressBar() as progress:
        if run is not None:
            weights = Path(given["surrogate_weights"]) if given["surrogate_weights"] else None
            more = {key: given[key] for key in ("norm", "eps", "surrogate")}
            more |= {"surrogate_weights": weights, "attacks": given["attack"]}
            with open_audited(Path(run), given["protocol"], given["route"], progress.say, **more) as subjects:
                audits = [(each.name, _audit(each, samples, deep, progress)) for each in subjects]
                _store(subjects, [found for _, found in audits])
        else:
            subject = open_audited_model(_asked(given), given["device"] or "auto", progress.say)
            audits = [(subject.name, _audit(subject, samples, deep, progress))]
    return _tell(audits, as_json, Path(out) if out else None)


def _audit(subject: Opened, samples: int | None, deep: bool, progress: ProgressBar) -> Audit:
    def told(what: str, done: int, total: int) -> None:
        progress.watch(f"audit {subject.name}", done, total, {})

    return subject.audit(samples, deep=deep, told=told)


def _store(subjects: list[Opened], audits: list[Audit]) -> None:
    """Put the audits into the results under their threat, if there are any, from which the report shows them."""
    from robustcl import audit, report
    from robustcl.run import audited

    entries = [{**subject.place, **audit.as_json(found)} for subject, found in zip(subjects, audits, strict=True)]
    home = next((subject.home for subject in subjects), None)
    if home is not None and audited.store(home, entries):
        report.write(home)


def _tell(audits: list[tuple[str, Audit]], as_json: bool, out: Path | None) -> int:
    """Print the audits and keep them; return the exit code."""
    from robustcl import audit
    from robustcl.audit.shown import lines
    from robustcl.disk import as_usage, write_atomically

    whole = {name: audit.as_json(found) for name, found in audits}
    if out is not None:
        with as_usage(f"--out {out}", "choose another file"):
            write_atomically(out, json.dumps(whole, indent=1))
    if as_json:
        click.echo(json.dumps(whole))
    for name, found in [] if as_json else audits:
        click.echo(f"{name}, {found.threat['norm']} eps {found.threat['eps']:.4g}")
        for line in lines(found):
            click.echo(line)
    return FAILED if any(found.verdict == "fail" for _, found in audits) else 0


def _asked(given: dict[str, Any]) -> Any:
    from robustcl.analysis.audit import AuditedModel

    if given["dataset"] is None:
        raise UsageError("--model needs --dataset as well")
    words = {key: given[key] for key in ("data_dir", "norm", "eps", "seed", "surrogate") if given[key] is not None}
    paths: dict[str, Any] = {key: Path(given[key]) for key in ("weights", "surrogate_weights") if given[key]}
    return AuditedModel(given["model"], given["dataset"], **words, **paths)
