"""What the person asks for of a study, beside its name: all of it applies to every row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from robustcl.errors import UsageError
from robustcl.options.arrays import whole


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model comes from: ``module:function`` or ``torchvision:NAME``, and a safetensors file."""

    spec: str
    weights: Path | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """What the person asks for: all of it applies to every row.

    others: data sets in place of the study's ``other``. samples: judge only the first so many test images.
    amount: in place of the study's, of what it makes equal.
    models: row -> a model that somebody else has trained, judged in place of a run of the row's recipe.
    """

    dataset: str | None = None
    data_dir: str | None = None
    budget: str = "small"
    seeds: int = 1
    overrides: Sequence[str] = ()
    others: Sequence[str] = ()
    samples: int | None = None
    amount: float | None = None
    models: Mapping[str, ModelSource] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", whole(self.seeds, "seeds", least=0))
        object.__setattr__(self, "samples", None if self.samples is None else whole(self.samples, "samples"))


def parse_models(models: Sequence[str], weights: Sequence[str]) -> dict[str, ModelSource]:
    """Return the models of ``--model ROW=SPEC`` and ``--weights ROW=FILE``, by row.

    Raises:
        UsageError: a flag of another form, a row named twice, or weights of a row that has no model.
    """
    specs, files = _pairs(models, "--model", "module:function"), _pairs(weights, "--weights", "FILE.safetensors")
    for row in files:
        if row not in specs:
            raise UsageError(f"--weights {row}={files[row]}: the row has no model; give --model '{row}=SPEC' as well")
    return {row: ModelSource(spec, Path(files[row]) if row in files else None) for row, spec in specs.items()}


def _pairs(given: Sequence[str], flag: str, form: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        row, equals, value = text.partition("=")
        if not equals or not row.strip() or not value.strip():
            raise UsageError(f"{flag} {text!r} is not of the form ROW=VALUE, e.g. {flag} 'SimCLR={form}'")
        if row.strip() in found:
            raise UsageError(f"{flag} {text}: the row {row.strip()!r} is named twice; give it once")
        found[row.strip()] = value.strip()
    return found
