"""What a stage starts from must be there: earlier stages, their encoders and clusters, folders of weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from robustcl.errors import UsageError, near
from robustcl.recipe import Ema, Stage
from robustcl.train.encoders import ONLINE


def check(stage: Stage, earlier: Sequence[Stage]) -> None:
    """Refuse a stage whose origins are not there.

    Raises:
        UsageError: a name used twice, an unknown stage, an encoder that it does not leave, other clusters, no folder.
    """
    names = [other.name for other in earlier]
    if stage.name in names:
        raise UsageError(f"two stages are named {stage.name!r}; rename one")
    origins = {"init": stage.init} if stage.init is not None else {}
    if stage.targets is not None and stage.targets.init is not None:
        origins["targets.init"] = stage.targets.init
    origins |= {f"encoders.{name}": origin for name, origin in stage.encoders.items() if isinstance(origin, str)}
    for key, origin in origins.items():
        kind, _, rest = origin.partition(":")
        where = f"stage.{stage.name}.{key} = {origin!r}"
        if kind not in ("stage", "run", "file") or not rest:
            raise UsageError(f'{where}: write "stage:NAME", "run:FOLDER" or "file:FOLDER"')
        name, _, encoder = rest.partition("@")
        if kind == "stage" and name not in names:
            known = ", ".join(names) or "none"
            raise UsageError(f"{where}: no earlier stage is named {name!r}{near(name, names)}; there is {known}")
        if key == "targets.init":
            _check_clusters(stage, earlier[names.index(name)], where)
        if kind == "stage" and encoder:
            check_encoder(encoder, earlier[names.index(name)], where)
        if kind != "stage" and not Path(name).is_dir():
            raise UsageError(f"{where}: there is no folder {name}")


def _check_clusters(stage: Stage, earlier: Stage, where: str) -> None:
    """Clusters that an earlier stage ended with are as many as it made; another number here would be ignored."""
    assert stage.targets is not None
    if earlier.targets is None:
        raise UsageError(f"{where}: stage {earlier.name} clusters nothing; name a stage that has targets")
    asked, made = stage.targets.clusters, earlier.targets.clusters
    if "clusters" in stage.targets.model_fields_set and _listed(asked) != _listed(made):
        raise UsageError(
            f"stage.{stage.name}.targets.clusters = {asked!r}: the clusters are those of stage {earlier.name}, whose "
            f"number is {made!r}; write the same, or remove init"
        )


def _listed(clusters: int | list[int] | str) -> int | list[int] | str:
    return [clusters] if isinstance(clusters, int) else clusters


def check_encoder(name: str, stage: Stage, where: str) -> None:
    """Only the online encoder and its followers are kept at the end of a stage."""
    kept = [ONLINE, *(key for key, origin in stage.encoders.items() if isinstance(origin, Ema))]
    if name not in kept:
        raise UsageError(
            f"{where}: stage {stage.name} leaves no encoder {name!r}{near(name, kept)}; it leaves {', '.join(kept)}"
        )
