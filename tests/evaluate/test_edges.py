"""Steadiness, shares, pictures and heads of an evaluation at the numbers that decide, by hand."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustcl.errors import Contradiction, UsageError
from robustcl.evaluate import audits, soundness
from robustcl.evaluate.classifier import of_encoder, of_model
from robustcl.evaluate.extras.evidence import Evidence, list_points
from robustcl.evaluate.extras.representation import draw
from robustcl.evaluate.journal import Journal, Key, Outcome
from robustcl.evaluate.judge import Judge
from robustcl.evaluate.lines import Chain
from robustcl.evaluate.points import entries
from robustcl.evaluate.shards import journal, merge
from robustcl.nn.encoder import Encoder
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl_plugins.generators.noise import UniformNoise
from robustcl_plugins.protocols.linear import Linear, _best, _Data, _judged
from robustcl_plugins.protocols.stage import LinearTuning, step
from tests.shared.asked import subject


class Said(nn.Module):
    """Says what a function makes of the inputs and of the number of the call."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function, self.count = function, 0

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        found: Tensor = self.function(x, self.count)
        return found


@pytest.mark.parametrize(("share", "kept"), [(0.5, True), (2.0, False)])
def test_two_passes_may_differ_by_so_much(share: float, kept: bool) -> None:
    first = torch.tensor([[0.0, 4.0], [1.0, 2.0]])
    moved = share * soundness._WAVER * 4.0
    model = of_model(Said(lambda x, count: first + moved * torch.tensor([[1.0, 0.0], [0.0, 0.0]])))
    assert soundness.wavers(model, torch.zeros(2, 1), first) == (not kept)


def test_what_is_not_finite_says_nothing_of_two_passes() -> None:
    first = torch.tensor([[0.0, 4.0], [1.0, 2.0]])
    for value in (torch.nan, torch.inf):
        again = first.clone()
        again[0, 0] = value
        for one, other in ((first, again), (again, first)):
            model = of_model(Said(lambda x, count, other=other: other))
            assert not soundness.wavers(model, torch.zeros(2, 1), one)
            assert not soundness.mingles(other[:1], one)


@pytest.mark.parametrize(("share", "mingled"), [(0.5, False), (2.0, True), (-2.0, True)])
def test_a_row_alone_may_differ_by_so_much_of_its_own_spread(share: float, mingled: bool) -> None:
    together = torch.tensor([[1.0, 5.0, 3.0], [100.0, -100.0, 0.0]], dtype=torch.float64)
    alone = together[:1] + share * soundness._MINGLED * 4.0 * torch.tensor([[0.0, 0.0, 1.0]])
    assert soundness.mingles(alone, together) == mingled
    flat = torch.full((2, 2), 1e4)
    for units, other in ((8, False), (24, True)):
        assert soundness.mingles(flat[:1] + units * torch.finfo(torch.float32).eps * 1e4, flat) == other


def test_a_model_that_draws_leaves_the_generators_as_they_were() -> None:
    model = of_model(Said(lambda x, count: torch.rand(len(x), 2)))
    before = torch.get_rng_state()
    with pytest.raises(UsageError, match="draws at random in eval mode"):
        soundness.check_steady(model, torch.zeros(2, 1))
    assert torch.equal(torch.get_rng_state(), before)

    def backwards(x: Tensor, count: int) -> Tensor:
        return x.repeat(1, 2) + (0 * torch.rand(1) if torch.is_grad_enabled() else 0)

    with pytest.raises(UsageError, match="draws at random in eval mode"):
        soundness.check_backward(of_model(Said(backwards)), torch.zeros(2, 1))
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(UsageError, match="rows of a batch change each other's logits in eval mode"):
        soundness.check_steady(
            of_model(Said(lambda x, count: torch.cat([x, x.mean(0, keepdim=True).expand_as(x)], 1))),
            torch.tensor([[0.0], [1.0]]),
        )
    with pytest.raises(UsageError, match="the model writes into its input"):
        soundness.look(of_model(Said(lambda x, count: x.add_(1).repeat(1, 2))), torch.zeros(2, 1))


KEY = Key("slf", "main", "test", "pgd", '{"model": "a"}')


def outcome(index: int, right: bool, member: str = "clean") -> Outcome:
    return Outcome(index, 1, int(right), right, 7, f"{member}{index}", member)


def test_only_what_is_new_of_a_share_is_taken(tmp_path: Path) -> None:
    whole = journal(tmp_path, (0, 1))
    whole.append(KEY, [outcome(0, True), outcome(1, True)])
    for number in range(2):
        share = journal(tmp_path, (number, 2))
        share.append(KEY, [outcome(index, True) for index in (number, number + 2)])
        share.append(KEY, [outcome(number, False, "one")])
    assert merge(tmp_path) == (4, 2)
    known = Journal(tmp_path / "journal.jsonl").known(KEY)
    assert {index: [o.member for o in outcomes] for index, outcomes in sorted(known.items())} == {
        0: ["clean", "one"], 1: ["clean", "one"], 2: ["clean"], 3: ["clean"],
    }  # fmt: skip
    journal(tmp_path, (1, 3))
    with pytest.raises(UsageError, match="holds shares of 2 and of 3"):
        merge(tmp_path)


def test_shares_that_lack_are_named_and_other_models_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no shares of an evaluation"):
        merge(tmp_path)
    journal(tmp_path, (1, 4))
    with pytest.raises(UsageError, match="lacks the share 1/4, 3/4, 4/4: judge it with --shard 1/4 first"):
        merge(tmp_path)
    for number in (0, 2, 3):
        journal(tmp_path, (number, 4)).append(Key(*KEY.place[:4], f'{{"model": "{number}"}}'), [outcome(number, True)])
    with pytest.raises(UsageError, match=r"is of another model \(2\) than the other shares \(0\)"):
        merge(tmp_path)


class Bright(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        z = (x.flatten(1).mean(1) - 0.5) * 10
        return torch.stack([-z, z], 1)


def test_a_strip_shows_eight_images_and_only_these_are_attacked(tmp_path: Path) -> None:
    class Images:
        item, samples, device = (1, 1, 2), 12, torch.device("cpu")
        labels = torch.zeros(12, dtype=torch.int64)

        def fetch(self, index: Tensor) -> Tensor:
            return (index.float() / 40)[:, None, None, None].expand(-1, 1, 1, 2)

    judge = Judge(of_model(Bright()), Ball("Linf", 0.01), Rng(0), nullcontext)
    order = torch.tensor([9, 3, 7, 1, 0, 2, 4, 5, 6, 8])
    draw(tmp_path, subject(judge, Images(), [("one", UniformNoise()), ("two", UniformNoise())]), order)
    strip = np.load(tmp_path / "strip.npz")
    assert {name: len(strip[name]) for name in strip} == dict.fromkeys(strip, 8)
    assert strip["index"].tolist() == order[:8].tolist()
    assert strip["clean"][:, 0, 0, 0] * 40 == pytest.approx(order[:8].tolist(), abs=1e-5)
    assert not (tmp_path / "representation.npz").exists()
    assert judge._attacked == set(order[:8].tolist())


class Flat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def test_of_an_encoder_all_features_are_drawn_and_eight_images_shown(tmp_path: Path) -> None:
    encoder = Encoder(Flat(), 2, item=(1, 1, 2), classes=2).eval()
    assert encoder.classifier is not None
    with torch.no_grad():
        encoder.classifier.weight.copy_(torch.tensor([[-1.0, -1.0], [1.0, 1.0]]))
        encoder.classifier.bias.copy_(torch.tensor([0.5, -0.5]))
    images: Any = SimpleNamespace(
        labels=torch.zeros(12, dtype=torch.int64),
        fetch=lambda index: (index.float() / 40)[:, None, None, None].expand(-1, 1, 1, 2),
    )
    judge = Judge(of_encoder(encoder, "main"), Ball("Linf", 0.01), Rng(0), nullcontext)
    draw(tmp_path, subject(judge, images, [("one", UniformNoise())], route="main"), torch.arange(10))
    strip, drawn = (np.load(tmp_path / f"{name}.npz") for name in ("strip", "representation"))
    assert {name: len(strip[name]) for name in strip} == dict.fromkeys(strip, 8)
    assert {name: len(drawn[name]) for name in drawn if name != "route"} == {
        "clean": 10,
        "adversarial": 10,
        "label": 10,
    }
    assert drawn["route"] == "main"
    assert drawn["clean"][:, 0] == pytest.approx(np.arange(10) / 40)
    moved = np.abs(drawn["adversarial"] - drawn["clean"])
    assert 0 < moved.max() <= 0.01 + 1e-6


def test_an_audit_without_a_name_is_held_against_itself_alone(tmp_path: Path) -> None:
    entry: dict[str, Any] = {"verdict": "warn", "findings": [{"code": "C1", "evidence": "a", "verdict": "warn"}]}
    audits.check(tmp_path, entry, "again")
    with pytest.raises(Contradiction, match="for the audit of , and its own findings"):
        audits.check(tmp_path, {**entry, "verdict": "pass"}, "again")


def test_a_key_that_stands_twice_in_a_line_is_damage() -> None:
    with pytest.raises(ValueError, match=r"^it is no JSON, a key stands in it twice"):
        Chain().read(b'{"a": 1, "a": 2}')
    with pytest.raises(ValueError, match=r"^it is no JSON object$"):
        Chain().read(b"[]")
    for line, said in ((b"{", "Expecting property name enclosed in double quotes at line 1"),
                       (b'{"a": 1, "a": 2}', "a key stands in it twice")):  # fmt: skip
        with pytest.raises(ValueError, match="it is no JSON") as told:
            Chain().read(line)
        assert str(told.value) == f"it is no JSON, {said}"


def test_tables_that_are_none_are_passed_over() -> None:
    assert entries({"a": [{"b": 1}, 3, None]}, "a") == [{"b": 1}]
    assert entries({"a": {"b": 1}}, "a") == entries({}, "a") == []
    found = list(list_points({
        "security": [{"attack": "it", "eps": [0.0, 0.1], "accuracy": [1.0, 0.5], "questions": ["x"]}],
        "corruptions": [{"severities": [1], "accuracy": {"fog": [0.5]}, "questions": {"fog": ["y"]}},
                        {"severities": [1], "accuracy": [0.5]},
                        {"severities": [1], "accuracy": {"snow": [0.25]}, "questions": ["z"]}],
    }))  # fmt: skip
    assert [(point.value, point.question) for point in found] == [(1.0, "x"), (0.5, None), (0.5, "y"), (0.25, None)]
    assert [str(point) for point in found] == [
        "security", "security it eps 0.1", "corruptions name fog severity 1", "corruptions name snow severity 1",
    ]  # fmt: skip


def test_rows_that_say_nothing_wrong_are_kept(tmp_path: Path) -> None:
    row = {"protocol": "slf", "route": "main", "split": "test", "attack": None, "metric": "silhouette", "value": 0.5}
    results = {"rows": [row, row]}
    sifted, told = Evidence(tmp_path).sift(results)
    assert (sifted, told) == (results, [])


FEATURES = torch.tensor([[0.0, 4.0], [2.0, 4.0], [4.0, 4.0], [6.0, 4.0]])


def test_features_are_centred_and_scaled_and_labels_are_those_that_there_are() -> None:
    data = _Data.of(FEATURES, torch.tensor([5, 2, 5, 2]))
    assert data.mean.tolist() == [3.0, 4.0]
    assert data.scale == pytest.approx((5 / 2) ** 0.5)  # of squares 9, 1, 1, 9 and four 0
    torch.testing.assert_close(data.features * data.scale, FEATURES.double() - data.mean)
    assert data.present.tolist() == [2, 5]
    assert data.label.tolist() == [1, 0, 1, 0]
    assert _Data.of(torch.ones(2, 3), torch.tensor([0, 1])).scale == 1.0


def test_the_best_decay_is_of_accuracy_then_of_loss_then_the_strongest() -> None:
    def told(*numbers: tuple[float, float]) -> list[dict[str, float]]:
        return [{"accuracy": accuracy, "loss": loss} for accuracy, loss in numbers]

    assert _best(told((0.5, 1.0), (0.75, 9.0), (0.75, 2.0), (0.75, 2.0))) == 2
    logits, label = torch.tensor([[2.0, 0.0], [0.0, 2.0], [3.0, 1.0], [9.0, 0.0]]), torch.tensor([3, 3, 3, 8])
    judged = _judged(logits, label, torch.tensor([3, 6]))
    assert judged["accuracy"] == 0.5
    wanted = torch.nn.functional.cross_entropy(logits[:3], torch.zeros(3, dtype=torch.int64))
    assert judged["loss"] == pytest.approx(float(wanted))
    assert _judged(torch.zeros(1, 2), torch.tensor([8]), torch.tensor([3, 6]))["loss"] == 0.0


def test_a_linear_head_is_of_raw_features_and_never_says_a_class_that_was_not_there() -> None:
    features = torch.tensor([[0.0, 0.0], [0.1, 1.0], [5.0, 0.0], [5.1, 1.0]])
    label = torch.tensor([1, 1, 3, 3])
    head = Linear(weight_decay=[1e-3]).head(features, label, 5)
    logits = head(features)
    assert logits.argmax(1).tolist() == label.tolist()
    assert bool((logits[:, [0, 2, 4]].amax(1) < logits[:, [1, 3]].amin(1)).all())
    assert (head.outcome["chosen_by"], head.outcome["samples"], head.outcome["grid"]) == ("the only one", 4, [])
    assert head.outcome["raw_weight_decay"] == pytest.approx(1e-3 * head.outcome["scale"] ** 2)
    both = Linear(weight_decay=[1e-3, 1e-1, 1e-1])
    chosen = both.head(features, label, 5, validation=(features, label))
    assert chosen.outcome["chosen_by"] == "validation"
    assert [row["weight_decay"] for row in chosen.outcome["grid"]] == [1e-1, 1e-3]
    for wrong, words in (
        ((features, torch.tensor([1, 1, 1, 1])), "are of class 1 alone"),
        ((features[:0], label[:0]), "are of no class"),
        ((features / 0, label), "the features of 4 of 4 training images are not finite"),
    ):
        with pytest.raises(UsageError, match=words):
            both.head(*wrong, 5)
    for options, words in (({"weight_decay": []}, "write at least one number"), ({"holdout": 1.0}, "a share below 1")):
        with pytest.raises(UsageError, match=words):
            Linear(**options).head(features, label, 5)  # type: ignore[arg-type]


def test_a_tuning_stage_has_the_rates_that_it_reaches() -> None:
    tuning = LinearTuning(epochs=20, lr=0.1, decay_at=[10, 15, 20], decay=0.1, mode="train")
    stage = tuning.linear_stage("it", "adv")
    assert stage["optimizer"]["lr"] == {"piecewise": pytest.approx([0.1, 0.01, 0.001]), "at": [10, 15]}
    assert (stage["mode"], stage["trainable"], stage["routes"]) == ("train", ["classifier"], {"w": "adv"})
    flat = LinearTuning(epochs=10, lr=0.1, decay_at=[10], decay=0.1).linear_stage("it", "adv")
    assert (flat["optimizer"]["lr"], flat["mode"]) == (0.1, "eval")
    assert step(None) == {}
    assert step(0.25) == {"step_size": 0.25}
