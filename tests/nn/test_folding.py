"""The copy that is attacked in a model's place: the same function, quicker, or none at all."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustcl.evaluate.classifier import of_encoder, of_model
from robustcl.evaluate.judge import Judge
from robustcl.nn.folding import fold
from robustcl.nn.projector import Projector
from robustcl.nn.traces import Traces
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl_plugins.encoders.resnet_small import ResNetSmall
from robustcl_plugins.generators.pgd import PGD


class Block(nn.Module):
    """A residual block; ``reuse`` sends what is not normed yet around it, which folding would change."""

    def __init__(self, reuse: bool = False) -> None:
        super().__init__()
        self.conv, self.norm, self.reuse = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), reuse

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return torch.relu(self.norm(y) + (y if self.reuse else x))


def net(*blocks: nn.Module, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), *blocks, nn.Flatten(), nn.Linear(6 * 36, 4))
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    return model.eval()


def logits(module: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = module(x)
    return found


def images(rows: int = 5) -> Tensor:
    return torch.rand(rows, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def norms(module: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_copy_has_no_norms_and_the_same_logits_and_slopes(seed):
    model, x = net(Block(), seed=seed), images()
    quick = fold(model, logits, x)
    assert quick is not None
    assert norms(quick) == 0
    leaf, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    torch.testing.assert_close(quick(leaf), model(other), rtol=1e-4, atol=1e-4)
    weight = torch.randn(4, generator=torch.Generator().manual_seed(seed))
    (slope,) = torch.autograd.grad((quick(leaf) * weight).sum(), leaf)
    (wanted,) = torch.autograd.grad((model(other) * weight).sum(), other)
    torch.testing.assert_close(slope, wanted, rtol=1e-3, atol=1e-4)


def test_the_model_and_the_generators_stay_as_they_were():
    model, x = net(Block()), images()
    traces = Traces([model])
    before = copy.deepcopy(model.state_dict())
    assert fold(model, logits, x) is not None
    assert list(traces.found()) == []
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_a_norm_whose_input_is_used_twice_is_left_alone():
    assert fold(net(Block(reuse=True)), logits, images()) is None


def test_a_norm_that_runs_on_the_batch_is_left_alone():
    model = net(Block())
    model[1].train()
    assert fold(model, logits, images()) is None


class Noisy(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.body(x + 0.1 * torch.randn_like(x))
        return found


class Stubborn(nn.Sequential):
    def __deepcopy__(self, memo: object) -> nn.Module:
        raise TypeError("one of a kind")


@pytest.mark.parametrize("model", [Noisy(net()).eval(), Stubborn(*net()).eval(), nn.Flatten().eval()])
def test_what_cannot_be_shown_equal_is_attacked_as_it_is(model):
    before = torch.get_rng_state()
    assert fold(model, logits, images()) is None
    assert torch.equal(torch.get_rng_state(), before)
    with of_model(model).sparring(images()) as attacked:
        assert attacked.module is model


def test_half_precision_is_as_under_autocast_and_full_precision_stays_full():
    model, x = net(Block()), images()
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        quick = fold(model, logits, x)
        assert quick is not None
        assert quick(x).dtype == torch.bfloat16
        torch.testing.assert_close(quick(x).float(), model(x).float(), rtol=0.05, atol=0.1)
        with torch.autocast("cpu", enabled=False):
            torch.testing.assert_close(quick(x), model(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("route", ["clean", "adv"])
def test_each_route_of_an_encoder_is_folded_with_its_own_norms(route):
    encoder = ResNetSmallEncoder()
    for number, part in enumerate(encoder.modules()):
        if isinstance(part, nn.BatchNorm2d | nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(part.running_mean, -0.1 * (number % 3), 0.1)
    classifier, x = of_encoder(encoder, route), images()
    with classifier.sparring(x) as attacked:
        assert attacked.module is not encoder
        mine, own = (one.embed(x, frozenset({"logits"})).logits for one in (attacked, classifier))
    torch.testing.assert_close(mine, own, rtol=1e-3, atol=1e-4)


def ResNetSmallEncoder() -> nn.Module:
    from robustcl.nn.encoder import build_encoder

    made = build_encoder(
        ResNetSmall(width=4), name="resnet-small", item=(3, 8, 8), classes=4, projector=Projector(),
        mean=(0.5,), std=(0.2,), routes=("clean", "adv"), rng=Rng(0),
    )  # fmt: skip
    return made.eval()


@pytest.mark.parametrize("bf16", [False, True])
def test_verdicts_are_the_models_own(bf16):
    """What counts as fooling fools the model in its own precision; at this distance half of the images are near it."""
    model, x = net(Block()), images(24)
    with torch.no_grad():
        model[-1].bias.sub_(model(x).mean(0))
    label = of_model(model).predict(x)
    autocast = (lambda: torch.autocast("cpu", torch.bfloat16)) if bf16 else nullcontext
    judge = Judge(of_model(model), Ball("Linf", 0.01), Rng(0), autocast)
    adv, prediction = judge.attack(x, label, torch.arange(24), "a", [("pgd", PGD(steps=5))])
    assert torch.equal(prediction, of_model(model).predict(adv))
    assert int((prediction != label).sum()) > 0


def test_a_prediction_is_in_full_precision_also_under_autocast():
    """Two classes whose logits differ by less than bfloat16 can tell."""
    model = nn.Sequential(nn.Linear(1, 2, bias=False)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [1.0 + 2**-12]]))
    with torch.autocast("cpu", torch.bfloat16):
        assert model(torch.ones(1, 1)).unique().numel() == 1
        assert of_model(model).predict(torch.ones(1, 1)).tolist() == [1]
