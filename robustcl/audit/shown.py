"""An audit as lines of text: a verdict, a code and a sentence for each check, and what no check can answer."""

from __future__ import annotations

from collections.abc import Iterator

from robustcl.audit.values import QUESTIONS, Audit, Finding

_NAMED = 10
"""Samples that a line names."""


def lines(audit: Audit) -> Iterator[str]:
    """Yield the lines that a person reads."""
    width = max(len(finding.title) for finding in audit.findings)
    for finding in audit.findings:
        yield f"{finding.verdict.upper():8}{finding.code:5}{finding.title:{width}}  {finding.evidence}"
        if finding.samples and finding.verdict in ("warn", "fail"):
            yield f"{'':13}{'':{width}}  samples {_named(finding)}"
    yield ""
    yield "What no audit can answer:"
    yield from (f"- {question}" for question in QUESTIONS)
    yield ""
    yield headline(audit)


def headline(audit: Audit) -> str:
    """Return the whole audit in one line."""
    tally = {verdict: sum(each.verdict == verdict for each in audit.findings) for verdict in ("pass", "warn", "fail")}
    said = f"audit: {audit.verdict.upper()}, {tally['pass']} passed, {tally['warn']} warned, {tally['fail']} failed"
    return f"{said}; clean {audit.clean:.1%}, at most {audit.worst:.1%} robust, {audit.samples} samples"


def _named(finding: Finding) -> str:
    few = ", ".join(map(str, finding.samples[:_NAMED]))
    more = len(finding.samples) - _NAMED
    return f"{few} and {more} more" if more > 0 else few
