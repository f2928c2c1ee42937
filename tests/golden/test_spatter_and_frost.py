"""Spatter against numbers of OpenCV and loops over its definitions, frost against photographs of known pixels."""

from __future__ import annotations

import heapq
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from robustcl import corruption
from robustcl.data.corrupted import generate, maker
from robustcl.errors import DataError, UsageError
from robustcl.evaluate.extras.corruptions import choose_corruptions, photographed
from robustcl.recipe import Corruptions
from robustcl.rng import Rng
from robustcl_plugins.corruptions import edges, spatter
from robustcl_plugins.corruptions.edges import UNIT
from robustcl_plugins.views.corruption import Corruption
from tests.golden.test_corruptions import BIT, corrupted, near, photographs

# A layer of drops and what cv2 4.14 makes of it: Canny(50, 150), and the brightness before the layer is multiplied,
# blur(filter2D(equalizeHist(blur(min(distanceTransform(L2, 5), 20))), SHARPEN)).
DROPS = [
    [173, 0, 0, 0, 0, 0, 0, 0], [178, 187, 174, 0, 0, 0, 0, 0], [170, 178, 180, 0, 0, 175, 0, 0],
    [169, 177, 185, 0, 0, 171, 0, 0], [177, 176, 171, 0, 0, 0, 0, 0], [176, 174, 0, 0, 0, 0, 172, 0],
    [176, 176, 0, 0, 0, 170, 169, 0],
]  # fmt: skip
EDGES = ["01000000", "00101110", "00100010", "00010110", "00100000", "00100111", "01000101"]
BRIGHT = [
    [170, 113, 57, 0, 0, 0, 0, 0], [170, 113, 57, 0, 0, 0, 0, 0], [198, 142, 57, 0, 0, 0, 0, 0],
    [113, 85, 28, 0, 0, 0, 0, 0], [28, 28, 0, 0, 0, 0, 0, 0], [0] * 8, [0] * 8,
]  # fmt: skip


@pytest.mark.golden("view", "corruption")
def test_edges_and_water_are_opencvs() -> None:
    grey = torch.tensor([DROPS, np.rot90(DROPS, 2).tolist()])
    found = edges.find_edges(grey, 50, 150)
    assert ["".join(str(int(one)) for one in row) for row in found[0]] == EDGES
    expected = torch.tensor(DROPS).double() * torch.tensor(BRIGHT)
    water = spatter.water_of((grey.double() / 255 + 1e-6)[:, None])
    assert torch.allclose(water[0, 0], expected / expected.max(), atol=1e-9)
    assert torch.equal(spatter.water_of((grey[1:].double() / 255 + 1e-6)[:, None]), water[1:]), "a row is its own"


def test_edges_are_opencvs_in_every_direction() -> None:
    """Of two crossing waves; a row of the edges is a number of 12 bits, as cv2 4.14 has them by Canny(50, 150)."""
    down, right = torch.meshgrid(torch.arange(12.0).double(), torch.arange(12.0).double(), indexing="ij")
    grey = 127 + 70 * torch.sin(0.9 * right + 0.5 * down) + 55 * torch.sin(1.1 * down - 0.35 * right)
    found = edges.find_edges(grey.long()[None], 50, 150)[0]
    told = [f"{int(''.join(str(int(one)) for one in row), 2):03x}" for row in found]
    assert told == ["711", "9b7", "260", "b4e", "489", "479", "596", "362", "136", "f65", "5e1", "c89"]


def test_distances_are_the_shortest_paths() -> None:
    """Dijkstra's algorithm over neighbours, diagonals and knight's moves."""
    here = Rng(0).uniform((2, 9, 11)) > 0.93
    lengths = {(0, 1): 1.0, (1, 1): 1.4, (1, 2): 2.1969}
    for image, found in zip(here, edges.measure_distance(here, 20) / UNIT, strict=True):
        shortest = {(int(y), int(x)): 0.0 for y, x in image.nonzero()}
        queue = [(0.0, place) for place in shortest]
        while queue:
            far, (y, x) = heapq.heappop(queue)
            for (one, other), length in lengths.items():
                for down, right in itertools.product((one, -one, other, -other), repeat=2):
                    place = (y + down, x + right)
                    if sorted((abs(down), abs(right))) != [one, other] or not (
                        0 <= place[0] < 9 and 0 <= place[1] < 11
                    ):
                        continue
                    if far + length < shortest.get(place, 1e9) - 1e-9:
                        shortest[place] = far + length
                        heapq.heappush(queue, (far + length, place))
        expected = torch.tensor([[min(shortest[y, x], 20.0) for x in range(11)] for y in range(9)])
        assert torch.allclose(found, expected, atol=1e-3)
    assert torch.equal(
        edges.measure_distance(torch.zeros(1, 3, 3, dtype=torch.bool), 20), torch.full((1, 3, 3), 20 * UNIT)
    )


def test_a_histogram_is_evened_out_as_counted() -> None:
    grey = torch.tensor([[[3, 3, 7], [7, 7, 200]], [[5, 5, 5], [5, 5, 5]]])
    # Four of six pixels are above the lowest value; three of them are 7.
    expected = [[[0, 0, round(255 * 3 / 4)], [round(255 * 3 / 4)] * 2 + [255]], [[5] * 3] * 2]
    assert edges.even_out(grey).tolist() == expected


@pytest.mark.golden("view", "corruption")
@pytest.mark.parametrize("severity", [4, 5])
def test_mud_covers_and_water_brightens(severity: int) -> None:
    x = photographs(6)
    found = corrupted(x, "spatter", severity)
    mud = torch.tensor([63, 42, 20]).view(1, 3, 1, 1) / 255
    covered = ((x - found) * (x - mud) >= -BIT) & ((found - mud).abs() <= 0.2 * (x - mud).abs() + 2 * BIT)
    untouched = (found - x).abs() < 1.01 * BIT
    assert bool((covered | untouched).all()), "mud is at least four fifths of what it covers"
    assert bool(untouched.any())
    assert 0.02 < float((~untouched).float().mean()) < 0.8
    wet = corrupted(x, "spatter", severity - 3)
    assert bool((wet >= x - 1.01 * BIT).all())
    assert float((wet - x).max()) <= 0.5 * 238 / 255 + BIT
    grey = corrupted(x[:, :1], "spatter", severity)
    assert grey.shape == x[:, :1].shape
    assert 0.02 < float(((grey - x[:, :1]).abs() > 1.01 * BIT).float().mean()) < 0.8


def test_no_liquid_wets_nothing() -> None:
    assert torch.equal(spatter.water_of(torch.zeros(2, 1, 6, 6)), torch.zeros(2, 1, 6, 6))


# Frost ----------------------------------------------------------------------------------------------------------------


def ice(folder: Path, *sizes: tuple[int, int]) -> list[np.ndarray]:
    """Write photographs of random pixels (H, W) as PNG; return what a fifth of each is."""
    small = []
    for number, (height, width) in enumerate(sizes, 1):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"frost{number}.png")
        small.append(pixels[2::5, 2::5])
    return small


@pytest.mark.golden("view", "corruption")
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_frost_is_a_square_of_a_photograph(tmp_path: Path, severity: int) -> None:
    small = ice(tmp_path, (60, 75), (53, 66))
    (tmp_path / "notes.txt").write_text("no photograph", encoding="utf-8")
    kept, share = ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))[severity - 1]
    x = photographs(12, side=8)
    found = draw(x, tmp_path, severity)
    places = set()
    for image, frosted in zip(x, found, strict=True):
        hits = [
            (number, top, left)
            for number, layer in enumerate(small)
            for top in range(layer.shape[0] - 8)
            for left in range(layer.shape[1] - 8)
            if near(frosted, kept * image.double() + share * crop(layer, top, left))
        ]
        assert len(hits) == 1
        places.add(hits[0])
    assert len(places) > 6
    assert {number for number, _, _ in places} == {0, 1}
    grey = draw(x[:, :1], tmp_path, severity)
    layer = (grey - kept * x[:, :1]).clamp(min=0)
    assert float(layer.max()) <= share + BIT


def draw(x: Tensor, folder: Path, severity: int) -> Tensor:
    view = Corruption(name="frost", severity=severity, photographs=str(folder))  # type: ignore[arg-type]
    return view.draw(x, Rng(1, "c").for_rows(torch.arange(len(x))))


def crop(layer: np.ndarray, top: int, left: int) -> Tensor:
    return torch.from_numpy(layer[top : top + 8, left : left + 8].copy()).permute(2, 0, 1).double() / 255


def test_photographs_that_change_are_read_anew_and_told_apart(tmp_path: Path) -> None:
    ice(tmp_path, (60, 60))
    x = photographs(2, side=8)
    before, told = draw(x, tmp_path, 3), corruption.digest_photographs(tmp_path)
    assert torch.equal(draw(x, tmp_path, 3), before)
    Image.fromarray(np.zeros((70, 60, 3), dtype=np.uint8)).save(tmp_path / "frost1.png")
    assert torch.allclose(draw(x, tmp_path, 3), 0.9 * x, atol=BIT)
    assert corruption.digest_photographs(tmp_path) != told


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none", None, "none cannot be read"),
        ("empty", {}, "empty holds no .png or .jpg: put photographs of frost there"),
        ("torn", {"frost1.png": b"no picture"}, "frost1.png cannot be decoded"),
        ("small", {"frost1.png": (30, 45)}, "frost1.png is 9 x 6 pixels after it was shrunk to a fifth"),
    ],
)
def test_folders_that_cannot_be(tmp_path: Path, name: str, content: dict[str, object] | None, said: str) -> None:
    folder = tmp_path / name
    if content is not None:
        folder.mkdir()
        for file, what in content.items():
            if isinstance(what, bytes):
                (folder / file).write_bytes(what)
            else:
                ice(folder, what)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=said):
        generate(torch.zeros(1, 3, 8, 8), "frost", 1, Rng(0), photographs=str(folder))


def test_frost_is_made_with_photographs_or_not_at_all(tmp_path: Path) -> None:
    ice(tmp_path, (60, 60))
    with pytest.raises(UsageError, match="does not make 'frost' so: frost is laid over photographs"):
        maker("frost", 1)
    assert Corruption(name="fog", photographs="there").available() == "fog reads no photographs: leave them out"  # type: ignore[arg-type]
    assert maker("fog", 1, photographs=str(tmp_path)).available() is None  # type: ignore[attr-defined]
    without, given = Corruptions(), Corruptions(photographs=str(tmp_path))
    assert set(corruption.names()) - set(choose_corruptions(without)) == {"frost"}
    assert choose_corruptions(given) == corruption.names()
    assert [photographed(table) for table in (without, given, Corruptions(path="x"))] == [False, True, False]
