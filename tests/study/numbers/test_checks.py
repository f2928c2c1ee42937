"""Columns and figures that the runs of a study cannot have are refused before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from robustcl.errors import UsageError
from tests.shared.tiny_study import compose_smoke


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ({"route": "third"}, "the route 'third' is not judged; clean, adv are"),
        ({"protocol": "alf"}, "the recipe is not judged by alf, did you mean 'slf'?"),
        ({"attack": "pgd-20"}, "the recipe is not judged under 'pgd-20'; it is under fgsm"),
        ({"use": "metric", "metric": "pairs/deacl/positive"}, "stage robust logs no 'pairs/deacl/positive'"),
        ({"use": "metric", "metric": "loss", "stage": "robst"}, "has no stage 'robst', did you mean 'robust'?"),
        ({"use": "clusters", "stage": "pretrain"}, "the stage pretrain clusters nothing"),
        ({"use": "perturbed", "value": "fooled", "attack": "ncp"}, "ncp reads "),
        ({"use": "perturbed", "value": "fooled", "attack": "deacl"}, "deacl reads "),
        (
            {
                "use": "perturbed",
                "value": "fooled",
                "attack": {"use": "ncp", "neighbour": 9},
                "targets": {"use": "spherical-kmeans", "clusters": 3},
            },
            "column 'x'.attack: ncp: neighbour = 9 needs as many clusters, but there are 3",
        ),
        ({"use": "perturbed", "value": "fooled", "attack": "pgx"}, "pgx"),
    ],
)
def test_a_column_that_the_runs_cannot_have_is_refused(tmp_path: Path, column: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        compose_smoke(tmp_path, column=[{"name": "x", **column}])
    assert said in str(raised.value)
    assert "the study tiny-study, row 'near', column 'x'" in str(raised.value)


def test_a_figure_that_the_runs_cannot_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"figure silhouette: no stage chooses its clusters"):
        compose_smoke(tmp_path, figure=[{"kind": "silhouette"}])
    with pytest.raises(UsageError, match=r"figure epochs: stage pretrain logs no 'val/x'"):
        compose_smoke(tmp_path, figure=[{"kind": "epochs", "stage": "pretrain", "metrics": ["val/x"]}])
    axis = [{"name": "K", "path": "stage.robust.targets.clusters", "values": [5, "silhouette"]}]
    with pytest.raises(UsageError, match=r"figure lines: the axis 'K' has values that are no numbers"):
        compose_smoke(tmp_path, axis=axis, figure=[{"kind": "lines", "axis": "K", "columns": ["SA"]}])
