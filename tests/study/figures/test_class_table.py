"""Heat maps of distances between classes: what stands in the cells, on which scale, and in words for who sees none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from matplotlib.colors import rgb2hex

from robustcl.measures import class_distances
from robustcl.rng import Rng
from robustcl.study.figures.class_table import draw_class_tables

NAMES = ("cat", "dog", "ship")


def test_the_cells_hold_the_mean_over_pairs_as_loops_have_it() -> None:
    h, label = Rng(0).normal((9, 4)).double(), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2])
    unit = h / h.norm(dim=1, keepdim=True)
    found = class_distances(h, label)
    svg = draw_class_tables("it", [("mine", found.table.numpy(), found.classes.numpy())], NAMES).svg()
    for one in range(3):
        for other in range(3):
            pairs = [1 - float(unit[i] @ unit[k]) for i in range(9) for k in range(9)
                     if i != k and label[i] == one and label[k] == other]  # fmt: skip
            assert f">{np.mean(pairs):.2f}<" in svg
    assert all(svg.count(f">{name}<") == 2 for name in NAMES)
    assert "mean cosine distance" in svg


def test_it_is_told_in_words() -> None:
    table = np.array([[0.2, 0.5, 0.9], [0.5, 0.4, 1.0], [0.9, 1.0, np.nan]])
    svg = draw_class_tables("it", [("SimCLR", table, np.array([0, 1, 2]))], NAMES).svg()
    said = "SimCLR: 0.3 within a class on average, 0.8 between two, 0.5 between the nearest, cat and dog"
    assert f'aria-label="Mean cosine distance of the features of each two classes. {said}"' in svg
    assert ">nan<" not in svg


def test_panels_share_a_scale_and_many_classes_have_no_numbers() -> None:
    near, far = np.full((2, 2), 0.11), np.full((2, 2), 1.0)
    both = draw_class_tables("it", [("a", near, np.arange(2)), ("b", far, np.arange(2))], NAMES).svg()
    alone = draw_class_tables("it", [("a", near, np.arange(2))], NAMES).svg()
    shade = f"fill: {rgb2hex(colormaps['Blues'](0.11))}"
    assert both.count(shade) >= 4, "a tenth of the largest distance of all panels is light"
    assert alone.count(shade) < 4
    assert both.count(">0.11<") == 4
    assert both.count(">1.00<") == 4
    assert alone.count(">0.11<") == 4
    large = draw_class_tables("it", [("a", np.full((13, 13), 0.5), np.arange(13))], [str(n) for n in range(13)]).svg()
    assert ">0.50<" not in large


@pytest.mark.parametrize("labels", [[0, 2], [1, 2]])
def test_classes_that_are_not_there_are_not_named(labels: list[int]) -> None:
    svg = draw_class_tables("it", [("a", np.eye(2), np.array(labels))], NAMES).svg()
    assert [f">{name}<" in svg for name in NAMES] == [place in labels for place in range(3)]
