"""The call shapes of attack libraries on the one engine: names, modes, traces, mistakes, verdicts, journals."""

from __future__ import annotations

import contextlib
import inspect
import json
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import robustcl
from robustcl import Ball, Rng, registry
from robustcl.errors import AmbiguousPlugin, DataError, NeedNotMet, NotAPlugin, OptionError, UsageError
from robustcl.evaluate.classifier import of_model
from robustcl.evaluate.judge import Judge
from robustcl.nn.encoder import Encoder
from robustcl.nn.logits import Logits
from robustcl.nn.traces import Traces
from robustcl.protocols import Need
from robustcl.types import Attack
from robustcl_plugins.generators.pgd import PGD as PGDGenerator
from tests.shared.compared_runs import unchecked

EPS = 8 / 255


def small(mode: bool = False) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 4))
    net[1].running_mean.normal_().mul_(0.1)
    return net.train(mode)


def images(net: nn.Module, rows: int = 8) -> tuple[Tensor, Tensor]:
    x = torch.rand(rows, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return x, net(x).argmax(1)


def alike(first: Tensor, second: Tensor) -> bool:
    """Equal up to a flip of a sign where a gradient is nothing but rounding."""
    return bool(((first - second).abs() < 1e-6).float().mean() > 0.99)


# names


@pytest.mark.parametrize(
    ("attribute", "name", "kind"),
    [
        ("PGD", "pgd", "generator"),
        ("pgd", "pgd", "generator"),
        ("MultiTargetedPGD", "multi-targeted-pgd", "generator"),
        ("APGD", "apgd", "generator"),
        ("Square", "square", "generator"),
        ("FGSM", "fgsm", "generator"),
        ("PGD20", "pgd-20", "attack"),
        ("APGDT", "apgd-t", "attack"),
        ("autoattack", "autoattack", "attack"),
    ],
)
def test_a_name_is_the_registered_one_without_hyphens_in_any_case(attribute, name, kind):
    attack = getattr(robustcl.attacks, attribute)(small(), eps=EPS)
    assert (attack.made.name, attack.made.kind) == (name, kind)


def test_every_listed_name_is_an_attack_that_help_can_explain():
    listed = dir(robustcl.attacks)
    assert {"PGD", "APGD", "FAB", "Square", "AutoAttack", "MultiTargetedPGD", "make"} <= set(listed)
    parameters = inspect.signature(robustcl.attacks.PGD).parameters
    assert list(parameters)[:6] == ["model", "eps", "norm", "range", "seed", "mode"]
    assert parameters["steps"].default == 10
    assert "start" in robustcl.attacks.PGD.__doc__


def test_an_unknown_name_is_an_attribute_error_with_a_near_one():
    with pytest.raises(AttributeError, match=r"no attack 'MultiTargetPGD', did you mean 'MultiTargetedPGD'\?"):
        _ = robustcl.attacks.MultiTargetPGD
    assert not hasattr(robustcl.attacks, "Zzzzzz")
    with pytest.raises(UsageError, match="'pdg', did you mean 'pgd'"):
        robustcl.attacks.make("pdg", small(), eps=EPS)


class Still:
    """Moves nothing."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "no source"

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        return x.clone()


class Named(Still):
    def __init__(self, *, eps: float = 0.1) -> None:
        self.eps = eps


def test_plugins_of_others_are_found_and_two_of_one_name_are_told_apart():
    net = small()
    x, y = images(net)
    with registry.local("generator", "my-still", Still):
        assert torch.equal(robustcl.attacks.MyStill(net, eps=EPS)(x, y), x)
    with registry.local("generator", "p-g-d", Still), pytest.raises(AmbiguousPlugin, match=r"make\('p-g-d', model"):
        _ = robustcl.attacks.PGD
    with registry.local("generator", "pgd", Still):
        assert torch.equal(robustcl.attacks.make("local/pgd", net, eps=EPS)(x, y), x)
    with registry.local("generator", "shadow", Named), pytest.raises(NotAPlugin, match="its option 'eps'"):
        robustcl.attacks.Shadow(net, eps=EPS)


# what comes back


@pytest.mark.parametrize("shape", [(4, 3, 6, 6), (4, 5), (4, 3, 2, 4, 4)])
def test_fgsm_is_its_formula_and_the_result_is_a_plain_tensor(shape):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(int(torch.tensor(shape[1:]).prod()), 3)).eval()
    x, y = torch.rand(shape), torch.tensor([0, 1, 2, 0])
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(net(leaf), y), leaf)
    adv = robustcl.attacks.FGSM(net, eps="8/255")(leaf, y)
    torch.testing.assert_close(adv, (x + EPS * gradient.sign()).clamp(0, 1), rtol=0, atol=1e-6)
    assert not adv.requires_grad
    assert adv.dtype == x.dtype
    assert leaf.grad is None


def test_pgd_takes_all_its_steps_unless_it_may_stop_early():
    """The step of 0.02 is fooled at once; only who stops early stays there."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False)).eval()
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]))
    x, y = torch.tensor([[0.5, 0.51, 0.5, 0.5], [0.2, 0.2, 0.6, 0.6]]), torch.tensor([0, 0])
    options: dict[str, Any] = {"eps": 0.1, "steps": 10, "step_size": 0.02, "start": "none"}
    toward = torch.tensor([-0.1, -0.1, 0.1, 0.1])
    torch.testing.assert_close(robustcl.attacks.PGD(net, **options)(x, y), x + toward, rtol=0, atol=1e-6)
    early = robustcl.attacks.PGD(net, stop_early=True, **options)(x, y)
    torch.testing.assert_close(early[0], x[0] + 0.2 * toward, rtol=0, atol=1e-6)
    assert torch.equal(early[1], x[1]), "what is wrong from the start is left alone"


@pytest.mark.parametrize(("norm", "eps"), [("Linf", "8/255"), ("L2", "0.5"), ("L1", 2)])
def test_every_norm_stays_in_its_ball_and_in_the_range(norm, eps):
    net = small()
    x, y = images(net)
    attack = robustcl.attacks.PGD(net, eps=eps, norm=norm.lower(), step_size=0.2, steps=3, range=(-1, 1))
    adv = attack(x * 2 - 1, y)
    assert bool(Ball.checked(norm, eps, (-1, 1)).contains(adv, x * 2 - 1).all())
    assert float((adv - (x * 2 - 1)).abs().max()) > 1e-3


def test_a_sample_gets_its_adversary_in_any_batch():
    net = small()
    x, y = images(net)
    attack = robustcl.attacks.PGD(net, eps="8/255", steps=3, restarts=2, seed=3)
    whole, order = attack(x, y), torch.tensor([5, 2, 7])
    assert alike(attack(x[order], y[order], index=order), whole[order])
    assert torch.equal(attack(x, y), whole)
    assert not alike(attack(x[order], y[order]), whole[order]), "without index a row is its place in the batch"
    assert not alike(robustcl.attacks.PGD(net, eps="8/255", steps=3, seed=4)(x, y), whole)


def test_the_engine_is_the_judge_s():
    net = small()
    x, y = images(net)
    judge = Judge(of_model(net), Ball("Linf", EPS), Rng(7, "evaluate", "as-is"), contextlib.nullcontext)
    adv, _ = judge.attack(x, y, torch.arange(8), "pgd", [("pgd", PGDGenerator(steps=4))])
    assert torch.equal(robustcl.attacks.PGD(net, eps=EPS, steps=4, seed=7, stop_early=True)(x, y), adv)


def test_double_precision_and_empty_batches_pass_through():
    net = small().double()
    x, y = images(small())
    adv = robustcl.attacks.PGD(net, eps=EPS, steps=2)(x.double(), y)
    assert adv.dtype == torch.float64
    assert robustcl.attacks.PGD(net, eps=EPS)(x[:0].double(), y[:0]).shape == (0, 3, 6, 6)
    assert robustcl.attacks.PGD(net, eps=EPS, steps=2)(x, y).dtype == torch.float32, "the model's inputs are cast"


def test_gradients_are_found_under_no_grad_and_missed_in_inference_mode():
    net = small()
    x, y = images(net)
    attack = robustcl.attacks.PGD(net, eps=EPS, steps=2)
    with torch.no_grad():
        assert torch.equal(attack(x, y), attack(x, y))
    with torch.inference_mode():
        frozen = x.clone()
        with pytest.raises(UsageError, match=r"outside torch\.inference_mode"):
            attack(x, y)
    assert torch.equal(attack(frozen, y), attack(x, y))


# what stays as it was


@pytest.mark.parametrize("mode", ["eval", "batch", "train"])
def test_a_model_in_mixed_modes_is_left_in_them_without_a_trace(mode):
    net = nn.Sequential(small(), nn.Dropout(0.5), nn.Linear(4, 4)).train()
    net[0].eval().requires_grad_(False)
    net[2].weight.grad = torch.ones_like(net[2].weight)
    x, y = images(small())
    flags, values = [m.training for m in net.modules()], {n: v.clone() for n, v in net.state_dict().items()}
    asked, traces = [p.requires_grad for p in net.parameters()], Traces([net])
    attack = robustcl.attacks.PGD(net, eps=EPS, steps=3, mode=mode)
    adv = attack(x, y)
    assert list(traces.found()) == []
    assert [m.training for m in net.modules()] == flags
    assert [p.requires_grad for p in net.parameters()] == asked
    assert all(torch.equal(value, values[name]) for name, value in net.state_dict().items())
    assert not torch.equal(adv, x)


def test_the_mode_is_the_one_that_is_attacked():
    net = small()
    x, y = images(net)
    found = {m: robustcl.attacks.FGSM(net, eps=EPS, mode=m)(x, y) for m in ("eval", "batch", "train")}
    assert torch.equal(found["eval"], robustcl.attacks.FGSM(net, eps=EPS)(x, y))
    assert torch.equal(found["batch"], found["train"]), "without dropout these are the same function"
    assert not torch.equal(found["eval"], found["batch"])
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(small(True)(leaf), y), leaf)
    assert alike(found["batch"], (x + EPS * gradient.sign()).clamp(0, 1))


class Drawing(nn.Module):
    """Draws from torch's global generator at every pass, as randomised defences do."""

    def __init__(self) -> None:
        super().__init__()
        self.net = small()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x + 0.1 * torch.randn_like(x))


def test_a_model_that_draws_does_so_from_states_of_its_own():
    net = Drawing().eval()
    x, y = images(net.net)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = robustcl.attacks.PGD(net, eps=EPS, steps=3)(x, y)
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(6)
    assert torch.equal(robustcl.attacks.PGD(net, eps=EPS, steps=3)(x, y), first)
    attack = robustcl.attacks.PGD(net, eps=EPS, steps=3)
    attack(x, y)
    assert not torch.equal(attack(x, y), first), "its draws go on, they do not repeat"


def test_an_evaluation_of_a_model_that_draws_asks_for_averaged_gradients():
    net = Drawing().eval()
    x, y = images(net.net)
    with pytest.warns(RuntimeWarning, match=r"the model draws at random: .*its option eot"):
        robustcl.attacks.FGSM(net, eps=EPS).outcomes(x, y)
    robustcl.attacks.APGD(net, eps=EPS, steps=2, eot=2).outcomes(x, y)


# mistakes


def test_a_model_in_train_mode_is_refused_unless_the_mode_is_chosen():
    net = small(True)
    x, y = images(small())
    attack = robustcl.attacks.PGD(net, eps=EPS, steps=1)
    with pytest.raises(UsageError, match=r"the model is in train mode: call model.eval\(\), or say with mode = "):
        attack(x, y)
    net.eval()
    attack(x, y)
    net[1].train()
    with pytest.raises(UsageError, match=r"the model's part 1 \(BatchNorm2d\) is in train mode"):
        attack(x, y)


X, Y = torch.rand(4, 3, 6, 6), torch.tensor([0, 1, 2, 3])


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (X * 2 - 0.5, Y, r"the inputs span -0\.\d+ .. 1\.\d+, outside the range 0 .. 1: normalisation belongs inside"),
        (X.index_fill(0, torch.tensor([2]), torch.nan), Y, "hold NaN or infinity, first in row 2"),
        ((X * 255).byte(), Y, r"the inputs are torch.uint8 \(4, 3, 6, 6\)"),
        (X, Y.float(), r"the labels are torch.float32; give an int64 tensor"),
        (X, Y[:3], r"the labels have the shape \(3,\) for 4 inputs"),
        (X, F.one_hot(Y), r"the labels have the shape \(4, 4\) for 4 inputs"),
        (X, Y + 1, r"label 4 of sample 3 is outside 0 .. 3: the model has 4 outputs"),
        (X, Y - 1, r"label -1 of sample 0 is outside"),
        (X, Y.to("meta"), "the labels are on meta and the inputs on cpu"),
    ],
)
def test_inputs_and_labels_that_cannot_be_attacked_are_refused(x, y, said):
    attack = robustcl.attacks.PGD(small(), eps="8/255", steps=1)
    with pytest.raises(DataError, match=said):
        attack(x, y)
    with pytest.raises(DataError, match=said):
        attack.run_standard_evaluation(x, y)


def test_an_index_of_another_shape_is_refused_and_so_are_inputs_elsewhere():
    attack = robustcl.attacks.PGD(small(), eps="8/255", steps=1)
    with pytest.raises(DataError, match="index names each of the 4 inputs with one int64"):
        attack(X, Y, index=torch.arange(3))
    with pytest.raises(DataError, match=r"the inputs are on cpu and the model on meta: give x.to\('meta'\)"):
        robustcl.attacks.PGD(small().to("meta"), eps=EPS)(X, Y)


class Broken(nn.Module):
    def __init__(self, change: Any) -> None:
        super().__init__()
        self.net, self.change = small(), change

    def forward(self, x: Tensor) -> Any:
        return self.change(self.net(x))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda z: z.softmax(1), "returns probabilities: return the logits instead"),
        (lambda z: z * torch.nan, "logits that are not finite for 4 of 4 inputs"),
        (lambda z: (z, z), "must return logits .* returned tuple"),
        (lambda z: z[:, :1], "has one output"),
    ],
)
def test_outputs_that_are_no_logits_are_refused(change, said):
    with pytest.raises(UsageError, match=said):
        robustcl.attacks.PGD(Broken(change).eval(), eps=EPS, steps=1)(X, Y)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"eps": 8}, UsageError, "wider than the pixels' range"),
        ({"eps": "8/0"}, UsageError, "ratio over zero"),
        ({"eps": EPS, "norm": "l3"}, UsageError, "the norm 'l3' is not known"),
        ({"eps": EPS, "alpha": "2/255"}, OptionError, "what other libraries call 'alpha' is 'step_size' here"),
        ({"eps": EPS, "stps": 3}, OptionError, "no option 'stps', did you mean 'steps'"),
        ({"eps": EPS, "steps": 0}, OptionError, r"robustcl.attacks.PGD.steps = 0"),
        ({"eps": EPS, "step_size": {"linear": [0.1, 0.2]}}, OptionError, "no epochs here to schedule by"),
        ({"eps": EPS, "mode": "test"}, UsageError, "mode = 'test' is unknown: write one of eval, batch, train"),
        ({"eps": EPS, "seed": None}, UsageError, "seed = None: give a whole number"),
        ({"eps": EPS, "stop_early": 1}, UsageError, "stop_early = 1; give True or False"),
        ({"eps": EPS, "stop_early": True, "mode": "batch"}, UsageError, "makes each verdict depend on the rest"),
    ],
)
def test_settings_are_checked_when_the_attack_is_made(options, error, said):
    with pytest.raises(error, match=said):
        robustcl.attacks.PGD(small(), **options)


def test_ratios_are_options_too_and_the_attack_says_what_it_is():
    attack = robustcl.attacks.PGD(small(), eps="8/255", step_size="2/255")
    assert attack.made.plugin.step_size == 2 / 255
    assert repr(attack).startswith("pgd(Sequential, eps=0.0313725, norm='Linf', seed=0, steps=10, step_size='2/255'")


@pytest.mark.parametrize(("name", "said"), [("NCP", "cluster targets"), ("DeACL", "a frozen teacher encoder")])
def test_generators_that_need_more_than_a_model_are_refused(name, said):
    with pytest.raises(NeedNotMet, match=f"needs .*{said}.*, which a bare model does not bring"):
        getattr(robustcl.attacks, name)(small(), eps=EPS)


class Features(Still):
    needs: ClassVar[frozenset[Need]] = frozenset({Need.FEATURES})

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        return (x + 0.01 * attack.clean().h.sign()[:, :1, None, None]).clamp(0, 1)


def encoder(routes: tuple[str, ...] = ("main",)) -> Encoder:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten())
    return Encoder(backbone, 64, item=(3, 6, 6), classes=4, routes=routes).eval()


def test_an_encoder_of_ours_brings_its_features_and_its_route():
    model = encoder()
    with registry.local("generator", "features", Features):
        with pytest.raises(NeedNotMet, match="features needs the encoder's features h"):
            robustcl.attacks.Features(small(), eps=EPS)
        assert not torch.equal(robustcl.attacks.Features(Logits(model), eps=EPS)(X, Y), X)
    with pytest.raises(UsageError, match=r"returns no logits by itself: attack robustcl.nn.logits.Logits"):
        robustcl.attacks.PGD(model, eps=EPS)
    two = encoder(("clean", "adv"))
    with pytest.raises(UsageError, match="the batch-norm routes clean, adv: choose one"):
        Logits(two)
    with pytest.raises(UsageError, match=r"no route 'adw', did you mean 'adv'\?; it has clean, adv"):
        Logits(two, "adw")
    torch.testing.assert_close(Logits(two, "adv")(X), two(X, "adv", frozenset({"logits"})).logits)


# the evaluation


def test_an_evaluation_returns_what_fooled_and_leaves_the_rest_as_it_was():
    net = small()
    x, y = images(net)
    y[0] = (y[0] + 1) % 4
    attack = robustcl.attacks.PGD(net, eps="4/255", steps=5)
    adv, labels = attack.run_standard_evaluation(x, y, bs=3, return_labels=True)
    outcomes = attack.outcomes(x, y)
    assert torch.equal(net(adv).argmax(1), labels)
    assert [o.correct for o in outcomes] == (labels == y).tolist()
    assert [o.index for o in outcomes] == list(range(8))
    assert torch.equal(adv[labels == y], x[labels == y])
    assert torch.equal(adv[0], x[0]), "a sample that is wrong anyway needs no attack"
    assert 0 < int((labels != y).sum()) < 8, "the case must show both"
    assert alike(attack.run_standard_evaluation(x, y, bs=8), adv)


def test_an_evaluation_in_another_mode_than_eval_is_refused():
    attack = robustcl.attacks.PGD(small(), eps=EPS, mode="batch")
    with pytest.raises(UsageError, match='mode = "batch" depend on the batch'):
        attack.run_standard_evaluation(X, Y)
    with pytest.raises(UsageError, match="bs = 0"):
        robustcl.attacks.PGD(small(), eps=EPS).run_standard_evaluation(X, Y, bs=0)
    with pytest.raises(DataError, match="there are no inputs"):
        robustcl.attacks.PGD(small(), eps=EPS).run_standard_evaluation(X[:0], Y[:0])


class Counted:
    """Fools a row if its mean is large, and counts the rows that it was asked for."""

    needs: ClassVar[frozenset[Need]] = frozenset()
    citation: ClassVar[str] = "no source"
    asked: ClassVar[int] = 0

    def __init__(self, *, strength: float = 0.05) -> None:
        self.strength = strength

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        Counted.asked += len(x)
        noise = attack.rng.uniform(x.shape, -1.0, 1.0)
        return attack.ball.project(x + self.strength * noise.sign(), x)


def test_a_journal_resumes_where_it_was_cut_off_and_answers_no_other_question(tmp_path):
    net, path = small(), tmp_path / "new" / "journal.jsonl"
    x, y = images(net, 12)
    with registry.local("generator", "counted", Counted):
        attack = robustcl.attacks.Counted(net, eps=1.0, strength=1.0)
        plain, labels = attack.run_standard_evaluation(x, y, bs=5, return_labels=True)
        assert 0 < int((labels != y).sum()) < 12, "the case must show both"
        Counted.asked = 0
        attack.run_standard_evaluation(x, y, bs=5, journal=path)
        assert Counted.asked == 12
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[: len(lines) // 2]) + lines[-1][:20])
        Counted.asked = 0
        again, found = attack.run_standard_evaluation(x, y, bs=5, return_labels=True, journal=path)
        assert Counted.asked < 12, "the first half is known, of which only what fooled is made again"
        assert torch.equal(again, plain)
        assert torch.equal(found, labels)
        Counted.asked = 0
        assert [o.prediction for o in attack.outcomes(x, y, journal=path)] == labels.tolist()
        assert Counted.asked == 0, "all of it is known"
        for other, inputs in [
            (robustcl.attacks.Counted(net, eps=0.5, strength=1.0), x),
            (robustcl.attacks.Counted(net, eps=1.0, strength=0.9), x),
            (robustcl.attacks.Counted(net, eps=1.0, strength=1.0, seed=1), x),
            (attack, x.flip(0)),
        ]:
            Counted.asked = 0
            other.outcomes(inputs, y, journal=path)
            assert Counted.asked > 0, "another question"
        Counted.asked = 0
        with torch.no_grad():
            net[4].bias.add_(0.01)
        attack.outcomes(x, y, journal=path)
        assert Counted.asked > 0, "another model"


def test_a_journal_that_is_none_is_refused(tmp_path):
    attack = robustcl.attacks.FGSM(small(), eps=EPS)
    with pytest.raises(UsageError, match="is a folder: name a file"):
        attack.run_standard_evaluation(X, Y, journal=tmp_path)
    path = tmp_path / "state.json"
    path.write_text(json.dumps({"run_attacks": []}) + "\n")
    with pytest.raises(DataError, match=r"state\.json: line 1 "):
        attack.run_standard_evaluation(X, Y, journal=path)


def test_verdicts_that_cannot_be_repeated_are_said(tmp_path):
    """The journal says fooled; here the same attack no longer fools."""
    net, path = small(), tmp_path / "journal.jsonl"
    x, y = images(net, 6)
    attack = robustcl.attacks.FGSM(net, eps=EPS)
    attack.outcomes(x, y, journal=path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    standing = next(e for e in lines if e.get("member") == "fgsm" and e["correct"])
    standing |= {"correct": False, "prediction": (standing["label"] + 1) % 4}
    path.write_text(unchecked("".join(json.dumps(line) + "\n" for line in lines)))
    with pytest.warns(RuntimeWarning, match="1 inputs that the journal says were fooled"):
        attack.run_standard_evaluation(x, y, journal=path)


@pytest.mark.parametrize("eps", [0, 0.0, "0/255"])
def test_a_radius_of_zero_is_refused(eps: float | str) -> None:
    model = nn.Linear(4, 2).eval()
    for make in (robustcl.attacks.PGD, robustcl.attacks.AutoAttack):
        with pytest.raises(UsageError, match="an eps of 0 leaves nothing to attack"):
            make(model, eps=eps)


@pytest.mark.parametrize("eps", [True, "1e-50", 1e-50])
def test_a_radius_that_is_none_is_refused(eps: Any) -> None:
    for make in (robustcl.attacks.PGD, robustcl.attacks.AutoAttack):
        with pytest.raises(UsageError, match=r"is no radius|leaves nothing to attack"):
            make(nn.Linear(4, 2).eval(), eps=eps)
    with pytest.raises(UsageError, match=r"eps = None is no radius|needs eps"):
        robustcl.attacks.PGD(nn.Linear(4, 2).eval(), eps=None)


def test_a_norm_as_other_libraries_write_it() -> None:
    model = nn.Linear(4, 2).eval()
    for norm, name in ((2, "L2"), (1, "L1"), (float("inf"), "Linf"), ("inf", "Linf")):
        assert robustcl.attacks.PGD(model, eps=0.1, norm=norm).ball.norm == name
        assert robustcl.attacks.AutoAttack(model, norm=norm, eps=0.1).ball.norm == name
    assert robustcl.attacks.AutoAttack(model, norm=float("inf")).ball.eps == EPS
    with pytest.raises(UsageError, match="AutoAttack in L2 needs eps"):
        robustcl.attacks.AutoAttack(model, norm=2)
    with pytest.raises(UsageError, match="the norm 3 is not known"):
        robustcl.attacks.PGD(model, eps=0.1, norm=3)


def test_more_targets_than_wrong_classes_are_refused() -> None:
    x, y = images(net := small())
    for attack in (robustcl.attacks.APGDTargeted, robustcl.attacks.APGDT, robustcl.attacks.FAB, robustcl.attacks.MTPGD):
        with pytest.raises(UsageError, match=r"targets = 12, but of 4 classes only 3 are wrong .* leave targets out"):
            attack(net, eps=EPS, targets=12)(x, y)


def test_attacks_in_half_the_width_are_judged_in_the_model_s_own() -> None:
    torch.manual_seed(0)
    seen: list[torch.dtype] = []

    class Watched(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            logits = super().forward(x)
            seen.append(logits.dtype)
            return logits

    model, x = Watched(12, 4).eval(), torch.rand(30, 12)
    with torch.no_grad():
        y = model(x).argmax(1)
    standing = {}
    for precision in ("32-true", "bf16-mixed"):
        attack = robustcl.attacks.make("pgd-20", model, eps=0.1, step_size=0.02, precision=precision)
        standing[precision] = [outcome.correct for outcome in attack.outcomes(x, y)]
        seen.clear()
        adv = attack(x, y)
        wanted = {torch.float32} if precision == "32-true" else {torch.float32, torch.bfloat16}
        assert set(seen) == wanted
        with torch.no_grad():
            assert (model(adv).argmax(1) == y).tolist() == standing[precision], "verdicts are those of the model"
    assert 0 < sum(standing["32-true"]) < 30
    assert sum(a != b for a, b in zip(*standing.values(), strict=True)) <= 1
    with pytest.raises(UsageError, match="precision = 'bf16' is unknown: write '32-true' or 'bf16-mixed'"):
        robustcl.attacks.PGD(model, eps=0.1, precision="bf16")
