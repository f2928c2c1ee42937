"""How much memory a 2 GiB archive takes until the first step: every split opened, digested and gone through once.

``python benchmarks/npz_memory.py [GiB]``: exit code 1 where the peak is over 1.3 times the size of the training images.
The archives are made in the temporary folder, uncompressed and compressed, and removed.
"""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from _bar import report

_ITEM = (3, 32, 32)
_PEAK = """
import resource, sys, time, torch
from robustcl.data import digest, keep
from robustcl_plugins.datasets.npz import Npz
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
Npz(path=sys.argv[1]).open("test")
before, data, started = peak(), Npz(path=sys.argv[2]), time.process_time()
splits = [keep(data.open(split)) for split in ("train", "pretrain", "test")]
data.statistics(); data.classes()
opened = time.process_time() - started
for images in splits:
    digest.of_split(images, digest.image_digests(images))
for images in (splits[0], splits[2]):
    for _ in images.batches(torch.arange(images.samples).split(256)):
        pass
print(peak() - before, opened, time.process_time() - started - opened)
"""


def main(size: float) -> int:
    """Measure both kinds in processes of their own."""
    ratios, details = [], {"gib": size}
    # Written by another process: what this one has taken at its worst would count as its children's peak.
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as place, ProcessPoolExecutor(1, mp_context=spawn) as writer:
        small = Path(place) / "small.npz"
        writer.submit(_write, small, 64, packed=False).result()
        images = int(size * 1024**3 / np.prod(_ITEM))
        for name, packed in (("uncompressed", False), ("compressed", True)):
            large = Path(place) / "large.npz"
            writer.submit(_write, large, images, packed=packed).result()
            command = [sys.executable, "-c", _PEAK, str(small), str(large)]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            taken = int(said[0]) / (images * np.prod(_ITEM))
            details |= {f"{name}_peak_over_size": float(taken), f"{name}_open_cpu_seconds": float(said[1])}
            details[f"{name}_digest_and_pass_cpu_seconds"] = float(said[2])
            ratios.append((f"1.3-over-peak-of-{name}", 1.3 / max(float(taken), 1e-9), 1.0))
            large.unlink()
    return report("npz_memory", ratios, {**details, "written": time.strftime("%Y-%m-%d")})


def _write(path: Path, images: int, *, packed: bool) -> None:
    # Sixteen values, so that packing takes no longer than it must.
    x = np.random.default_rng(0).integers(0, 16, (images, *_ITEM), dtype=np.uint8)
    write = np.savez_compressed if packed else np.savez
    write(path, x_train=x, y_train=np.arange(images) % 10, x_test=x[:64], y_test=np.arange(64) % 10)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 2.0))
