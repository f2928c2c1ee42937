"""Where a plugin breaks a promise, the check of that promise must fail, and the report must say why."""

from __future__ import annotations

import pytest

from robustcl import registry, testing
from robustcl.errors import UnknownPlugin
from robustcl_plugins.objectives.info_nce import InfoNCE
from robustcl_plugins.selectors.all import All
from tests.testing.misbehaving import BAD, Good, Selfish


@pytest.mark.parametrize(("kind", "cls", "check"), BAD, ids=[f"{cls.__name__}-{check}" for _, cls, check in BAD])
def test_a_broken_promise_is_found(kind: str, cls: type, check: str) -> None:
    (named,) = [one for one in testing.checks(kind) if one.__name__ == check]
    report = testing.run(testing.PluginSubject(kind, cls.__name__, cls), named)
    assert not report.ok, str(report)
    assert report.message, "a failed report must say why"


@pytest.mark.parametrize(("kind", "cls"), [("generator", Good), ("objective", InfoNCE), ("selector", All)])
def test_a_good_plugin_passes_everything(kind: str, cls: type) -> None:
    assert [str(report) for report in testing.check_class(kind, cls) if not report.ok] == []


def test_a_class_without_the_members_of_its_kind_fails_first() -> None:
    assert not testing.check_class("target", Good)[0].ok


def test_registered_plugins_are_checked_by_name_and_by_distribution() -> None:
    with registry.local("generator", "good", Good), registry.local("selector", "selfish", Selfish):
        assert all(report.ok for report in testing.check_plugin("generator", "good"))
        reports = testing.check_distribution("local")
    assert {report.plugin for report in reports} == {"local/good", "local/selfish"}
    assert {report.check for report in reports if not report.ok} == {"leaves_the_own_column_out"}


def test_what_cannot_be_found_or_run_is_said() -> None:
    (report,) = testing.check_plugin("generator", "no-such-generator")
    assert not report.ok
    assert "no-such-generator" in report.message
    with pytest.raises(UnknownPlugin, match="no-such-distribution"):
        testing.check_distribution("no-such-distribution")
    with pytest.raises(UnknownPlugin, match="flavour"):
        testing.checks("flavour")


def test_an_unavailable_plugin_is_skipped_with_its_reason() -> None:
    class Absent(Good):
        """Runs on another machine only."""

        @staticmethod
        def available() -> str:
            return "needs a quantum computer"

    reports = testing.check_class("generator", Absent)
    assert all(report.ok for report in reports)
    assert {report.message for report in reports if report.skipped} == {"needs a quantum computer"}
