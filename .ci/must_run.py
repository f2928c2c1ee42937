"""Fail if a test file that must run here was skipped, in part or as a whole: ``must_run.py JUNIT.XML``."""

from __future__ import annotations

import sys
from xml.etree import ElementTree

FILES = (
    "test_report_browser",
    "test_registry",
    "test_ranks",
    "test_slurm",
    "test_ray",
    "test_study_on_slurm",
    "test_study_on_ray",
)
"""The browser, the plugin registry, two ranks, and clusters: what a machine without them would pass over."""


def main(report: str) -> int:
    """Return 1 and say why, unless every one of ``FILES`` has tests and none of them was skipped."""
    cases = list(ElementTree.parse(report).iter("testcase"))
    told = [sentence for file in FILES for sentence in _lacking(file, cases)]
    for sentence in told:
        print(f"must run: {sentence}", file=sys.stderr)
    return 1 if told else 0


def _lacking(file: str, cases: list[ElementTree.Element]) -> list[str]:
    # A file that is skipped while it is collected has its path in the name, and no class name.
    own = [case for case in cases if file in f"{case.get('classname')}.{case.get('name')}".split(".")]
    if not own:
        return [f"no test of {file} was run"]
    skipped = [(case, mark) for case in own for mark in case.iter("skipped")]
    return [f"{file}: {case.get('name')} was skipped: {mark.get('message')}" for case, mark in skipped]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
