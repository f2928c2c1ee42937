"""The areas of the code that are mutated, each a list of files."""

from __future__ import annotations

from pathlib import Path

AREAS = {
    "train": ["robustcl/train/*.py"],
    "selectors": ["plugins/robustcl_plugins/selectors/*.py"],
    "generators": ["plugins/robustcl_plugins/generators/*.py"],
    "search": ["robustcl/search.py", "plugins/robustcl_plugins/generators/auto_step.py", "robustcl/gradients.py"],
    "threat": [
        "robustcl/threat/*.py",
        "robustcl/rng.py",
        "plugins/robustcl_plugins/generators/hyperplane.py",
    ],
    "evaluate": ["robustcl/evaluate/**/*.py", "plugins/robustcl_plugins/protocols/*.py"],
    "audit": ["robustcl/audit/*.py"],
    "data": [
        "robustcl/data/*.py",
        "plugins/robustcl_plugins/datasets/*.py",
        "plugins/robustcl_plugins/samplers/*.py",
    ],
    "nn": ["robustcl/nn/*.py", "plugins/robustcl_plugins/encoders/*.py"],
    "objectives": ["plugins/robustcl_plugins/objectives/*.py"],
    "optimizers": ["plugins/robustcl_plugins/optimizers/*.py", "robustcl/options/schedule.py"],
    "attacks": [
        "robustcl/attacks.py",
        "robustcl/interop/*.py",
        "robustcl/registry/presets.py",
        "plugins/robustcl_plugins/attacks/*.py",
    ],
    "recipes": ["plugins/robustcl_plugins/recipes/*.toml"],
}

NINE = ["generators", "search", "threat", "selectors", "train", "data", "nn", "evaluate", "audit"]
"""The areas that a run without ``--area`` takes."""


def files(area: str, root: Path) -> list[str]:
    """Return the files of ``area`` below ``root``, sorted, as paths relative to it."""
    found = {path.relative_to(root).as_posix() for pattern in AREAS[area] for path in root.glob(pattern)}
    return sorted(path for path in found if not path.endswith("__init__.py"))
