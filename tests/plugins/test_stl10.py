"""STL-10 as published: which images the methods learn from, and the stem through which they see 96 pixels."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from robustcl import compose
from robustcl.cost.sizes import find_sizes

ALL, UNLABELED = 105_000, 100_000


@pytest.mark.parametrize(("recipe", "images"), [
    ("ncp", ALL), ("ncp-away", ALL), ("ncp-toward", ALL), ("deacl", ALL),
    ("dynacl", UNLABELED), ("dynacl++", UNLABELED), ("acl-air", UNLABELED), ("dynacl-air++", UNLABELED),
])  # fmt: skip
def test_a_method_learns_from_the_published_images_through_the_published_stem(recipe: str, images: int) -> None:
    made = compose(recipe=recipe, dataset="stl10", budget="paper")
    assert find_sizes(made).samples["pretrain"] == images
    assert all(table.split == "pretrain" for table in made.recipe.stage)
    with torch.device("meta"):
        network, _ = made.encoder.plugin.backbone((3, 96, 96))
    assert network.geometry == {"stem_kernel": 7, "stem_stride": 2, "stem_padding": 3, "stem_pool": True}
    cifar = compose(recipe=recipe, dataset="cifar10", budget="paper").encoder.plugin
    assert cifar.stem == "cifar"


def test_another_encoder_takes_no_stem_along() -> None:
    made = compose(recipe="ncp", dataset="stl10", encoder="resnet-small", budget="paper")
    assert made.encoder.name == "resnet-small"
    assert "encoder: resnet-18 replaced by resnet-small, without stem" in made.how


def _write(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a few images in the official layout, and let their digests be the official ones."""
    reader = datasets.STL10
    (folder / reader.base_folder).mkdir()
    draw = np.random.default_rng(0)
    digests = {}
    for part, n, labels in (
        ("train", 8, np.arange(8) % 2 + 1),
        ("test", 4, np.arange(4) % 2 + 1),
        ("unlabeled", 4, None),
    ):
        files = {f"{part}_X.bin": draw.integers(0, 256, (n, 3, 96, 96), dtype=np.uint8).tobytes()}
        files |= {} if labels is None else {f"{part}_y.bin": labels.astype(np.uint8).tobytes()}
        for name, content in files.items():
            (folder / reader.base_folder / name).write_bytes(content)
            digests[name] = hashlib.md5(content).hexdigest()
    for name, text in (("class_names.txt", "\n".join("abcdefghij") + "\n"), ("fold_indices.txt", "0\n")):
        (folder / reader.base_folder / name).write_text(text, encoding="utf-8")
        digests[name] = hashlib.md5(text.encode()).hexdigest()
    for kept in ("train_list", "test_list"):
        monkeypatch.setattr(reader, kept, [[name, digests.get(name, of)] for name, of in getattr(reader, kept)])


def test_deacl_learns_from_all_images_and_is_judged_by_those_with_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, monkeypatch)
    short = (
        "data.validation=0.0", "encoder.width=2", "encoder.projector.widths=[8]",
        "stage.pretrain.epochs=1", "stage.pretrain.batch=12",
        "stage.robust.epochs=1", "stage.robust.batch=6", "stage.robust.generator.steps=1", "evaluate.slf.epochs=1",
        "evaluate.slf.batch=4", 'evaluate.slf.attacks=["fgsm"]', "evaluate.slf.curve=[]", "evaluate.slf.audit=0",
    )  # fmt: skip
    made = compose(
        recipe="deacl", dataset="stl10", data_dir=str(tmp_path), encoder="resnet-small", budget="smoke", overrides=short
    )
    run = made.train(tmp_path / "run", device="cpu", report=False)
    facts = {
        name: json.loads((run.path / f"stages/{name}/finished.json").read_text()) for name in ("pretrain", "robust")
    }
    assert [fact["steps"] for fact in facts.values()] == [12 // 12, 12 // 6]
    assert {row["n"] for row in run.results.tables["rows"] if row["split"] == "test"} == {4}
