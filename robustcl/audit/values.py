"""What an audit says: findings, each with a verdict and its evidence, and the worst of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Verdict = Literal["pass", "warn", "fail", "report", "not run"]
"""``report``: a figure to read, nothing to pass; ``not run``: not asked for, or not installed."""

QUESTIONS = (
    "Was an attack designed against this very model, by somebody who knows how it was trained (adaptive attacks)?",
    "Is the threat model the one that matters where the model is used: norm, size, what the attacker knows?",
    "Which part of the method brings the robustness: was each one taken away in turn (ablations)?",
    "Does the number hold for other seeds and other test images than these?",
)
"""What no program can answer for the author; every audit ends with them."""

TITLES: Mapping[str, str] = {
    "H1": "the model returns logits",
    "H2": "looking at the model does not change it",
    "H3": "a sample's logits are its own",
    "H4": "inputs and budget share their units",
    "C1": "many steps beat one",
    "C2": "enough steps",
    "C3": "enough restarts",
    "C4": "a larger budget hurts more",
    "C5": "an unbounded attack succeeds",
    "C6": "gradients beat black-box search",
    "C7": "gradients beat random noise",
    "C8": "gradients beat a hard-label attack",
    "C9": "gradients beat transfer from another model",
    "C10": "targeted attack",
    "C11": "worst case sample by sample",
    "C12": "everything needed is told",
    "C13": "the model is deterministic",
    "C14": "gradients lead somewhere",
    "C15": "other changes than the threat",
    "C16": "attacks are tested themselves",
}
"""Code -> what holds where the check passes, in the order of the record."""

_SEVERITY = ("pass", "warn", "fail")


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check.

    code: "C1" to "C16" for the items of Carlini et al., On Evaluating Adversarial Robustness, 2019, "H1" and on for
    what must hold before any of them means something. evidence: a sentence with the numbers. samples: indices of the
    samples in question, sorted. attack: name -> options of the attacks behind it.
    """

    code: str
    verdict: Verdict
    evidence: str
    samples: tuple[int, ...] = ()
    attack: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What the check asks."""
        return TITLES[self.code]


@dataclass(frozen=True, slots=True)
class Audit:
    """All findings on one classifier under one threat.

    samples: how many were looked at. clean: accuracy on them. worst: the share that no attack of the audit broke, an
    upper bound of robust accuracy. threat: norm, eps and range. reported: what is known of them from the attacks behind
    the reported number, as ``robustcl.audit.bench.reported`` puts it.
    """

    findings: tuple[Finding, ...]
    samples: int
    clean: float
    worst: float
    threat: Mapping[str, Any]
    reported: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """The worst verdict: "pass", "warn" or "fail"; reports and checks that were not run do not count."""
        found = [finding.verdict for finding in self.findings if finding.verdict in _SEVERITY]
        return max(found, key=_SEVERITY.index, default="pass")

    def find(self, code: str) -> Finding:
        """Return the finding of a code; raises ``KeyError``."""
        for finding in self.findings:
            if finding.code == code:
                return finding
        raise KeyError(code)


def as_json(audit: Audit) -> dict[str, Any]:
    """Return an audit as JSON holds it, as it stands under ``audit`` in results.json."""
    findings = [{"title": each.title, **asdict(each), "samples": list(each.samples)} for each in audit.findings]
    whole = {"schema": 1, "verdict": audit.verdict, **asdict(audit), "findings": findings}
    return whole | {"questions": list(QUESTIONS)}
