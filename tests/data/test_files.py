"""Files of strangers: each is read right, or refused in one sentence, before anything is trained on it."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from robustcl.data import keep
from robustcl.errors import DataError
from robustcl_plugins.datasets.imagefolder import ImageFolder
from robustcl_plugins.datasets.npz import Npz
from robustcl_plugins.datasets.pictures import decode

RAMP = np.arange(64, dtype=np.float64).reshape(8, 8) / 63


def saved(path: Path, array: np.ndarray[Any, Any], **options: Any) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


def grey(path: Path) -> list[int]:
    image = decode(path, 8)
    assert torch.equal(image[0], image[1])
    assert torch.equal(image[0], image[2])
    found: list[int] = image[0].flatten().tolist()
    return found


WANTED = np.rint(RAMP * 255).astype(int).ravel().tolist()


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_images_of_16_bits_are_scaled_to_their_full_scale(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"a.{suffix}", np.rint(RAMP * 65_535).astype(np.uint16))
    assert grey(path) == WANTED


def test_floats_in_0_1_are_read_and_others_are_refused(tmp_path: Path) -> None:
    assert grey(saved(tmp_path / "a.tif", RAMP.astype(np.float32))) == WANTED
    for values in (RAMP * 255, RAMP - 0.5, np.where(RAMP > 0.5, np.nan, RAMP)):
        with pytest.raises(DataError, match=r"b.tif holds floats from .*scale them to \[0, 1\]"):
            decode(saved(tmp_path / "b.tif", values.astype(np.float32)), 8)


def test_values_whose_white_is_not_known_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"pixels of the kind 'I', whose white is not known"):
        decode(saved(tmp_path / "a.tif", (RAMP * 1e6).astype(np.int32)), 8)
    with pytest.raises(DataError, match="would be one plain colour"):
        decode(saved(tmp_path / "b.png", (RAMP * 100).astype(np.uint16)), 8)


def test_what_is_transparent_is_laid_on_white(tmp_path: Path) -> None:
    shape = np.zeros((8, 8, 4), np.uint8)
    shape[:4, :, 3] = 255  # a black half on a transparent ground, hidden black itself
    assert grey(saved(tmp_path / "a.png", shape)) == [0] * 32 + [255] * 32
    la = np.stack([np.rint(RAMP * 255), np.full((8, 8), 255)], axis=-1).astype(np.uint8)
    Image.fromarray(la, "LA").save(tmp_path / "b.png")
    assert grey(tmp_path / "b.png") == WANTED
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 90, 90, 90])
    palette.paste(0, (0, 0, 8, 4))
    palette.save(tmp_path / "c.png", transparency=0)
    assert grey(tmp_path / "c.png") == [255] * 32 + [90] * 32
    shape[..., 3] = 0
    with pytest.raises(DataError, match="transparent all over"):
        decode(saved(tmp_path / "d.png", shape), 8)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK"])
def test_other_modes_are_what_pillow_shows(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(np.rint(RAMP * 255).astype(np.uint8)).convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    picture.save(path)
    assert torch.equal(decode(path, 8), torch.from_numpy(np.array(picture.convert("RGB"))).movedim(-1, 0))


def test_the_orientation_of_a_camera_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    path = saved(tmp_path / "a.png", np.rint(RAMP * 255).astype(np.uint8), exif=exif)
    assert grey(path) == WANTED[::-1]


def test_a_wrong_suffix_does_not_matter_and_broken_files_are_named(tmp_path: Path) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    picture.save(tmp_path / "a.jpg", format="PNG")
    assert torch.equal(decode(tmp_path / "a.jpg", 64), torch.from_numpy(np.array(picture)).movedim(-1, 0))
    picture.save(tmp_path / "b.jpg")
    whole = (tmp_path / "b.jpg").read_bytes()
    for name, data, why in (
        ("cut.jpg", whole[: len(whole) // 2], "truncated"),
        ("zero.png", b"", "it is empty"),
        ("text.png", b"hello", "begins like no image"),
        ("script.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n", "begins like no image"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=rf"{name} cannot be decoded \(.*{why}"):
            decode(tmp_path / name, 8)


@pytest.mark.parametrize("suffix", ["gif", "png", "tif"])
def test_animations_are_refused(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="holds 3 frames"):
        decode(tmp_path / f"a.{suffix}", 8)


@pytest.mark.parametrize("side", [13_000, 30_000])
def test_a_huge_image_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        import zlib

        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b""))
    with pytest.raises(DataError, match="save it smaller, or remove it"):
        decode(tmp_path / "a.png", 8)


def test_a_thread_of_an_image_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "a.png", np.zeros((1, 60_000, 3), np.uint8))
    with pytest.raises(DataError, match="60000 x 1 pixels"):
        decode(tmp_path / "a.png", 224)


def a_folder(root: Path) -> Path:
    for split in ("train", "test"):
        for number, name in enumerate(("cat", "dog")):
            (root / split / name).mkdir(parents=True)
            for which in range(2):
                colour = np.full((8, 8, 3), 40 * number + which, np.uint8)
                saved(root / split / name / f"{which}.png", colour)
    return root


def test_hidden_folders_are_no_classes_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    train = a_folder(tmp_path) / "train"
    for name in (".ipynb_checkpoints", "__MACOSX", ".git"):
        (train / name).mkdir()
        saved(train / name / "a.png", np.zeros((8, 8), np.uint8))
    (train / "cat" / "._0.png").write_bytes(b"\x00\x05\x16\x07")
    (train / "cat" / ".ipynb_checkpoints").mkdir()
    saved(train / "cat" / ".ipynb_checkpoints" / "a.png", np.zeros((8, 8), np.uint8))
    for name in ("a.gif", "b.GIF", "notes"):
        (train / "dog" / name).write_bytes(b"x")
    os.mkfifo(train / "dog" / "pipe.png")
    (train / "dog" / "gone.png").symlink_to("nowhere.png")
    (train / "dog" / "round").symlink_to("..")
    data = ImageFolder(path=str(tmp_path), size=8)
    source = data.open("train")
    assert data.classes() == ("cat", "dog")
    assert source.labels.tolist() == [0, 0, 1, 1]
    (remark,) = source.remarks
    for said in (
        "4 hidden folders",
        "2 .gif",
        "1 hidden files",
        "1 pipes",
        "1 broken links",
        "1 links back",
        "without a suffix",
    ):
        assert said in remark
    source.check()


def test_the_header_check_names_the_broken_file(tmp_path: Path) -> None:
    (a_folder(tmp_path) / "train" / "dog" / "9.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"dog/9\.png cannot be decoded"):
        ImageFolder(path=str(tmp_path)).open("train").check()


def images(n: int = 6, **changes: Any) -> dict[str, Any]:
    x = np.random.default_rng(0).integers(0, 256, (n, 3, 8, 9), dtype=np.uint8)
    return {"x_train": x, "y_train": np.arange(n) % 3, "x_test": x[:3], "y_test": np.arange(3), **changes}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["u1", "<f2", "<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("on_disk", [False, True])
def test_every_order_type_and_packing_gives_the_same_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Any, kind: str, write: Any, on_disk: bool
) -> None:
    monkeypatch.setattr("robustcl_plugins.datasets.npz._IN_MEMORY", 0 if on_disk else 1 << 30)
    made = images()
    x = made["x_train"] if kind == "u1" else made["x_train"] / 256
    last = np.moveaxis(x, 1, -1)
    made["x_train"] = np.array(last, dtype=kind, order=order)
    write(tmp_path / "a.npz", **made)
    source = Npz(path=str(tmp_path / "a.npz")).open("train")
    index = torch.tensor([4, 1, 2, 3, 3, 0])
    wanted = torch.from_numpy(np.asarray(x)[index.numpy()]).float() / (255 if kind == "u1" else 1)
    held = keep(source)
    assert torch.equal(held.fetch(index), wanted)
    assert torch.equal(next(iter(held.batches([index])))[1], wanted)
    assert held.fetch(index).is_contiguous()


def raw(path: Path, name: str, header: bytes, data: bytes = b"", **options: Any) -> None:
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr(f"{name}.npy", header + data)


def npy(shape: Any, kind: str = "|u1") -> bytes:
    text = repr({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def refused(path: Path, match: str) -> None:
    for ask in ("train", "pretrain"):
        with pytest.raises(DataError, match=match) as caught:
            Npz(path=str(path)).open(ask)
        assert "\n" not in str(caught.value)


def test_bombs_and_lies_are_sentences(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    raw(path, "x_train", npy((2**40, 8, 8)), b"\0" * 64, compression=zipfile.ZIP_DEFLATED)
    refused(path, r"x_train says it is uint8 of shape .*64 TiB, and the archive holds 64 bytes")
    raw(path, "x_train", npy((-4, 8, 8)))
    refused(path, r"has the shape \(-4, 8, 8\)")
    raw(path, "x_train", b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b" " * 100)
    refused(path, "has a header of 2147483648 bytes")
    raw(path, "x_train", b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000)
    refused(path, "has a header that cannot be read")
    raw(path, "x_train", b"nothing")
    refused(path, "is no NumPy array")
    np.savez(path, **images(x_train=np.zeros(6, dtype=[("a", "u1"), ("b", "f4")])))
    refused(path, "holds records")
    np.savez(path, **images(x_train=np.array([{}] * 6, dtype=object)))
    refused(path, "holds Python objects")


def test_members_that_share_bytes_or_a_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **images())
    data = bytearray(path.read_bytes())
    entries = [at for at in range(len(data)) if data[at : at + 4] == b"PK\x01\x02"]
    data[entries[1] + 42 : entries[1] + 46] = struct.pack("<I", 10)
    path.write_bytes(data)
    refused(path, "share bytes of the file")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", npy((1, 8, 8)) + b"\0" * 64)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("x_train.npy", npy((1, 8, 8)) + b"\0" * 64)
    refused(path, "holds two members 'x_train.npy'")


def test_more_than_the_memory_is_refused_before_it_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", **images())
    monkeypatch.setattr("robustcl.data.memory.available", lambda: 1000)
    refused(tmp_path / "a.npz", r"x_train takes 1.27 KiB of memory and 1e\+03 bytes are free")


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.eye(3, dtype=int)[np.arange(6) % 3], r"one-hot\), y_train.argmax\(axis=1\)"),
        (np.arange(6.0), r"y_train.astype\('int64'\)"),
        (np.array(list("abcabc")), r"numpy.unique\(y_train, return_inverse=True\)"),
        (np.arange(6)[:, None], r"y_train\[:, 0\]"),
        (np.array([0, 1, 2, 0, -3, 1]), "label -3 in row 4"),
    ],
)
def test_labels_of_other_shapes_bring_their_remedy(tmp_path: Path, labels: Any, sentence: str) -> None:
    np.savez(tmp_path / "a.npz", **images(y_train=labels))
    refused(tmp_path / "a.npz", sentence)


def test_a_pipe_is_no_archive_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npz")
    refused(tmp_path / "a.npz", r"is a pipe \(FIFO\) and no file")
    refused(Path("/dev/zero"), "is a device and no file")
    refused(tmp_path, "is a folder and no file")


@pytest.mark.parametrize("how", ["cut", "rewritten"])
def test_a_file_that_changes_while_it_is_read_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("robustcl_plugins.datasets.npz._IN_MEMORY", 0)
    path = tmp_path / "a.npz"
    np.savez(path, **images())
    source = Npz(path=str(path)).open("train")
    if how == "cut":
        os.truncate(path, 100)
    else:
        buffer = io.BytesIO()
        np.savez(buffer, **images(x_train=np.zeros((6, 3, 8, 9), np.uint8)))
        path.write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match="changed while it was in use"):
        source.fetch(torch.arange(6))


_IN_FLIGHT = 32 * 1024**2
"""What blocks of 4 MiB take at most while they are looked at in double precision; the arrays are of 72 MiB."""
_PEAK = """
import sys, torch
from robustcl.data import keep
from robustcl_plugins.datasets.npz import Npz
def peak():
    with open("/proc/self/status") as lines:  # ru_maxrss would begin at what the process that started this one took
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
def through(path):
    data = Npz(path=path)
    train = keep(data.open("train")); pretrain = data.open("pretrain"); test = keep(data.open("test"))
    data.statistics(); data.classes()
    for images in (train, test):
        for _ in images.batches(torch.randperm(images.samples).split(256)):
            pass
through(sys.argv[1])
before = peak()
through(sys.argv[2])
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize(
    ("kind", "write"), [("uint8", np.savez), ("float32", np.savez), ("uint8", np.savez_compressed)]
)
def test_all_splits_together_take_little_more_than_the_file(tmp_path: Path, kind: str, write: Any) -> None:
    rng = np.random.default_rng(0)
    n = 72 * 1024**2 // (3072 * np.dtype(kind).itemsize)
    x = rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8)
    x = x if kind == "uint8" else (x / np.float32(255)).astype(kind)
    np.savez(tmp_path / "small.npz", **images())
    write(tmp_path / "large.npz", x_train=x, y_train=np.arange(n) % 3, x_test=x[:500], y_test=np.arange(500) % 3)
    size = (tmp_path / "large.npz").stat().st_size if write is np.savez else x.nbytes
    command = [sys.executable, "-c", _PEAK, str(tmp_path / "small.npz"), str(tmp_path / "large.npz")]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # glibc gives back at once what is free
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    taken = int(done.stdout)
    assert 0 < taken < 1.3 * size + _IN_FLIGHT


@pytest.mark.parametrize("transparent", [0, 7])
def test_a_transparent_grey_of_16_bits_whitens_nothing(tmp_path: Path, transparent: int) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.rint(RAMP * 65_535).astype(np.uint16)).save(path, transparency=transparent)
    assert grey(path) == WANTED


def test_a_tiff_whose_0_is_white_is_read_so(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.rint((1 - RAMP) * 65_535).astype(np.uint16)).save(path, tiffinfo={262: 0})
    with Image.open(path) as picture:
        assert picture.tag_v2[262] == 0
    assert grey(path) == WANTED
