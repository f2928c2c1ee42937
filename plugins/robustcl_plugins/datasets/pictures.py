"""One image file to pixels: the right ones, or one sentence; never silently black or white."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import functional

from robustcl.data.files import open_regular
from robustcl.errors import DataError

LARGEST = 89_478_485
"""Pixels of an image at most, Pillow's own bound: three channels of it are 256 MiB."""

_FORMATS = ("JPEG", "PNG", "PPM", "BMP", "DIB", "TIFF", "WEBP", "GIF")
"""What is decoded, whatever the suffix says; others, such as PostScript, would be run rather than read."""

_EIGHT_BITS = frozenset({"1", "L", "P", "RGB", "CMYK", "YCbCr", "LAB", "HSV", "RGBX"})
_ALPHA = frozenset({"LA", "PA", "RGBA", "La", "RGBa"})
_SIXTEEN_BITS = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})


def read_header(file: Path) -> None:
    """Look at format, size and frames of an image file without decoding it. Raises DataError, which names the file."""
    _read(file, lambda picture: None)


def decode(file: Path, size: int) -> Tensor:
    """Return an image file as (3, size, size) uint8: its shorter side resized, the square in its middle kept.

    The orientation that a camera noted is applied. Integers of 16 bits are scaled by 65,535 and floats in [0, 1] by
    255. What is transparent is laid on white.

    Raises:
        DataError: the file is broken, animated, larger than ``LARGEST``, or its values have no known full scale.
    """
    picture = _rgb(file)
    long, short = max(picture.size), min(picture.size)
    if size * size * long > LARGEST * short:
        raise DataError(
            f"{file} has {picture.width} x {picture.height} pixels, and with the shorter side at {size} it would be "
            "larger than 89 million: cut or remove it"
        )
    resized = functional.resize(picture, [size], antialias=True)
    image: Tensor = functional.pil_to_tensor(functional.center_crop(resized, [size, size]))
    return image


def decode_whole(file: Path) -> Tensor:
    """Return an image file as (3, H, W) uint8 as large as it is, by the same rules. Raises DataError as ``decode``."""
    image: Tensor = functional.pil_to_tensor(_rgb(file))
    return image


def _rgb(file: Path) -> Image.Image:
    picture = _read(file, lambda opened: _to_rgb(opened, file))
    assert picture is not None
    return picture


def _read(file: Path, use: object) -> Image.Image | None:
    with open_regular(file, "replace or remove it") as stream:
        try:
            with warnings.catch_warnings():
                # Of metadata that is damaged, and of sizes, which are checked here.
                warnings.simplefilter("ignore")
                with Image.open(stream, formats=_FORMATS) as picture:
                    _check(picture, file)
                    found: Image.Image | None = use(picture)  # type: ignore[operator]
                    return found
        except DataError:
            raise
        except Image.DecompressionBombError:
            raise DataError(f"{file} has more than {2 * LARGEST:,} pixels: {_SMALLER}") from None
        except Exception as error:  # a decoder says of a stranger's bytes whatever it likes
            why = "it is empty" if not stream.seekable() or stream.seek(0, 2) == 0 else _brief(error)
            raise DataError(f"{file} cannot be decoded ({why}): replace or remove it") from error


def _check(picture: Image.Image, file: Path) -> None:
    if picture.width * picture.height > LARGEST:
        raise DataError(f"{file} has {picture.width} x {picture.height} pixels, more than {LARGEST:,}: {_SMALLER}")
    frames = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)  # a photograph and its small copies
    if frames > 1:
        raise DataError(f"{file} holds {frames} frames, and it cannot be told which is meant: save one of them alone")


_SMALLER = "save it smaller, or remove it"


def _to_rgb(picture: Image.Image, file: Path) -> Image.Image:
    upright = ImageOps.exif_transpose(picture)
    mode = upright.mode
    if mode in _ALPHA or ("transparency" in upright.info and mode in _EIGHT_BITS):
        return _on_white(upright, file)
    if mode in _EIGHT_BITS:
        return upright.convert("RGB")
    if mode in _SIXTEEN_BITS or (mode == "I" and picture.format in ("PNG", "PPM")):
        values = np.asarray(upright).astype(np.float64) / 65_535
        return _grey(1.0 - values if _is_white_at_zero(picture) else values, file, "16 bits")
    if mode == "F":
        values = np.asarray(upright).astype(np.float64)
        low, high = float(values.min()), float(values.max())
        if not (low >= 0.0 and high <= 1.0):
            raise DataError(
                f"{file} holds floats from {low:g} to {high:g}: scale them to [0, 1], or save it with 8 or 16 bits"
            )
        return _grey(values, file, "floats")
    raise DataError(f"{file} has pixels of the kind {mode!r}, whose white is not known: save it with 8 or 16 bits")


def _is_white_at_zero(picture: Image.Image) -> bool:
    """Say whether a TIFF calls 0 white (PhotometricInterpretation 0), which Pillow heeds at 1 and 8 bits alone."""
    return picture.format == "TIFF" and getattr(picture, "tag_v2", {}).get(262) == 0


def _grey(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], file: Path, what: str) -> Image.Image:
    """Return grey values in [0, 1] as an image of 8 bits; one whose differences would vanish is refused."""
    rounded = np.rint(values * 255).astype(np.uint8)
    if rounded.min() == rounded.max() and values.min() < values.max():
        raise DataError(
            f"{file} ({what}) has values from {values.min():.2g} to {values.max():.2g} of full scale, and would be one "
            "plain colour: stretch its values before it is saved"
        )
    return Image.fromarray(rounded).convert("RGB")


def _on_white(picture: Image.Image, file: Path) -> Image.Image:
    """Return an image without its transparency; one that shows nothing is refused."""
    whole = picture.convert("RGBA")
    alpha = whole.getchannel("A")
    low, high = alpha.getextrema()
    if low == 255:
        return picture.convert("RGB") if picture.mode in ("RGB", "RGBA", "L", "LA") else whole.convert("RGB")
    if high == 0:
        raise DataError(f"{file} is transparent all over and shows nothing: replace or remove it")
    return Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB")


def _brief(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # which names our stream
        return "it begins like no image of a kind that is read"
    return (str(error).splitlines() or [type(error).__name__])[0]


def empty(size: int) -> Tensor:
    """Return no images (0, 3, size, size) uint8."""
    return torch.empty((0, 3, size, size), dtype=torch.uint8)
