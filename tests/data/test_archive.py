"""NumPy archives and rows on disk at the numbers on which their reading hangs."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robustcl.data import archive, arrays, rows
from robustcl.data.archive import open_archive
from robustcl.data.rows import FileRows
from robustcl.errors import DataError


def packed(path: Path, members: dict[str, bytes], **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def npy(shape: Any, version: int = 1, *, kind: str = "|u1", length: int | None = None) -> bytes:
    """Return a header; ``length`` of its text, filled with spaces."""
    text = repr({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    text = text.ljust(length if length is not None else len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text


def read(path: Path, name: str = "a") -> np.ndarray[Any, Any]:
    with open_archive(path, "give one") as opened:
        return opened.read(name)


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("length", [None, 4000])
def test_headers_of_every_version_are_read(tmp_path: Path, version: int, length: int | None) -> None:
    path = packed(tmp_path / "a.npz", {"a.npy": npy((2, 3), version, length=length) + bytes(range(6))})
    assert read(path).tolist() == [[0, 1, 2], [3, 4, 5]]
    with open_archive(path, "give one") as opened:
        member = opened.member("a")
        assert (member.shape, member.size, member.header) == ((2, 3), 6, len(npy((2, 3), version, length=length)))
        found = opened.rows("a")
        assert found is not None
        assert found.take(np.array([1, 0])).tolist() == [[3, 4, 5], [0, 1, 2]]
        assert opened.exactly("a").tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_header_may_take_64_kib_and_no_byte_more(tmp_path: Path) -> None:
    longest = 65_536 - 12
    text = npy((1,), 2, length=longest)
    with pytest.raises(DataError, match="has a header that cannot be read"):  # NumPy's own bound is below
        read(packed(tmp_path / "a.npz", {"a.npy": text + b"\0"}))
    with pytest.raises(DataError, match=f"has a header of {longest + 1} bytes, far more"):
        read(packed(tmp_path / "b.npz", {"a.npy": npy((1,), 2, length=longest + 1) + b"\0"}))


@pytest.mark.parametrize("data", [
    b"", npy((1,))[:11], b"\x93NUMPX" + npy((1,))[6:], b"\x93NUMPY\x00" + npy((1,))[7:],
    b"\x93NUMPY\x04" + npy((1,))[7:],
])  # fmt: skip
def test_what_does_not_begin_as_an_array(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(DataError, match="a is no NumPy array: save it again"):
        read(packed(tmp_path / "a.npz", {"a.npy": data}))


@pytest.mark.parametrize("shape", [(1.0,), (True,), (-1, -1)])
def test_lengths_are_whole_numbers_from_0(tmp_path: Path, shape: Any) -> None:
    with pytest.raises(DataError, match=r"has the shape \(|has a header that cannot be read"):
        read(packed(tmp_path / "a.npz", {"a.npy": npy(shape) + b"\0"}))
    assert read(packed(tmp_path / "b.npz", {"a.npy": npy((0, 3))})).shape == (0, 3)
    assert read(packed(tmp_path / "c.npz", {"a.npy": npy(()) + b"\7"})) == 7


@pytest.mark.parametrize("numbers", [bytes(5), bytes(7)])
def test_an_array_has_just_the_bytes_that_it_says(tmp_path: Path, numbers: bytes) -> None:
    with pytest.raises(DataError, match=rf"of shape \(2, 3\), 6 bytes, and the archive holds {len(numbers)} bytes"):
        read(packed(tmp_path / "a.npz", {"a.npy": npy((2, 3)) + numbers}))


def test_records_and_arrays_of_arrays_are_refused(tmp_path: Path) -> None:
    for kind in ("[('a', '|u1')]", "('|u1', (2,))"):
        text = f"{{'descr': {kind}, 'fortran_order': False, 'shape': (2,)}}".encode()
        data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(4)
        with pytest.raises(DataError, match=r"holds records|header that cannot be read"):
            read(packed(tmp_path / "a.npz", {"a.npy": data}))


def test_deflate_shortens_so_much_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A header that claims more than a thousand times what is packed lies; what lies uncompressed claims nothing."""
    data = npy((100_000,)) + bytes(100_000)
    path = packed(tmp_path / "a.npz", {"a.npy": data}, compression=zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path) as file:
        (info,) = file.infolist()
    most = Fraction(info.file_size - 1024, info.compress_size)
    assert 500 < most < archive._DEFLATE == 1032
    with open_archive(path, "give one") as opened:
        assert opened.rows("a") is None, "packed rows cannot be read one by one"
    monkeypatch.setattr(archive, "_DEFLATE", most)
    assert read(path).sum() == 0
    monkeypatch.setattr(archive, "_DEFLATE", most - Fraction(1, info.compress_size))
    with pytest.raises(DataError, match=r"claims 97.7 KiB packed into \d+ bytes, more than deflate can: it is damaged"):
        read(path)
    monkeypatch.setattr(archive, "_DEFLATE", 0)
    assert read(packed(tmp_path / "b.npz", {"a.npy": data})).sum() == 0


def test_so_many_members_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_MEMBERS", 3)
    three = packed(tmp_path / "a.npz", {f"{name}.npy": npy((1,)) + b"\1" for name in "cab"})
    with open_archive(three, "give one") as opened:
        assert opened.names == ("c", "a", "b")
        assert "a" in opened
        assert "a.npy" not in opened
        with pytest.raises(DataError, match="has no array 'd', only c, a, b: save it under that name"):
            opened.member("d")
    four = packed(tmp_path / "b.npz", {f"{name}.npy": npy((1,)) + b"\1" for name in "abcd"})
    with pytest.raises(DataError, match="holds 4 members"):
        read(four)
    with open_archive(packed(tmp_path / "c.npz", {"folder/": b""}), "give one") as opened:
        assert opened.names == ()
        with pytest.raises(DataError, match="has no array 'a', only nothing"):
            opened.member("a")


def test_fortran_order_has_no_rows_and_comes_in_c_order(tmp_path: Path) -> None:
    x = np.arange(6, dtype=np.uint8).reshape(2, 3)
    np.savez(tmp_path / "a.npz", a=np.asfortranarray(x), s=np.float64(0.5), e=np.zeros((0, 2)))
    found = read(tmp_path / "a.npz")
    assert found.tolist() == x.tolist()
    assert found.flags.c_contiguous
    with open_archive(tmp_path / "a.npz", "give one") as opened:
        assert opened.rows("a") is None
        assert opened.rows("s") is None
        assert opened.read("s").dtype == np.float32
        assert opened.exactly("s").dtype == np.float64
        empty = opened.rows("e")
        assert empty is not None
        assert (len(empty), list(empty.blocks())) == (0, [])


def test_what_is_wrong_with_the_file_is_said(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(2))
    (tmp_path / "text.npz").write_bytes(b"hello")
    with pytest.raises(DataError, match=r"is one array \(.npy\): save all of them together"):
        read(tmp_path / "a.npy")
    with pytest.raises(DataError, match=r"is not a complete .npz archive"):
        read(tmp_path / "text.npz")
    with pytest.raises(DataError, match="give one"):
        read(tmp_path / "nowhere.npz")
    data = bytearray(packed(tmp_path / "b.npz", {"a.npy": npy((3,)) + b"\1\2\3"}).read_bytes())
    data[data.index(b"\1\2\3")] ^= 1
    (tmp_path / "b.npz").write_bytes(data)
    with pytest.raises(DataError, match="Bad CRC-32"):
        read(tmp_path / "b.npz")
    with open_archive(tmp_path / "b.npz", "give one") as opened, pytest.raises(zipfile.BadZipFile):
        opened.rows("a")
    with (
        pytest.raises(DataError, match=r"cannot be read \(EOFError\): it is damaged"),
        open_archive(tmp_path / "b.npz", "give one"),
    ):
        raise EOFError


@pytest.mark.parametrize("block", [1, 5, 6, 7, 1 << 20])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<f8", ">f4", "u1"])
def test_a_few_rows_at_a_time_are_all_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, order: Any, kind: str
) -> None:
    monkeypatch.setattr(archive, "BLOCK", block)
    monkeypatch.setattr(rows, "BLOCK", block)
    monkeypatch.setattr(arrays, "BLOCK", block)
    x = np.arange(15).reshape(5, 3)
    np.savez(tmp_path / "a.npz", a=np.array(x, dtype=kind, order=order))
    asked, plain = [], archive._fill
    monkeypatch.setattr(
        archive, "_fill", lambda stream, size, target: (asked.append(size), plain(stream, size, target))
    )
    found = read(tmp_path / "a.npz")
    assert found.tolist() == x.tolist()
    assert found.dtype.isnative
    row = np.dtype(kind).itemsize * (3 if order == "C" else 5)
    assert max(asked[1:]) == min(max(block // row, 1) * row, x.size * np.dtype(kind).itemsize), "behind the header"
    with open_archive(tmp_path / "a.npz", "give one") as opened:
        there = opened.rows("a")
    assert (there is None) == (order == "F")
    if there is not None:
        parts = list(there.blocks())
        width = 3 * np.dtype(kind).itemsize
        assert [len(part) for part in parts[:-1]] == [max(block // width, 1)] * (len(parts) - 1)
        assert np.concatenate(parts).tolist() == x.tolist()
    tensors = list(arrays.blocks(torch.from_numpy(found)))
    assert torch.cat(tensors).tolist() == x.tolist()
    assert len(tensors[0]) == min(max(block // (3 * found.itemsize), 1), 5)


def on_disk(path: Path, lead: bytes = b"head") -> FileRows:
    path.write_bytes(lead + bytes(range(12)))
    return FileRows(path, len(lead), (4, 3), np.dtype("u1"))


def test_rows_are_read_in_any_order_neighbours_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = on_disk(tmp_path / "a")
    assert (len(found), found.width) == (4, 3)
    whole, asked = np.arange(12).reshape(4, 3), []
    plain = FileRows._read

    def counted(self: FileRows, row: int, target: memoryview) -> None:
        asked.append((row, len(target)))
        plain(self, row, target)

    monkeypatch.setattr(FileRows, "_read", counted)
    for index, reads in (
        ([0, 1, 2, 3], [(0, 12)]), ([3, 2], [(3, 3), (2, 3)]), ([1, 2, 0], [(1, 6), (0, 3)]),
        ([2, 2], [(2, 3), (2, 3)]), ([1], [(1, 3)]), ([], []),
    ):  # fmt: skip
        asked.clear()
        assert found.take(np.array(index, dtype=np.int64)).tolist() == whole[index].tolist()
        assert asked == reads


def test_rows_travel_to_another_process_and_notice_a_change(tmp_path: Path) -> None:
    found = on_disk(tmp_path / "a")
    kept = pickle.dumps(found)
    assert pickle.loads(kept).take(np.array([2])).tolist() == [[6, 7, 8]]
    os.utime(tmp_path / "a", ns=(1, 1))
    for each in (found, pickle.loads(kept)):
        with pytest.raises(DataError, match="was changed while it was in use"):
            each.take(np.array([0]))
    short = on_disk(tmp_path / "b")
    short.shape = (5, 3)
    with pytest.raises(DataError, match="ends within row 4: it was cut off"):
        short.take(np.array([4]))


def test_types_are_kept_in_this_machines_order() -> None:
    kinds = {"<f8": "f4", ">f4": "f4", ">f2": "f2", "<f2": "f2", "u1": "u1", ">u2": "u2", ">i8": "i8", "?": "?"}
    assert {kind: arrays.kept_type(np.dtype(kind)) for kind in kinds} == {k: np.dtype(v) for k, v in kinds.items()}
    assert all(arrays.kept_type(np.dtype(kind)).isnative for kind in kinds)


def test_channels_stand_where_they_are_said(tmp_path: Path) -> None:
    x = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    (tmp_path / "a").write_bytes(x.tobytes())
    images = arrays.DiskImages(FileRows(tmp_path / "a", 0, x.shape, x.dtype), 3)
    assert (images.item, len(images)) == ((3, 2, 2), 2)
    index = torch.tensor([1, 0])
    assert torch.equal(images.take(index), torch.from_numpy(x[[1, 0]].transpose(0, 3, 1, 2).copy()))
    assert images.take(index).is_contiguous()
    grey = arrays.DiskImages(FileRows(tmp_path / "a", 0, (2, 4, 3), x.dtype), None)
    assert grey.item == (1, 4, 3)
    assert [len(part) for part in arrays.blocks(images)] == [2]


def test_data_that_end_early_or_late(tmp_path: Path) -> None:
    with pytest.raises(EOFError, match="the data end too early"):
        archive._fill(io.BytesIO(b"abc"), 4, bytearray(4))
    target = bytearray(4)
    archive._fill(io.BytesIO(b"abcd"), 3, target)
    assert bytes(target) == b"abc\0"
