"""Black-box robustness among finished runs: each one's adversaries, judged by all of their classifiers.

Each source attacks every image, those that it gets wrong too, and goes on after it is fooled: an attack that stops at
the first success stays near the source's own boundary and hardly reaches another model. The diagonal is the white box:
each classifier on the very inputs that the others see.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robustcl.analysis import opponents
from robustcl.composition.asked import attack_of, attack_table
from robustcl.composition.parts import Parts
from robustcl.disk import write_atomically
from robustcl.errors import UsageError
from robustcl.evaluate import resolved, scaled
from robustcl.evaluate.interval import wilson
from robustcl.evaluate.journal import CLEAN, Journal, Key, Outcome, fingerprint
from robustcl.evaluate.judge import Judge, Members
from robustcl.evaluate.unstopped import Unstopped, adversaries
from robustcl.run.folder import make_out, only_one
from robustcl.run.machine import check_device
from robustcl.run.subjects import RunSubject
from robustcl.terminal.markdown import render_table
from robustcl.threat import Ball, ball_of
from robustcl.train.engine import Engine
from robustcl.train.log import Watcher, watch_nothing

_BLOCK = 250
"""Images attacked together; a row's adversary does not depend on the others."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """The tables of ``transfer.json``, and the folder that holds it."""

    path: Path
    tables: Mapping[str, Any]

    def markdown(self) -> str:
        """Return the matrix: a row for each source of adversaries, a column for each judge, white boxes bold."""
        names = [run["name"].replace("|", r"\|") for run in self.tables["runs"]]
        lines = [["adversaries of", *names]]
        rows = zip(*(self.tables[key] for key in ("accuracy", "low", "high")), strict=True)
        clean = zip(*(self.tables[key] for key in ("clean", "clean_low", "clean_high")), strict=True)
        lines.append(["nobody (clean)", *(_cell(*numbers) for numbers in clean)])
        for source, numbers in enumerate(rows):
            cells = [_cell(*each) for each in zip(*numbers, strict=True)]
            cells[source] = f"**{cells[source]}**"
            lines.append([names[source], *cells])
        about = self.tables
        said = f"{about['attack']['name']}, {about['norm']} eps {about['eps']:.4g}, n = {about['n']}"
        return f"{render_table(lines)}\n\nAccuracy of each column in %, with its 95 % interval: {said}.\n"


def matrix(
    folders: Sequence[Path | str],
    *,
    attack: str | Mapping[str, Any] | None = None,
    protocol: str | None = None,
    route: str | None = None,
    norm: str | None = None,
    eps: str | float | None = None,
    samples: int | None = None,
    out: Path | str | None = None,
    device: str = "auto",
    precision: str = "32-true",
    watcher: Watcher = watch_nothing,
    say: Callable[[str], None] = lambda sentence: None,
) -> Matrix:
    """Return every run's accuracy on every run's adversaries, and keep it as ``transfer.json``.

    Verdicts are kept in a journal beside the result; the same call goes on where it was cut off.

    Args:
        folders: two finished runs or more, of one data set and threat.
        attack: a registered attack or generator, or a table ``{"use": ..., option: ...}``; by default the first attack
            of the runs' recipes, which must be the same.
        protocol, route: which classifier of each run is taken; by default its recipe's first protocol and route.
        norm, eps: another ball for all of them; a norm needs its eps. The attack's step size stays as it is.
        samples: take only the first so many test images.
        out: the folder of the result; by default one below ``runs`` that is named by what was asked.

    Raises:
        UsageError: fewer than two runs, one that is not finished, runs of other data, classes or threats.
    """
    paths = _distinct([Path(folder) for folder in folders])
    check_device(device)
    engine = Engine(device, 1, precision)
    # What is asked wrongly is said before the first run is opened, which may take a while.
    asked, ball = _asked(attack), _given_ball(norm, eps)
    found = [opponents.open_opponent(path, protocol, route, engine, say) for path in paths]
    index = opponents.common(found, samples)
    ball = ball or opponents.common_ball(found, eps)
    part, spec = asked or opponents.common_attack(found, ball)
    members = scaled.members(part.plugin, found[0].classes, ball)
    ran = resolved.options(part.plugin, spec, found[0].classes, ball)
    question = {"attack": {"name": part.name, "spec": spec}, "norm": ball.norm, "eps": float(ball.eps)}
    place = Path(out) if out is not None else Path("runs") / f"transfer-{_digest(found, question)}"
    target = make_out(place, "the matrix")
    with only_one(target):
        journal = Journal(target / "journal.jsonl")
        contest = _Contest(found, index, ball, part.name, members, question, journal, watcher, say, ran)
        tables = contest.tables(engine)
        write_atomically(target / "transfer.json", json.dumps(tables, indent=1))
    return Matrix(target, tables)


@dataclass(frozen=True, slots=True)
class _Contest:
    """All sources against all judges on the test images of ``index`` (n,)."""

    opponents: Sequence[RunSubject]
    index: Tensor
    ball: Ball
    attack: str
    members: Members
    question: Mapping[str, Any]
    journal: Journal
    watcher: Watcher
    say: Callable[[str], None]
    resolved: Mapping[str, Any]
    """All options of the attack as it runs."""

    def tables(self, engine: Engine) -> dict[str, Any]:
        sources = [
            (source, Unstopped(source.classifier, self.ball, source.rng, engine.autocast)) for source in self.opponents
        ]
        grid = [self._row(None, None), *(self._row(source, judge) for source, judge in sources)]
        n = len(self.index)
        bounds = [[wilson(correct, n) for correct in row] for row in grid]
        clean, *accuracy = [[correct / n for correct in row] for row in grid]
        clean_low, *low = [[bound[0] for bound in row] for row in bounds]
        clean_high, *high = [[bound[1] for bound in row] for row in bounds]
        return {
            "schema": 1, "runs": opponents.describe(self.opponents), "data": self.opponents[0].data,
            **self.question, "resolved": self.resolved, "n": n,
            "clean": clean, "clean_low": clean_low, "clean_high": clean_high,
            "accuracy": accuracy, "low": low, "high": high,
        }  # fmt: skip

    def _row(self, source: RunSubject | None, judge: Judge | None) -> list[int]:
        """Return how many images each opponent gets right; those of no source are clean."""
        keys = [self._key(source, other) for other in self.opponents]
        for number, block in enumerate(torch.split(self.index, _BLOCK), 1):
            missing = [i for i in block.tolist() if any(i not in self.journal.known(key) for key in keys)]
            if missing:
                self._judge(torch.tensor(missing), source, judge, keys)
            told = f"{self.attack} of {opponents.name_of(source)}" if source else CLEAN
            self.watcher(told, min(number * _BLOCK, len(self.index)), len(self.index), {})
        if source is not None and judge is not None and (remark := judge.remark()) is not None:
            self.say(f"{opponents.name_of(source)}: {remark}")
        return [
            sum(self.journal.known(key)[i][-1].correct for i in self.index.tolist()) for key in keys
        ]  # fmt: skip

    def _judge(self, index: Tensor, source: RunSubject | None, judge: Judge | None, keys: Sequence[Key]) -> None:
        images = self.opponents[0].test
        rows = index.to(images.device)
        x, label = images.fetch(rows), images.labels[rows]
        if judge is not None:
            x = adversaries(judge, x, label, rows, self.attack, self.members)
        hashes, seed = fingerprint(x), source.seed if source else 0
        for key, other in zip(keys, self.opponents, strict=True):
            lines = zip(rows.tolist(), label.tolist(), other.classifier.predict(x).tolist(), hashes, strict=True)
            member = self.attack if source else CLEAN
            self.journal.append(key, [Outcome(i, y, p, p == y, seed, digest, member) for i, y, p, digest in lines])

    def _key(self, source: RunSubject | None, judge: RunSubject) -> Key:
        spec: dict[str, Any] = {"judge": judge.identity, "data": judge.data}
        if source is not None:
            spec |= {**self.question, "source": source.identity}
        return Key("transfer", "", "test", self.attack if source else None, json.dumps(spec, sort_keys=True))


def _distinct(paths: Sequence[Path]) -> Sequence[Path]:
    if len(paths) < 2:
        raise UsageError("a transfer matrix needs two runs or more; one run alone is judged by robustcl evaluate RUN")
    resolved = [path.resolve() for path in paths]
    for number, path in enumerate(paths):
        if resolved[number] in resolved[:number]:
            raise UsageError(f"{path} is named twice; a run is one row and one column")
    return paths


def _asked(attack: str | Mapping[str, Any] | None) -> opponents.Asked | None:
    if attack is None:
        return None
    parts, use = Parts(), attack_table(attack, "--attack")
    part = attack_of(use, parts, "--attack")
    return part, {"use": use.use, **parts.resolved(use)}


def _given_ball(norm: str | None, eps: str | float | None) -> Ball | None:
    if norm is None:
        return None
    if eps is None:
        raise UsageError(f"--norm {norm} needs --eps as well: a radius of one norm means nothing in another")
    return ball_of(norm, eps, "--eps")


def _digest(found: Sequence[RunSubject], question: Mapping[str, Any]) -> str:
    whole = [[opponent.identity for opponent in found], question]
    return hashlib.blake2b(json.dumps(whole, sort_keys=True).encode(), digest_size=4).hexdigest()


def _cell(value: float, low: float, high: float) -> str:
    return f"{value:.2%} ({low:.1%} to {high:.1%})".replace("%", "")
