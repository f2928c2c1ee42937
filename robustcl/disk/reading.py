"""Files of unknown origin: regular ones alone, within limits, and every damage in a sentence."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustcl.disk.parsing import parse_json, parse_toml
from robustcl.errors import DataError, RobustclError

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is read, in bytes: of a file, and of one line where a file is read by lines."""

    file: int = 256 * _MIB
    line: int = 4 * _MIB


LIMITS = Limits()
_TOML_LIMITS = Limits(file=8 * _MIB)


def read_bytes(
    path: Path, *, error: type[RobustclError] = DataError, missing: str | None = None, limits: Limits = LIMITS
) -> bytes:
    """Return a regular file's content.

    Args:
        path: the file.
        error: the class of errors.
        missing: the sentence where there is no such file.
        limits: how much is read.

    Raises:
        error: there is no such file, it is a folder, pipe or device, it is too large, or it cannot be read.
    """
    try:
        with open(_regular(path, error, missing), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > limits.file:
                raise error(f"{path} has {size:,} bytes, more than the {limits.file:,} that such a file may have")
            return file.read(min(size + 1, limits.file))  # a buffer of that size is taken at once
    except OSError as fault:
        raise _unreadable(path, fault, error) from None


def open_file(path: Path, *, error: type[RobustclError] = DataError, missing: str | None = None) -> io.BufferedReader:
    """Open a regular file for reading, of any size.

    Raises:
        error: there is no such file, it is a folder, pipe or device, or it cannot be opened.
    """
    try:
        return open(_regular(path, error, missing), "rb")
    except OSError as fault:
        raise _unreadable(path, fault, error) from None


def read_text(
    path: Path,
    *,
    error: type[RobustclError] = DataError,
    missing: str | None = None,
    remedy: str = "copy it again from where it comes from",
    limits: Limits = LIMITS,
) -> str:
    """Return a regular file's text, which is UTF-8; arguments and errors as ``read_bytes`` has them."""
    try:
        return read_bytes(path, error=error, missing=missing, limits=limits).decode("utf-8")
    except UnicodeDecodeError as fault:
        raise error(f"{path} is no text: byte {fault.start} is no UTF-8; {remedy}") from None


def read_json(
    path: Path,
    *,
    error: type[RobustclError] = DataError,
    missing: str | None = None,
    remedy: str = "copy it again from where it comes from",
    undefined: Callable[[str], Any] | None = None,
    limits: Limits = LIMITS,
) -> Any:
    """Return the value of a JSON file; see ``read_bytes`` and ``parse_json``."""
    data = read_bytes(path, error=error, missing=missing, limits=limits)
    return parse_json(data, str(path), error=error, remedy=remedy, undefined=undefined)


def read_toml(
    path: Path,
    *,
    error: type[RobustclError] = DataError,
    missing: str | None = None,
    remedy: str = "correct it",
    limits: Limits = _TOML_LIMITS,
) -> dict[str, Any]:
    """Return the tables of a TOML file; see ``read_bytes`` and ``parse_toml``."""
    data = read_bytes(path, error=error, missing=missing, limits=limits)
    return parse_toml(data, str(path), error=error, remedy=remedy)


def read_lines(
    path: Path,
    *,
    error: type[RobustclError] = DataError,
    missing: str | None = None,
    limits: Limits = LIMITS,
    start: int = 0,
) -> Iterator[bytes]:
    """Yield the lines of a file with their ends, without holding the file; a torn last one has no end.

    They are read from the byte ``start`` on, where a line begins.

    Raises:
        error: as ``read_bytes``, or a line that is too long, by its number.
    """
    try:
        with open(_regular(path, error, missing), "rb") as file:
            number = 0
            file.seek(start)
            while line := file.readline(limits.line + 1):
                number += 1
                if len(line) > limits.line:
                    raise error(f"{path}: line {number} is longer than the {limits.line:,} bytes that a line may have")
                yield line
    except OSError as fault:
        raise _unreadable(path, fault, error) from None


def _regular(path: Path, error: type[RobustclError], missing: str | None) -> int:
    """Open a regular file and return its descriptor; a pipe that nobody fills is not waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError):
        raise error(missing or f"there is no file {path}") from None
    except ValueError:
        raise error(f"{str(path)!r} is no name of a file: it holds a character of value 0") from None
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    what = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
    raise error(f"{path} is {what}, not a file")


def _unreadable(path: Path, fault: OSError, error: type[RobustclError]) -> RobustclError:
    return error(f"{path} cannot be read: {(fault.strerror or str(fault)).lower()}")
