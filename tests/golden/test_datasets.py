"""The data sets: their images and labels against their files, and a sentence for every bad file."""

from __future__ import annotations

import hashlib
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torchvision import datasets

from robustcl.errors import DataError, UsageError
from robustcl_plugins.datasets.cifar import Cifar10, Cifar100
from robustcl_plugins.datasets.digits import Digits
from robustcl_plugins.datasets.imagefolder import ImageFolder
from robustcl_plugins.datasets.npz import Npz
from robustcl_plugins.datasets.stl10 import Stl10

Arrays = dict[str, Any]


@pytest.mark.golden("dataset", "digits")
def test_digits_are_scikit_learns_in_two_parts() -> None:
    bunch, train, test = load_digits(), Digits().open("train"), Digits().open("test")
    assert len(train.labels) == 1437
    assert len(test.labels) == 360
    assert train.item == (1, 8, 8)
    images = torch.cat([train.images, test.images])
    assert images.dtype == torch.uint8
    ours = {
        (tuple(image.flatten().tolist()), int(label))
        for image, label in zip(images, torch.cat([train.labels, test.labels]), strict=True)
    }
    expected = {
        (tuple(int(np.rint(255 * level / 16)) for level in image.ravel()), int(label))
        for image, label in zip(bunch.images, bunch.target, strict=True)
    }
    assert ours == expected
    counts = np.bincount(bunch.target)
    assert (torch.bincount(test.labels).numpy() - counts * 0.2).__abs__().max() <= 1


def test_digits_never_change_and_pretrain_on_train() -> None:
    train = Digits().open("train")
    assert torch.equal(train.images, Digits().open("pretrain").images)
    # Pinned: a result on another split would not be comparable.
    digest = hashlib.sha256(Digits().open("test").images.numpy().tobytes()).hexdigest()
    assert digest[:16] == "eb86dfcafbc017f0"
    mean, deviation = Digits().statistics()
    pixels = train.images.double() / 255
    assert mean == pytest.approx([float(pixels.mean())])
    assert deviation == pytest.approx([float(pixels.std(correction=0))])
    assert Digits().classes() == tuple("0123456789")


@pytest.mark.parametrize("dataset", [Digits(), Npz(path="x.npz"), Cifar10(), Stl10(), ImageFolder(path="x")])
def test_unknown_splits_are_refused(dataset: Any) -> None:
    with pytest.raises(UsageError, match="no split 'validation'"):
        dataset.open("validation")


def arrays(**changes: Any) -> Arrays:
    rng = np.random.default_rng(0)
    made: Arrays = {
        "x_train": rng.integers(0, 256, (6, 3, 8, 9), dtype=np.uint8),
        "y_train": np.array([0, 1, 2, 0, -1, 2]),
        "x_test": rng.integers(0, 256, (3, 3, 8, 9), dtype=np.uint8),
        "y_test": np.array([0, 1, 3]),
    }
    return {key: value for key, value in {**made, **changes}.items() if value is not None}


def save(folder: Path, **changes: Any) -> str:
    path = folder / "images.npz"
    np.savez(path, **arrays(**changes))
    return str(path)


@pytest.mark.golden("dataset", "npz")
def test_npz_gives_what_was_saved(tmp_path: Path) -> None:
    extra = np.full((4, 3, 8, 9), 7, dtype=np.uint8)
    data, made = Npz(path=save(tmp_path, x_pretrain=extra)), arrays()
    for split in ("train", "test"):
        source = data.open(split)
        assert source.item == (3, 8, 9)
        assert np.array_equal(source.images.numpy(), made[f"x_{split}"])
        assert source.labels.tolist() == made[f"y_{split}"].tolist()
    pretrain = data.open("pretrain")
    assert np.array_equal(pretrain.images.numpy(), extra)
    assert pretrain.labels.tolist() == [-1] * 4
    assert data.classes() == ("0", "1", "2", "3")
    mean, deviation = data.statistics()
    pixels = made["x_train"].astype(np.float64) / 255
    assert mean == pytest.approx(pixels.mean((0, 2, 3)).tolist())
    assert deviation == pytest.approx(pixels.std((0, 2, 3)).tolist())


def test_npz_without_pretrain_pretrains_on_train(tmp_path: Path) -> None:
    source = Npz(path=save(tmp_path)).open("pretrain")
    assert source.labels.tolist() == arrays()["y_train"].tolist()


@pytest.mark.parametrize("kind", ["last", "grey", "float", "float64"])
def test_npz_understands_the_usual_shapes(tmp_path: Path, kind: str) -> None:
    made = arrays()
    change: Any = {
        "last": lambda x: np.moveaxis(x, 1, -1),
        "grey": lambda x: x[:, 0],
        "float": lambda x: (x / 255).astype(np.float32),
        "float64": lambda x: x / 255,
    }[kind]
    path = save(tmp_path, **{key: change(made[key]) for key in ("x_train", "x_test")})
    source = Npz(path=path).open("train")
    expected = made["x_train"][:, :1] if kind == "grey" else made["x_train"]
    assert source.item == expected.shape[1:]
    if kind.startswith("float"):
        assert source.images.dtype == torch.float32
        assert np.abs(source.images.numpy() * 255 - expected).max() < 1e-4
    else:
        assert np.array_equal(source.images.numpy(), expected)


def test_npz_asks_for_the_layout_where_it_cannot_be_told(tmp_path: Path) -> None:
    wide = {key: np.zeros((len(arrays()[key]), 10, 8, 12), dtype=np.uint8) for key in ("x_train", "x_test")}
    path = save(tmp_path, **wide)
    with pytest.raises(DataError, match='layout = "channels-first"'):
        Npz(path=path).open("train")
    assert Npz(path=path, layout="channels-first").open("train").item == (10, 8, 12)
    assert Npz(path=path, layout="channels-last").open("train").item == (12, 10, 8)


PIXELS = arrays()["x_train"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"x_train": None}, r"has no array 'x_train', only y_train, x_test, y_test"),
        ({"y_train": None}, r"has no array 'y_train'"),
        ({"x_train": PIXELS[:, 0, 0]}, r"x_train has the shape \(6, 9\): give \(N, C, H, W\)"),
        ({"x_train": PIXELS[:, None, None]}, r"x_train has the shape \(6, 1, 1, 3, 8, 9\)"),
        ({"x_train": PIXELS[:, :, :0]}, r"x_train has the shape"),
        ({"x_train": PIXELS[:0], "y_train": np.array([], dtype=int)}, r"x_train holds no images"),
        ({"x_train": PIXELS.astype(np.float32)}, r"values from 0 to 255: floats must lie in \[0, 1\]"),
        ({"x_train": PIXELS / -255.0}, r"values from -1 to -?0"),
        ({"x_train": np.where(PIXELS[0, 0, 0, 0] == PIXELS, np.nan, PIXELS / 255)}, r"holds nan in image 0"),
        ({"x_train": PIXELS.astype(np.int64)}, r"is int64: store the images as uint8"),
        ({"y_train": np.arange(5)}, r"y_train has 5 labels for the 6 images of x_train"),
        ({"y_train": np.zeros(6)}, r"y_train is float64 of shape \(6,\): give one integer"),
        ({"y_train": np.zeros((6, 3), dtype=int)}, r"y_train is int64 of shape \(6, 3\)"),
        ({"y_train": np.full(6, -2)}, r"holds the label -2 in row 0: classes count from 0, and -1 marks"),
        ({"y_train": np.array(["a"] * 6, dtype=object)}, r"y_train holds Python objects"),
    ],
)
def test_npz_names_the_fault_of_the_train_split(tmp_path: Path, changes: Arrays, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        Npz(path=save(tmp_path, **changes)).open("train")


def test_npz_names_the_faults_of_the_test_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"images of test have the shape \(3, 8, 8\) but those of x_train"):
        Npz(path=save(tmp_path, x_test=PIXELS[:3, :, :, :8])).open("test")
    with pytest.raises(DataError, match=r"y_test holds the label -1 in row 1: classes count from 0"):
        Npz(path=save(tmp_path, y_test=np.array([0, -1, 1]))).open("test")


@pytest.mark.parametrize(
    "labels", [np.array([0, 10**12, 1]), np.array([0, 2**63 + 1, 1], dtype=np.uint64), np.array([0, 1_000_000, 1])]
)
def test_npz_refuses_labels_that_count_no_classes(tmp_path: Path, labels: Any) -> None:
    dataset = Npz(path=save(tmp_path, x_test=PIXELS[:3], y_test=labels))
    for ask in (dataset.classes, lambda: dataset.open("test")):
        with pytest.raises(DataError, match=rf"\.npz: y_test holds the label {labels[1]} in row 1: classes count from"):
            ask()


def test_npz_takes_the_largest_label_that_it_says_it_takes(tmp_path: Path) -> None:
    labels = np.array([0, 999_999, 1], dtype=np.uint64)
    assert len(Npz(path=save(tmp_path, x_test=PIXELS[:3], y_test=labels)).classes()) == 1_000_000


def test_npz_names_missing_truncated_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*absent.npz.*data.path=FILE, or --data-dir FILE beside"):
        Npz(path=str(tmp_path / "absent.npz")).open("train")
    path = Path(save(tmp_path))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"not a complete \.npz archive"):
        Npz(path=str(path)).open("train")
    damaged = bytearray(whole)
    damaged[300] ^= 0xFF  # inside the pixels of x_train
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="damaged"):
        Npz(path=str(path)).open("train")
    np.save(tmp_path / "one.npy", PIXELS)
    with pytest.raises(DataError, match=r"is one array \(\.npy\): save all of them together"):
        Npz(path=str(tmp_path / "one.npy")).open("train")


def as_python2(document: Arrays) -> bytes:
    """Pickle as the official files are: protocol 2, NumPy's old module name, its dtype flags as integers."""
    text = pickle.dumps(document, protocol=2)
    text = text.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    return re.sub(rb"(u1q.)\x89\x88\x87", lambda found: found[1] + b"K\x00K\x01\x87", text, flags=re.DOTALL)


def pin(monkeypatch: pytest.MonkeyPatch, reader: Any, folder: Path) -> None:
    """Make the MD5 sums of a tiny replica the official ones."""

    def md5(name: str) -> str:
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    for name in ("train_list", "test_list"):
        monkeypatch.setattr(reader, name, [[file, md5(file)] for file, _ in getattr(reader, name)])
    if hasattr(reader, "meta"):
        monkeypatch.setattr(reader, "meta", {**reader.meta, "md5": md5(reader.meta["filename"])})


def replica(root: Path, reader: Any, key: str) -> dict[str, Arrays]:
    """Write two images per file in the official layout: rows of 3072 bytes, red plane first."""
    folder = root / reader.base_folder
    folder.mkdir(parents=True)
    rng, written = np.random.default_rng(1), {}
    for file, _ in (*reader.train_list, *reader.test_list):
        document = {
            "data": rng.integers(0, 256, (2, 3072), dtype=np.uint8),
            key: [int(label) for label in rng.integers(0, 10, 2)],
            "filenames": ["a.png", "b.png"],
        }
        (folder / file).write_bytes(as_python2(document))
        written[file] = document
    (folder / reader.meta["filename"]).write_bytes(as_python2({reader.meta["key"]: ["x"] * 10}))
    return written


@pytest.mark.golden("dataset", "cifar10")
@pytest.mark.golden("dataset", "cifar100")
@pytest.mark.parametrize(
    ("plugin", "reader", "key"),
    [(Cifar10, datasets.CIFAR10, "labels"), (Cifar100, datasets.CIFAR100, "fine_labels")],
)
def test_cifar_reads_the_official_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plugin: Any, reader: Any, key: str
) -> None:
    written = replica(tmp_path, reader, key)
    pin(monkeypatch, reader, tmp_path / reader.base_folder)
    for split, files in (
        ("train", reader.train_list),
        ("pretrain", reader.train_list),
        ("test", reader.test_list),
    ):
        source = plugin(path=str(tmp_path)).open(split)
        assert source.item == (3, 32, 32)
        assert source.images.dtype == torch.uint8
        row = 0
        for file, _ in files:
            for data, label in zip(written[file]["data"], written[file][key], strict=True):
                assert source.images[row].flatten().tolist() == data.tolist()
                assert int(source.labels[row]) == label
                row += 1
        assert len(source.labels) == row


class Bomb:
    """An object whose unpickling leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_cifar_never_opens_a_pickle_of_another_md5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = datasets.CIFAR10
    replica(tmp_path, reader, "labels")
    folder = tmp_path / reader.base_folder
    pin(monkeypatch, reader, folder)
    Cifar10(path=str(tmp_path)).open("test")
    loot = tmp_path / "loot"
    for file in ("data_batch_3", "batches.meta"):
        kept = (folder / file).read_bytes()
        (folder / file).write_bytes(pickle.dumps(Bomb(loot)))
        with pytest.raises(DataError, match="MD5 of a file differs: delete it"):
            Cifar10(path=str(tmp_path)).open("train")
        assert not loot.exists()
        (folder / file).write_bytes(kept)
    pickle.loads(pickle.dumps(Bomb(loot)))
    assert loot.exists()  # the bomb works


@pytest.mark.parametrize(
    ("plugin", "folder", "file"),
    [
        (Cifar10, "cifar-10-batches-py", "data_batch_1"),
        (Cifar100, "cifar-100-python", "train"),
        (Stl10, "stl10_binary", "train_X.bin"),
    ],
)
def test_missing_official_data_says_what_is_expected_and_how_to_get_it(
    tmp_path: Path, plugin: Any, folder: str, file: str
) -> None:
    with pytest.raises(DataError) as caught:
        plugin(path=str(tmp_path)).open("train")
    message = str(caught.value)
    assert str(tmp_path / folder) in message
    assert file in message
    assert "have a recipe fetch it once by --set data.download=true" in message
    assert "--data-dir FOLDER beside --dataset" in message
    assert "--set data.path=FOLDER" in message


def test_a_failed_download_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.CIFAR10, "url", (tmp_path / "nowhere.tar.gz").as_uri())
    with pytest.raises(DataError, match="CIFAR-10 could not be fetched into"):
        Cifar10(path=str(tmp_path), download=True).open("train")


def test_the_names_and_constants_of_the_official_data() -> None:
    for plugin, classes in ((Cifar10(), 10), (Cifar100(), 100), (Stl10(), 10)):
        names = plugin.classes()
        assert len(set(names)) == classes
        assert list(names) == sorted(names)
        mean, deviation = plugin.statistics()
        assert all(0.4 < m < 0.52 for m in mean)
        assert all(0.2 < d < 0.3 for d in deviation)


@pytest.mark.golden("dataset", "stl10")
def test_stl10_reads_the_official_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = datasets.STL10
    folder = tmp_path / reader.base_folder
    folder.mkdir()
    rng = np.random.default_rng(2)
    written = {"train": (3, [1, 10, 4]), "test": (2, [2, 9]), "unlabeled": (4, None)}
    pixels = {}
    for part, (n, labels) in written.items():
        pixels[part] = rng.integers(0, 256, (n, 3, 96, 96), dtype=np.uint8)
        # Column by column, labels from 1, as the official files are.
        pixels[part].transpose(0, 1, 3, 2).tofile(folder / f"{part}_X.bin")
        if labels is not None:
            np.array(labels, dtype=np.uint8).tofile(folder / f"{part}_y.bin")
    pin(monkeypatch, reader, folder)
    for split in ("train", "test"):
        source = Stl10(path=str(tmp_path)).open(split)
        assert np.array_equal(source.fetch(torch.arange(written[split][0])).numpy(), pixels[split])
        assert source.labels.tolist() == [label - 1 for label in written[split][1] or []]
    source = Stl10(path=str(tmp_path)).open("pretrain")
    assert np.array_equal(source.images.numpy(), pixels["unlabeled"])
    assert source.labels.tolist() == [-1] * 4
    both = Stl10(path=str(tmp_path), pretrain="train+unlabeled").open("pretrain")
    assert np.array_equal(both.images.numpy(), np.concatenate([pixels["train"], pixels["unlabeled"]]))
    assert both.labels.tolist() == [-1] * 7


def folders(root: Path, splits: tuple[str, ...] = ("train", "test")) -> Path:
    """Write plain images, 12 x 8 and 6 x 10 pixels, two classes of two images."""
    for split in splits:
        for level, name in ((40, "cat"), (200, "dog")):
            folder = root / split / name
            folder.mkdir(parents=True)
            Image.new("RGB", (12, 8), (level, level // 2, 0)).save(folder / "a.png")
            Image.new("L", (6, 10), level).save(folder / "b.png")
    return root


@pytest.mark.golden("dataset", "imagefolder")
@pytest.mark.parametrize("other", ["test", "val"])
def test_imagefolder_reads_resizes_and_labels(tmp_path: Path, other: str) -> None:
    data = ImageFolder(path=str(folders(tmp_path, ("train", other))), size=4)
    for split in ("train", "pretrain", "test"):
        source = data.open(split)
        assert source.item == (3, 4, 4)
        assert source.labels.tolist() == [0, 0, 1, 1]
        images = source.fetch(torch.tensor([3, 0]))
        assert images.dtype == torch.uint8
        assert (images[0] == 200).all()
        assert images[1].flatten(1).float().mean(1).tolist() == [40, 20, 0]
    assert data.classes() == ("cat", "dog")
    mean, deviation = data.statistics()
    values = np.array([[40, 20, 0], [40, 40, 40], [200, 100, 0], [200, 200, 200]]) / 255
    assert mean == pytest.approx(values.mean(0).tolist())
    assert deviation == pytest.approx(values.std(0).tolist())


def test_imagefolder_keeps_the_middle_of_the_image(tmp_path: Path) -> None:
    folder = folders(tmp_path) / "train" / "cat"
    stripes = np.zeros((4, 12, 3), dtype=np.uint8)
    stripes[:, 4:8] = 255
    Image.fromarray(stripes).save(folder / "a.png")
    image = ImageFolder(path=str(tmp_path), size=4).open("train").fetch(torch.tensor([0]))
    assert (image == 255).all()


def test_imagefolder_names_its_faults(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*train: put the images into .*train/CLASS/"):
        ImageFolder(path=str(tmp_path)).open("train")
    root = folders(tmp_path)
    broken = root / "train" / "dog" / "a.png"
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(DataError, match=r"dog/a.png cannot be decoded"):
        ImageFolder(path=str(root), size=4).open("train").fetch(torch.tensor([0, 2]))
    (root / "test" / "dog").rename(root / "test" / "fox")
    with pytest.raises(DataError, match="has the classes cat, fox but train has cat, dog"):
        ImageFolder(path=str(root)).open("test")
    (root / "train" / "empty").mkdir()
    with pytest.raises(DataError, match=r"cannot be used .*empty"):
        ImageFolder(path=str(root)).open("train")


def test_npz_holds_clips_and_test_arrays_alone_are_enough_to_judge_on(tmp_path: Path) -> None:
    label = np.arange(6) % 3
    last = np.random.default_rng(0).integers(0, 256, (6, 5, 8, 9, 3), dtype=np.uint8)
    np.savez(tmp_path / "clips.npz", x_test=last, y_test=label)
    clips = Npz(path=str(tmp_path / "clips.npz"))
    source = clips.open("test")
    assert source.item == (3, 5, 8, 9)
    assert torch.equal(source.fetch(torch.tensor([4])), torch.from_numpy(last[4:5]).movedim(-1, 1))
    assert clips.classes() == ("0", "1", "2")
    with pytest.raises(DataError, match="no array 'x_train'"):
        clips.open("train")
