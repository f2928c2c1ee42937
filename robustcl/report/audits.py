"""Audits of robust accuracies: the badge beside the headline, and the findings behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robustcl.report import tables
from robustcl.report.composition import say
from robustcl.report.entries import is_number, of

_ORDER = ("fail", "warn", "pass", "report", "not run")


@dataclass(frozen=True, slots=True)
class Badge:
    """What stands beside a robust accuracy: ``kind`` is pass, warn, fail or none; ``text`` is what it says."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class FindingLine:
    """One check: its verdict, code, title and evidence, the samples in question, and the attacks behind it."""

    verdict: str
    code: str
    title: str
    evidence: str
    samples: tuple[str, ...]
    attacks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Audited:
    """The audit of one classifier; ``protocol`` and ``route`` are ``None`` where it does not say.

    findings: the worst first. rows: the digests of the reported questions, where they are told; against: the attacks of
    those.
    threat: "Linf, eps 0.0314". clean, worst: accuracy, and what withstood every attack.
    """

    title: str
    protocol: str | None
    route: str | None
    verdict: str
    samples: object
    clean: float | None
    worst: float | None
    threat: str
    norm: object
    eps: object
    findings: tuple[FindingLine, ...]
    questions: tuple[str, ...]
    rows: tuple[str, ...] = ()
    against: tuple[str, ...] = ()


def read_audits(results: Mapping[str, Any]) -> list[Audited]:
    """Return the audits of a run: one object, a list of them, or objects by name ("slf clean")."""
    found = results.get("audit")
    if isinstance(found, Mapping) and "verdict" not in found:
        named = [(entry, str(name)) for name, entry in found.items() if isinstance(entry, Mapping)]
    else:
        named = [(entry, _name(entry)) for entry in ([found] if isinstance(found, Mapping) else of(results, "audit"))]
    attacks = {row.get("question"): str(row["attack"]) for row in of(results, "rows") if row.get("attack")}
    return [_read(entry, name, attacks) for entry, name in named]


def badge(
    row: Mapping[str, Any], made: Sequence[Audited], results: Mapping[str, Any], command: str = "robustcl audit RUN"
) -> Badge:
    """Return the badge of a robust accuracy: the verdict of the audit of its classifier under its threat.

    ``command`` would make the audit where there is none.
    """
    about = [audit for audit in made if _covers(audit, row, results)]
    if not about:
        return Badge("none", f"not audited: {command}")
    fitting = [audit for audit in about if _same_threat(audit, results)]
    # An audit that names its questions is of those rows; one of older results is of every row of its classifier.
    own = [audit for audit in fitting if row.get("question") in audit.rows]
    fitting = own or [audit for audit in fitting if not audit.rows or row.get("question") is None]
    if not fitting:
        return Badge("none", f"audited under another threat only: {command}")
    worst = min(fitting, key=lambda audit: _rank(audit.verdict)).verdict
    if worst not in ("pass", "warn", "fail"):
        return Badge("none", f"not audited: {command}")
    return Badge(worst, f"audit: {worst.upper()}")


def _covers(audit: Audited, row: Mapping[str, Any], results: Mapping[str, Any]) -> bool:
    """Say whether an audit is of a row's classifier; one that names none is, if the run judged only one."""
    here = (str(row.get("protocol") or ""), str(row.get("route") or ""))
    if audit.protocol is None and audit.route is None:
        judged = {(str(each.get("protocol") or ""), str(each.get("route") or "")) for each in results["rows"]}
        return audit.title == " ".join(here).strip() or len(judged) == 1
    said = (audit.protocol, audit.route)
    return all(one is None or one == other for one, other in zip(said, here, strict=True))


def _same_threat(audit: Audited, results: Mapping[str, Any]) -> bool:
    """Say whether an audit's threat is the run's, as far as both are told."""
    threat = results.get("threat") or {}
    norms, sizes = (audit.norm, threat.get("norm")), (audit.eps, threat.get("eps_value"))
    if None not in norms and norms[0] != norms[1]:
        return False
    known = [float(size) for size in sizes if isinstance(size, int | float)]
    return len(known) < 2 or math.isclose(*known, rel_tol=1e-6)


def _read(entry: Mapping[str, Any], name: str, attacks: Mapping[object, str]) -> Audited:
    threat = entry["threat"] if isinstance(entry.get("threat"), Mapping) else {}
    norm, eps = threat.get("norm"), threat.get("eps")
    findings = sorted((_finding(each) for each in of(entry, "findings")), key=lambda each: _rank(each.verdict))
    rows = tuple(str(digest) for digest in entry.get("rows") or ())
    return Audited(
        title=name,
        protocol=_text(entry.get("protocol")),
        route=_text(entry.get("route")),
        verdict=str(entry.get("verdict") or "not run"),
        samples=entry.get("samples"),
        clean=_share(entry.get("clean")),
        worst=_share(entry.get("worst")),
        threat=f"{norm}, eps {say(eps)}" if norm else "",
        norm=norm,
        eps=eps,
        findings=tuple(findings),
        questions=tuple(str(question) for question in entry.get("questions") or ()),
        rows=rows,
        against=tuple(dict.fromkeys(attacks[digest] for digest in rows if digest in attacks)),
    )


def _finding(entry: Mapping[str, Any]) -> FindingLine:
    attacks = entry["attack"] if isinstance(entry.get("attack"), Mapping) else {}
    told = (
        f"{name}: " + ", ".join(f"{option} = {say(value)}" for option, value in tables.flat(options).items())
        if isinstance(options, Mapping) and options
        else str(name)
        for name, options in attacks.items()
    )
    return FindingLine(
        verdict=str(entry.get("verdict") or "not run"),
        code=str(entry.get("code") or tables.MISSING),
        title=str(entry.get("title") or ""),
        evidence=str(entry.get("evidence") or ""),
        samples=tuple(str(index) for index in entry.get("samples") or ()),
        attacks=tuple(told),
    )


def _rank(verdict: str) -> int:
    return _ORDER.index(verdict) if verdict in _ORDER else len(_ORDER)


def _name(entry: Mapping[str, Any]) -> str:
    words = [str(entry.get(key) or "") for key in ("protocol", "route")]
    return str(entry.get("name") or " ".join(word for word in words if word))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _share(value: object) -> float | None:
    return float(value) if is_number(value) and isinstance(value, int | float) else None
