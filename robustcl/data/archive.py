"""NumPy archives (.npz) from anybody: nothing is believed of a header before the file itself bears it out.

What is read costs the memory of the array alone. Pickled objects are never read.
"""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from robustcl.data import memory
from robustcl.data.arrays import kept_type
from robustcl.data.files import open_regular
from robustcl.data.rows import BLOCK, Array, FileRows
from robustcl.errors import DataError

_HEADER = 65_536
"""Bytes of an array's header at most: shapes and types of images take a hundred."""
_MEMBERS = 100_000
_DEFLATE = 1032
"""How much deflate can shorten at most: what claims more is a lie."""
_NPY = b"\x93NUMPY"
_AGAIN = "save it again with numpy.savez"


@dataclass(frozen=True, slots=True)
class Member:
    """What an array's header says and the file bears out; ``offset`` of its data where these lie uncompressed."""

    info: zipfile.ZipInfo
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    header: int
    offset: int | None

    @property
    def size(self) -> int:
        """Return its bytes."""
        return self.info.file_size - self.header


class Archive:
    """An open archive; ``names`` of its arrays in the order of the file."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self._file = file
        self._zip = zipfile.ZipFile(file)
        infos = [info for info in self._zip.infolist() if not info.is_dir()]
        if len(infos) > _MEMBERS:
            raise DataError(f"{path} holds {len(infos)} members: an archive of images has a few; {_AGAIN}")
        self._infos: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            name = info.filename.removesuffix(".npy")
            if name in self._infos:
                raise DataError(
                    f"{path} holds two members {info.filename!r}: it cannot be told which is meant; {_AGAIN}"
                )
            self._infos[name] = info
        self._refuse_overlap(infos)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the arrays."""
        return tuple(self._infos)

    def __contains__(self, name: object) -> bool:
        return name in self._infos

    def member(self, name: str) -> Member:
        """Return what an array is, without reading it.

        Raises:
            DataError: no such array, Python objects, records, or a header that the file does not bear out.
        """
        if name not in self._infos:
            there = ", ".join(self.names[:10]) or "nothing"
            raise DataError(f"{self.path} has no array {name!r}, only {there}: save it under that name")
        info, where = self._infos[name], f"{self.path}: {name}"
        with self._zip.open(info) as stream:
            shape, fortran, dtype, header = _parse(stream, where)
        if dtype.hasobject:
            raise DataError(f"{where} holds Python objects, which could run code: {_AGAIN}, of numbers alone")
        if dtype.names is not None or dtype.subdtype is not None:
            raise DataError(f"{where} holds records ({dtype}): save one plain array under each name")
        size = dtype.itemsize
        for length in shape:
            size *= length
        if size != info.file_size - header:
            raise DataError(
                f"{where} says it is {dtype} of shape {shape}, {memory.say_bytes(size)}, and the archive holds "
                f"{memory.say_bytes(info.file_size - header)} of it: it is damaged; {_AGAIN}"
            )
        if info.compress_type == zipfile.ZIP_DEFLATED and info.file_size > _DEFLATE * info.compress_size + 1024:
            raise DataError(
                f"{where} claims {memory.say_bytes(info.file_size)} packed into "
                f"{memory.say_bytes(info.compress_size)}, more than deflate can: it is damaged, or made to fill "
                f"the memory; {_AGAIN}"
            )
        stored = info.compress_type == zipfile.ZIP_STORED
        return Member(info, shape, dtype, fortran, header, self._begin(info) + header if stored else None)

    def read(self, name: str) -> Array:
        """Return an array in C order; floats of more than 32 bits come as float32, all in this machine's byte order.

        Raises:
            DataError: as ``member``; more than the memory that is free, or damaged data.
        """
        member = self.member(name)
        kept = kept_type(member.dtype)
        count = member.size // max(member.dtype.itemsize, 1)
        memory.require(count * kept.itemsize, f"{self.path}: {name}", "take a machine with more, or save fewer images")
        found = np.empty(member.shape, kept)
        with self._zip.open(member.info) as stream:
            _fill(stream, member.header, bytearray(_HEADER))
            if found.size:
                _read_into(stream, found, member)
            if stream.read(1):  # the end of the member is where its checksum is compared
                raise DataError(f"{self.path}: {name} holds more than its header says: it is damaged; {_AGAIN}")
        return found

    def exactly(self, name: str) -> Array:
        """Return an array as it is stored, whatever its type. Raises as ``member`` does, and for damaged data."""
        member = self.member(name)
        with self._zip.open(member.info) as stream:
            found: Array = np.lib.format.read_array(stream, allow_pickle=False)
        return found

    def rows(self, name: str) -> FileRows | None:
        """Return an array's rows where they can be read one by one: uncompressed, in C order; else ``None``.

        The whole member is read once, to compare its checksum.
        """
        member = self.member(name)
        if member.offset is None or member.fortran or not member.shape:
            return None
        with self._zip.open(member.info) as stream:
            while stream.read(BLOCK):
                pass
        return FileRows(self.path, member.offset, member.shape, member.dtype)

    def _begin(self, info: zipfile.ZipInfo) -> int:
        """Return where a member's data begin: after a header whose two texts have lengths of their own."""
        self._file.seek(info.header_offset + 26)
        name, extra = struct.unpack("<HH", self._file.read(4))
        return int(info.header_offset + 30 + name + extra)

    def _refuse_overlap(self, infos: list[zipfile.ZipInfo]) -> None:
        ends, last = 0, ""
        for info in sorted(infos, key=lambda info: info.header_offset):
            if info.header_offset < ends:
                raise DataError(
                    f"{self.path}: the members {last} and {info.filename} share bytes of the file, as no program "
                    f"writes them: it is damaged, or made to fill the memory; {_AGAIN}"
                )
            ends, last = self._begin(info) + info.compress_size, info.filename
        if ends > self._zip.start_dir:
            raise DataError(
                f"{self.path}: the member {last} reaches beyond the end of the data: it is damaged; {_AGAIN}"
            )


@contextmanager
def open_archive(path: Path, remedy: str) -> Iterator[Archive]:
    """Open an archive; whatever goes wrong while it is read is a DataError in one sentence.

    ``remedy`` ends the sentence where there is no such file.
    """
    try:
        with open_regular(path, remedy) as file:
            if file.read(len(_NPY)) == _NPY:
                raise DataError(
                    f"{path} is one array (.npy): save all of them together, numpy.savez('images.npz', x_train=..., "
                    "y_train=..., x_test=..., y_test=...)"
                )
            file.seek(0)
            if not zipfile.is_zipfile(file):
                raise DataError(
                    f"{path} is not a complete .npz archive: it is truncated or of another kind; copy it again"
                )
            yield Archive(path, file)
    except _DAMAGE as error:
        said = str(error) or type(error).__name__
        raise DataError(
            f"{path} cannot be read ({said}): it is damaged or holds Python objects; save it again"
        ) from error


_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError,
           MemoryError, struct.error, OverflowError)  # fmt: skip
"""What zipfile and NumPy raise for files that are not what they say; a DataError is none of these."""


def _parse(stream: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Return shape, Fortran order, type, and the header's length; at most ``_HEADER`` bytes are read."""
    start = stream.read(12)
    if len(start) < 12 or start[:6] != _NPY or start[6] not in (1, 2, 3):
        raise DataError(f"{where} is no NumPy array: {_AGAIN}")
    lead = 10 if start[6] == 1 else 12
    length: int = struct.unpack("<H" if lead == 10 else "<I", start[8:lead])[0]
    if lead + length > _HEADER:
        raise DataError(f"{where} has a header of {length} bytes, far more than a shape takes: {_AGAIN}")
    text = start[lead:] + stream.read(lead + length - 12)
    read = np.lib.format.read_array_header_1_0 if start[6] == 1 else np.lib.format.read_array_header_2_0
    packed = struct.pack("<H" if start[6] == 1 else "<I", length) + text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 wrote
            shape, fortran, dtype = read(io.BytesIO(packed))
    except Exception as error:  # the header is a Python literal: whatever its parser says of a stranger's
        raise DataError(f"{where} has a header that cannot be read ({type(error).__name__}): {_AGAIN}") from error
    if any(type(length) is not int or length < 0 for length in shape):
        raise DataError(f"{where} has the shape {shape}: {_AGAIN}")
    return tuple(shape), bool(fortran), dtype, lead + length


def _read_into(stream: IO[bytes], found: Array, member: Member) -> None:
    """Fill an array with a member's values, a few rows at a time."""
    # In Fortran order the file holds the transposed array in C order.
    target = found.T if member.fortran else found
    target = target.reshape(1) if target.ndim == 0 else target
    step = max(BLOCK // max(target[:1].size * member.dtype.itemsize, 1), 1)
    direct = target.flags.c_contiguous and target.dtype == member.dtype
    buffer = bytearray()
    for start in range(0, len(target), step):
        rows = target[start : start + step]
        if direct:
            _fill(stream, rows.nbytes, rows.reshape(-1).view(np.uint8).data)
            continue
        size = rows.size * member.dtype.itemsize
        if len(buffer) < size:
            buffer = bytearray(size)
        _fill(stream, size, buffer)
        rows[...] = np.frombuffer(buffer, member.dtype, rows.size).reshape(rows.shape)


def _fill(stream: IO[bytes], size: int, target: bytearray | memoryview) -> None:
    """Read exactly so many bytes."""
    view, done = memoryview(target), 0
    while done < size:
        got = stream.readinto(view[done:size])  # type: ignore[attr-defined]
        if not got:
            raise EOFError("the data end too early")
        done += got
