"""What SLURM, a lost terminal, kill and Ctrl-C send, at any moment: saved, one sentence, and the very same outcome."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path

import pytest

from robustcl.processes import signals
from robustcl.train.interrupt import Interrupt
from tests.shared import tiny

START = ("run", "tiny.toml", "--device", "cpu", "--out", "run")
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")


def test_stopped_runs_end_like_undisturbed_ones(tmp_path: Path) -> None:
    """What a scheduler and a terminal send, in training and in evaluation, at moments of chance; then it in one go.

    Ctrl-C while training is cut into more moments by tests/run/test_resume.py.
    """
    (tmp_path / "tiny.toml").write_text(tiny.AUDITED, encoding="utf-8")
    draw = random.Random(0)
    sent = SIGNALS[1:]
    moments = [(f"{name} while training", draw.randint(1, 4)) for name in sent]
    moments += [(f"{name} while judging", 1) for name in sent]
    legs = [tiny.Leg(("resume", "run") if number else START, *moment) for number, moment in enumerate(moments)]
    ends = tiny.run_legs(tmp_path, [*legs, tiny.Leg(("resume", "run")), tiny.Leg((*START[:-1], "whole"))])
    assert [ended.code for ended in ends] == [130] * len(moments) + [0, 0], ends
    for (moment, _), ended in zip(moments, ends, strict=False):
        last = ended.said.strip().splitlines()[-1]
        assert last.startswith("robustcl: stopped"), ended.said
        assert "Traceback" not in ended.said
        if "judging" in moment:
            assert moment.split()[0] in last
    run, whole = tmp_path / "run", tmp_path / "whole"
    kept = sorted(path.relative_to(whole) for path in whole.glob("stages/**/model.safetensors"))
    assert len(kept) == 5
    for path in [*kept, Path("journal.jsonl")]:
        assert (run / path).read_bytes() == (whole / path).read_bytes(), path
    assert tiny.lines(run / "metrics.jsonl", "seconds") == tiny.lines(whole / "metrics.jsonl", "seconds")
    results = [json.loads((folder / "results.json").read_text(encoding="utf-8")) for folder in (run, whole)]
    for key in ("rows", "audit"):
        assert results[0][key] == results[1][key]
    assert len(results[0]["audit"]) == 2


@pytest.mark.parametrize("name", SIGNALS)
def test_the_first_signal_is_remembered_and_what_was_before_comes_back(name: str) -> None:
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        os.kill(os.getpid(), number)
        assert interrupt.number == number
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(number) is before


def test_outside_training_a_signal_stops_at_once() -> None:
    for name in SIGNALS:
        with signals.handle(signals.stop), pytest.raises(signals.Stopped, match=name):
            os.kill(os.getpid(), getattr(signal, name))
    assert not issubclass(signals.Stopped, Exception), "a plugin's handler would swallow it"


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt, signals.handle(signals.stop):
            os.kill(os.getpid(), signal.SIGHUP)
        assert interrupt.number is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_forked_worker_dies_of_it_in_silence() -> None:
    with signals.handle(signals.stop):
        child = os.fork()
        if child == 0:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os._exit(70)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
