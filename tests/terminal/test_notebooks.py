"""Training from Python: who waits sees how far it is, nobody else is bothered, and a page is there at the end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from robustcl.api import Composition, from_tables
from robustcl.run.execution import resume
from robustcl.terminal import progress
from robustcl.terminal.progress import show_progress, waits
from tests.shared import tiny


def one_stage() -> Composition:
    tables = tiny.tables()
    return from_tables(
        tables
        | {
            "stage": tables["stage"][:1],
            "evaluate": [{"protocol": "slf", "attacks": ["fgsm"], "epochs": 1, "samples": 4, "audit": 0}],
        },
        "the test",
    )


def test_who_waits_sees_it_and_finds_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "waits", lambda: True)
    run = one_stage().train(tmp_path / "run", device="cpu")
    told = capsys.readouterr()
    assert told.out == ""
    assert "stage pretrain: 1 epochs" in told.err
    assert "pretrain 10/10 loss" in " ".join(told.err.split())
    assert f"report {run.path / 'report.html'}" in told.err.replace("\n", " ")
    assert (run.path / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    page = (run.path / "report.html").stat().st_mtime_ns
    resume(run.path)
    assert (run.path / "report.html").stat().st_mtime_ns == page, "reading writes nothing"


def test_nobody_waits_for_a_script_in_the_background(capsys: pytest.CaptureFixture[str]) -> None:
    assert not waits()
    with show_progress(None, None) as (watch, say):
        watch("stage", 1, 2, {})
        say("hello")
    assert capsys.readouterr() == ("", "")


def test_who_listens_is_told_instead(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "waits", lambda: True)
    heard: list[str] = []
    with show_progress(None, heard.append) as (watch, say):
        watch("stage", 1, 2, {})
        say("hello")
    assert heard == ["hello"]
    assert capsys.readouterr() == ("", "")


def test_an_interactive_python_and_a_notebook_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    assert waits()
    monkeypatch.delattr(sys, "ps1")
    assert not waits()
    monkeypatch.setattr("builtins.__IPYTHON__", True, raising=False)
    assert waits()
