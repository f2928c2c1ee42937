"""What plugins of every kind must satisfy."""

from __future__ import annotations

import inspect
import re
from typing import Any

from robustcl.protocols import Need
from robustcl.registry.members import faults
from robustcl.testing.subject import Check, PluginSubject


def offers_the_members_of_its_kind(subject: PluginSubject) -> None:
    """The class has every member that its kind's Protocol names."""
    wrong = faults(subject.kind, subject.cls)
    assert not wrong, " and ".join(wrong)


def declares_needs(subject: PluginSubject) -> None:
    """``needs`` is a frozenset of ``Need``."""
    needs = subject.needs()
    assert isinstance(needs, frozenset), f"needs is a {type(needs).__name__}, not a frozenset"
    assert all(isinstance(need, Need) for need in needs), f"needs holds something else than Need: {needs}"


def cites_its_source(subject: PluginSubject) -> None:
    """``citation`` names a source with its year, or says "no source" of what nobody needed to invent."""
    citation = getattr(subject.cls, "citation", "")
    assert isinstance(citation, str), "citation is no text"
    assert citation.strip(), "citation is empty"
    dated = re.search(r"\b(1[89]|20)\d\d\b", citation) or "no source" in citation
    assert dated, (
        f'the citation {citation!r} names no year: write that of the source, "Doe and Roe, Title, ICLR 2024"; '
        'of unpublished work that of the writing, "Doe, unpublished, 2026"; or "no source" where nobody invented it'
    )


def is_documented(subject: PluginSubject) -> None:
    """The class has a docstring of its own."""
    assert (subject.cls.__doc__ or "").strip(), "the class has no docstring"


def options_are_keyword_only_and_annotated(subject: PluginSubject) -> None:
    """Every parameter of ``__init__`` is keyword-only and annotated."""
    for name, parameter in subject.options().items():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, f"the option {name!r} is not keyword-only"
        assert parameter.annotation is not inspect.Parameter.empty, f"the option {name!r} is not annotated"


def builds_from_defaults(subject: PluginSubject) -> None:
    """The defaults satisfy the options' own bounds; skipped where an option has no default."""
    subject.make()


def init_only_stores(subject: PluginSubject) -> None:
    """After ``__init__`` each attribute is the argument of that name, unchanged."""
    given: dict[str, Any] = {name: p.default for name, p in subject.options().items() if p.default is not p.empty}
    missing = {name: object() for name in subject.options() if name not in given}
    plugin = subject.cls(**given, **missing)
    for name, value in {**given, **missing}.items():
        assert hasattr(plugin, name), f"the option {name!r} is not stored"
        stored = getattr(plugin, name)
        assert stored is value or stored == value, f"the option {name!r} is stored as {stored!r} instead of {value!r}"


CHECKS: tuple[Check, ...] = (
    offers_the_members_of_its_kind,
    declares_needs,
    cites_its_source,
    is_documented,
    options_are_keyword_only_and_annotated,
    builds_from_defaults,
    init_only_stores,
)
