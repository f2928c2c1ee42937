"""``python tests/pins/make.py FOLDER``: make what the pins hold, by the command line alone, in about a minute.

What is committed beside this file was made so once. It is made anew only where a number is changed on purpose, and
the commit that does so says which and why.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import shlex
import shutil
import sys
from pathlib import Path

import torch
from click.testing import CliRunner

from robustcl.cli.main import robustcl

HERE = Path(__file__).parent
INPUTS = HERE / "inputs"
"""Recipe, study and the model from elsewhere with its weights."""

RUN = ["run recipe.toml --out run --device cpu --precision 64-true"]
ALF = "evaluate run --protocol alf --attack '{ use = \"pgd\", steps = 3 }' --samples 6 --no-audit"
"""The protocol whose classifier is stored; the others' are made of features, each time anew."""

ASKED = [
    ALF,
    "evaluate run --protocol linear --attack fgsm --attack '{ use = \"pgd\", steps = 3, restarts = 2 }' --samples 12 "
    "--no-audit",
    "evaluate run --protocol knn --attack fgsm --samples 6 --no-audit",
    "evaluate run --protocol linear --curve 4/255,16/255 --samples 12 --no-audit",
    "evaluate run --protocol linear --attack pgd-20 --convergence 1,2 --samples 6 --no-audit",
    "evaluate run --protocol linear --eps 4/255 --samples 12 --no-audit",
    "audit run --samples 6",
    "measure run --samples 40 --what r-div --what alignment --what uniformity --what silhouette --what entropy",
]
MODEL = [
    "evaluate --model network:build --weights network.safetensors --dataset digits --eps 16/255 --attack fgsm "
    "--attack pgd-20 --samples 6 --device cpu --precision 64-true --out model --audit-samples 4",
]
STUDY = ["study run study.toml --budget paper --device cpu --precision 64-true --store none --out study"]


def main(place: Path) -> None:
    """Make everything in ``place``, a folder that does not exist."""
    shutil.copytree(INPUTS, place)
    (place / "machine.json").write_text(json.dumps(machine(), indent=1) + "\n", encoding="utf-8")
    for line in [*RUN, *ASKED, *MODEL, *STUDY]:
        code, said = call(line, place)
        print(code, line, said if code not in (0, 3) else "", flush=True)


def machine() -> dict[str, str]:
    """Return what decides the last bits of a sum: where these are the same, a run is the same to the bit."""
    info = Path("/proc/cpuinfo")
    known = (
        {line for line in info.read_text().splitlines() if line.startswith(("flags", "model"))} if info.exists() else ""
    )
    told = hashlib.blake2b("\n".join(sorted(known)).encode(), digest_size=8).hexdigest()
    return {
        "torch": torch.__version__,
        "machine": platform.machine(),
        "processor": told,
        "kernels": torch.backends.cpu.get_cpu_capability(),
    }


def call(line: str, place: Path) -> tuple[int, str]:
    """Run one command line in ``place``; return its exit code and what it printed."""
    with contextlib.chdir(place):
        sys.path.insert(0, str(place))
        try:
            done = CliRunner().invoke(robustcl, shlex.split(line), standalone_mode=False)
        finally:
            sys.path.remove(str(place))
    if done.exception is not None:
        raise AssertionError(f"{line}: {done.exception}") from done.exception
    return done.return_value if isinstance(done.return_value, int) else 0, done.output


if __name__ == "__main__":
    main(Path(sys.argv[1]))
