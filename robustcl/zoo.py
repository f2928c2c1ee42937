"""``load_model`` and ``benchmark`` in RobustBench's shapes, for encoders of ours on disk; nothing is ever downloaded.

Arguments that would have no effect here are refused, never ignored. Source of the shapes: Croce et al., RobustBench: a
standardized adversarial robustness benchmark, NeurIPS 2021.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustcl import attacks, options, registry
from robustcl.data.held import open_source
from robustcl.data.streamed import as_pixels, fetch
from robustcl.errors import DataError, UsageError, WeightsError, near
from robustcl.evaluate.journal import CLEAN
from robustcl.interop import given
from robustcl.nn.logits import Logits
from robustcl.nn.weights import CONFIG, MODEL
from robustcl.protocols import Source
from robustcl.run.folder import reopen
from robustcl.threat import parse_norm
from robustcl.train import stage_files

_DATA_DIR = "./data"
_CHUNK = 1024


def load_model(
    model_name: str,
    model_dir: str | Path = "./models",
    dataset: str = "cifar10",
    threat_model: str = "Linf",
    custom_checkpoint: str | Path = "",
    norm: str | None = None,
    *,
    route: str | None = None,
) -> nn.Module:
    """Return a classifier, images (R, *item) in [0, 1] -> logits (R, L), in eval mode.

    Args:
        model_name: the folder below ``model_dir/dataset/threat_model``: a saved encoder (``model.safetensors`` and
            ``config.json``), or a finished run, of which the classifier is taken that its recipe's protocol judged.
        model_dir: the root of the zoo.
        dataset: part of the path.
        threat_model: part of the path.
        custom_checkpoint: such a folder, or the ``model.safetensors`` in it; ``model_name`` is then a name only.
        norm: RobustBench's former name of ``threat_model``; refused.
        route: the batch-norm route, where there are several.

    Raises:
        UsageError: no such model, several classifiers and no choice, or one that was never trained.
        WeightsError: a pickle, a damaged file, or no encoder of ours.
    """
    if norm is not None:
        raise UsageError(f"norm = {norm!r} is the former name of threat_model: give threat_model = {norm!r}")
    if custom_checkpoint:
        folder = Path(custom_checkpoint)
        folder = folder.parent if folder.name == MODEL else folder
        _refuse_pickle(folder)
        if not folder.is_dir():
            raise WeightsError(f"custom_checkpoint = {str(custom_checkpoint)!r}: there is no such folder or model file")
    else:
        folder = _found(Path(model_dir), dataset, threat_model, model_name)
    if not (folder / CONFIG).is_file() and (folder / "stages").is_dir():
        return _judged(folder, route)
    return Logits(stage_files.load(folder), route).eval()


def benchmark(
    model: nn.Module,
    n_examples: int = 10000,
    dataset: str = "cifar10",
    threat_model: str = "Linf",
    to_disk: bool = False,
    model_name: str | None = None,
    data_dir: str | Path = _DATA_DIR,
    corruptions_data_dir: str | Path | None = None,
    device: torch.device | str | None = None,
    batch_size: int = 32,
    eps: float | str | None = None,
    log_path: str | Path | None = None,
    preprocessing: str | Callable[..., Any] | None = None,
    aa_state_path: str | Path | None = None,
) -> tuple[float, float]:
    """Return clean and robust accuracy, shares in [0, 1], on the first test images under the standard AutoAttack.

    Args:
        model: images in [0, 1] -> logits, in eval mode.
        n_examples: how many test images; the data set must have as many.
        dataset: a registered data set, with files in ``data_dir``, or with its file as ``npz:images.npz``.
        threat_model: "Linf", "L2" or "L1".
        data_dir: passed to the data set as its path.
        device: where the model is; images follow it.
        batch_size: images attacked together; the outcome does not depend on it.
        eps: the radius, a number or a ratio such as "8/255".
        aa_state_path: the journal: called again with it, nothing is computed twice.
        to_disk, model_name, corruptions_data_dir, log_path, preprocessing: refused unless left alone; ``robustcl
            evaluate`` writes results, and preprocessing belongs into the model.

    Raises:
        UsageError: a threat model other than a norm, no eps, or an argument that has no meaning here.
        DataError: files of the data set that are missing, or fewer images than asked for.
    """
    _refuse(to_disk=to_disk, model_name=model_name, corruptions_data_dir=corruptions_data_dir, log_path=log_path,
            preprocessing=preprocessing)  # fmt: skip
    if "corruptions" in str(threat_model):
        raise UsageError(f"threat_model = {threat_model!r} is no norm: benchmark measures Linf, L2 and L1 threats")
    norm = parse_norm(str(threat_model))
    if eps is None:
        raise UsageError(f'eps is missing: give the radius of the {norm} ball, such as "8/255"')
    home = given.device_of(model)
    if device is not None and home is not None and not _same(torch.device(device), home):
        raise UsageError(f"device = {str(device)!r}, but the model is on {home}: move it there with model.to first")
    attack = attacks.AutoAttack(model, norm, eps)
    images, labels = _images(_test_split(dataset, data_dir), n_examples, dataset)
    outcomes = attack.outcomes(images, labels, bs=batch_size, journal=aa_state_path)
    clean = sum(outcome.member != CLEAN for outcome in outcomes)
    robust = sum(outcome.correct for outcome in outcomes)
    return clean / len(outcomes), robust / len(outcomes)


def _found(root: Path, dataset: str, threat_model: str, name: str) -> Path:
    for what, part in (("model_name", name), ("dataset", dataset), ("threat_model", threat_model)):
        if not re.fullmatch(r"[\w+-][\w.+-]*", str(part)):
            raise UsageError(f"{what} = {str(part)!r} is no plain name of a folder; for a path give custom_checkpoint")
    place = root / dataset / threat_model
    _refuse_pickle(place / name)
    if (place / name).is_dir():
        return place / name
    there = sorted(folder.name for folder in place.iterdir() if folder.is_dir()) if place.is_dir() else []
    hint = near(name, there) or (f"; there are {', '.join(there[:8])}" if there else "; there is no model at all")
    raise UsageError(f"there is no model {name!r} in {place}{hint}: nothing is downloaded, put a saved encoder there")


def _refuse_pickle(path: Path) -> None:
    candidates = [path] if path.suffix in _PICKLES else [Path(f"{path}{suffix}") for suffix in _PICKLES]
    beside = next((candidate for candidate in candidates if candidate.is_file()), None)
    if beside is not None and not path.is_dir():
        raise WeightsError(
            f"{beside} is a PyTorch pickle, which can run any code when it is read and is therefore refused: "
            f"give a folder with {MODEL} and {CONFIG}"
        )


_PICKLES = (".pt", ".pth", ".ckpt", ".pth.tar", ".pkl")


def _judged(run: Path, route: str | None) -> nn.Module:
    """Return the classifier that a finished run's own recipe judged."""
    composition, _ = reopen(run)
    folders: dict[str, tuple[Path, str]] = {}
    for plan in composition.evaluations:
        judged = plan.table.stage or composition.stages[-1].name
        for way in plan.table.route:
            if hasattr(plan.protocol.plugin, "head") or plan.table.encoder != "online" or route not in (None, way):
                continue
            number = len(plan.stages[way]) - 1
            name = f"evaluate-{plan.table.use}-{way}-{judged}" + (f"-{number}" if number > 0 else "")
            folder = stage_files.stage_folder(run, name if plan.stages[way] else judged)
            if (folder / CONFIG).is_file():
                folders[f"{plan.table.use} on route {way}"] = folder, way
    if not folders:
        what = "no finished classifier" + (f" on route {route!r}" if route is not None else "")
        raise UsageError(f"{run} holds {what}: judge the run by a protocol that trains one, such as slf")
    if len(folders) > 1:
        raise UsageError(
            f"{run} holds the classifiers of {', '.join(folders)}: choose one with route, or give its folder below "
            "stages/ as custom_checkpoint"
        )
    ((folder, way),) = folders.values()
    return Logits(stage_files.load(folder), way).eval()


def _test_split(dataset: str, data_dir: str | Path) -> Source:
    found = registry.find("dataset", str(dataset), "dataset")
    cls, preset = found.cls, dict(found.preset)
    takes = "path" not in preset and any(option.name == "path" for option in options.describe(cls))
    if preset and str(data_dir) != _DATA_DIR:
        raise UsageError(f"data_dir = {str(data_dir)!r}: {dataset} names its files already; leave data_dir out")
    if not takes and str(data_dir) != _DATA_DIR:
        raise UsageError(f"data_dir = {str(data_dir)!r}: the data set {dataset} reads no files; leave data_dir out")
    plugin = options.build(cls, preset | ({"path": str(data_dir)} if takes else {}), f"the data set {dataset}").instance
    return open_source(plugin, "test")


def _images(source: Source, count: int, dataset: str) -> tuple[torch.Tensor, torch.Tensor]:
    if not 1 <= count <= len(source.labels):
        raise DataError(f"n_examples = {count}: {dataset} has {len(source.labels)} test images; ask for 1 to as many")
    chunks = [as_pixels(fetch(source, index)) for index in torch.split(torch.arange(count), _CHUNK)]
    return torch.cat(chunks), source.labels[:count]


def _refuse(**arguments: object) -> None:
    for name, value in arguments.items():
        if value not in (None, False):
            raise UsageError(f"{name} = {value!r} {_INSTEAD[name]}")


_INSTEAD: Mapping[str, str] = {
    "to_disk": "is not written here: keep verdicts with aa_state_path, and cards with robustcl.robustbench",
    "model_name": "names a file that is not written: leave it out",
    "corruptions_data_dir": "is for corruptions, which benchmark does not measure: leave it out",
    "log_path": "is not written: aa_state_path keeps every verdict, line by line",
    "preprocessing": "changes what eps means: put it inside the model, or into the data set",
}


def _same(asked: torch.device, home: torch.device) -> bool:
    return asked.type == home.type and asked.index in (None, home.index)
