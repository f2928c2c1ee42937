"""What else is held of audits and journals: undefined logits, the stream of noise, the length of a line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from robustcl.audit import hygiene, rivals
from robustcl.audit.arms import CHEAP
from robustcl.audit.bench import Bench
from robustcl.errors import DataError
from robustcl.evaluate.classifier import of_model
from robustcl.evaluate.journal import Journal
from robustcl.rng import Rng
from robustcl.testing import streams
from robustcl.threat import Ball


def test_undefined_is_the_same_as_undefined_alone() -> None:
    nan = float("nan")
    one, other = torch.tensor([1.0, nan, nan, 2.0]), torch.tensor([1.0, nan, 2.0, nan])
    assert hygiene._same(one, other).tolist() == [True, True, False, False]


def test_noise_is_drawn_from_a_stream_of_its_own() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    x, index = torch.rand(4, 1, 2, 2), torch.arange(4)
    bench = Bench(of_model(net), x, net(x).argmax(1), index, Ball("Linf", 0.1), Rng(0, "audit"), CHEAP, 4)
    with streams.record_draws() as drawn:
        rivals.noise(bench)
    found = {key for key, _, _ in drawn.places}
    assert keys(bench, Rng(0, "audit").child("noise")) <= found
    assert not keys(bench, Rng(0, "audit")) & found


def keys(bench: Bench, rng: Rng) -> set[int]:
    """Return the streams from which a sample of the ball draws."""
    with streams.record_draws() as drawn:
        bench.ball.sample(bench.x, rng.for_rows(bench.index))
    return {key for key, _, _ in drawn.places}


def test_a_line_of_a_journal_has_an_end(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text('{"question": "a", "spec": "' + "x" * (1 << 20) + '"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="line 1 is longer than the 1,048,576 bytes"):
        Journal(path)
