"""Every registered plugin, ours or anybody's that is installed here, against every check of its kind."""

from __future__ import annotations

import pytest

from robustcl import registry
from robustcl.testing import CHECKS, Check, PluginSubject, checks, common, run

ON_ENGINES = {("launcher", "slurm"), ("launcher", "ray")}
"""What tests/plugins/launchers/ holds to the rest of its promises, on a cluster that is started once."""

CASES = [
    pytest.param(kind, name, check, id=f"{kind}-{name}-{check.__name__}")
    for kind in CHECKS
    for name in registry.names(kind)
    for check in (common.CHECKS if (kind, name) in ON_ENGINES else checks(kind))
]


@pytest.mark.parametrize(("kind", "name", "check"), CASES)
def test_plugin_keeps_its_promise(kind: str, name: str, check: Check) -> None:
    report = run(PluginSubject.find(kind, name), check)
    if report.skipped:
        pytest.skip(report.message)
    assert report.ok, report.message


def test_every_kind_has_checks() -> None:
    assert set(CHECKS) == set(registry.KINDS)
