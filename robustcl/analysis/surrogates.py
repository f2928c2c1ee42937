"""Another model of the same task, whose adversaries are tried on the audited one: a finished run's, or anybody's."""

from __future__ import annotations

from pathlib import Path

from robustcl.analysis import opponents
from robustcl.analysis.subject import place_model
from robustcl.audit.rivals import Surrogate
from robustcl.errors import UsageError
from robustcl.evaluate.classifier import of_model
from robustcl.run.stages import Say
from robustcl.train.engine import Engine

_FLAGS = ("--surrogate", "--surrogate-weights")


def open_surrogate(
    spec: str,
    weights: Path | None,
    dataset: str,
    classes: int,
    engine: Engine,
    say: Say,
    *,
    audited: Path | None = None,
) -> Surrogate:
    """Return a surrogate with its name.

    Args:
        spec: the folder of a finished run, whose first protocol and route are taken, or "module:function".
        weights: a safetensors file of a "module:function".
        dataset: what the audited model is of, and how many ``classes`` it has.
        classes: as said.
        engine: where it computes.
        say: hears what the run has to train first.
        audited: the run that is audited, which is no other model.

    Raises:
        UsageError: nothing of that name, a run of another data set or of other classes, or the audited run.
        WeightsError: weights that are not safetensors, or of another model.
    """
    folder = Path(spec)
    if not folder.is_dir():
        if ":" not in spec:
            raise UsageError(f"--surrogate {spec}: there is no such run; name its folder, or write module:function")
        return spec, of_model(place_model(spec, weights, classes, engine, _FLAGS, say))
    if weights is not None:
        raise UsageError(f"--surrogate-weights: the run {spec} has weights of its own; leave them out")
    if audited is not None and folder.resolve() == audited.resolve():
        raise UsageError(f"--surrogate {spec} is the audited run itself; name another one")
    found = opponents.open_opponent(folder, None, None, engine, say)
    if (found.data, found.classes) != (dataset, classes):
        raise UsageError(
            f"--surrogate {spec} tells {found.classes} classes of {found.data} apart, and the audited model "
            f"{classes} of {dataset}; name a model of the same task"
        )
    return f"{spec} ({found.name})", found.classifier
