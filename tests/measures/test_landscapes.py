"""Loss landscapes over inputs and weights, and images made from features."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustcl.errors import UsageError
from robustcl.measures import (
    component_maximum,
    feature_inversion,
    filter_normalised,
    input_landscape,
    weight_landscape,
)
from robustcl.nn.traces import Traces
from robustcl.rng import Rng

LABEL = torch.tensor([0, 2, 1, 0])


def images(seed: int = 0, rows: int = 4) -> Tensor:
    return Rng(seed, "images").uniform((rows, 2, 3, 3), dtype=torch.float64)


def network() -> nn.Sequential:
    layers = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(36, 3)
    ).double()
    for name, parameter in layers.named_parameters():
        with torch.no_grad():
            parameter.copy_(0.5 * Rng(1, name).normal(parameter.shape, dtype=torch.float64))
    return layers


# --- inputs -------------------------------------------------------------------------------------------------


def test_a_linear_loss_is_a_plane_by_hand() -> None:
    slope = torch.tensor([[3.0, -1.0, 2.0]], dtype=torch.float64)
    x = torch.tensor([[0.2, 0.4, 0.6]], dtype=torch.float64)
    found = input_landscape(
        lambda x: x, x, torch.tensor([0]), Rng(5), radius=0.1, points=3, loss=lambda x, y: (x * slope).sum(1)
    )
    assert found.axis.tolist() == pytest.approx([-0.1, 0.0, 0.1])
    along = found.loss[0, :, 1]
    assert along.tolist() == pytest.approx([1.4 - 0.6, 1.4, 1.4 + 0.6])  # the L1 length of the slope is 6
    across = (float(found.loss[0, 1, 2]) - 1.4) / 0.1
    assert any(across == pytest.approx(a * 3 + b * -1 + c * 2) for a in (1, -1) for b in (1, -1) for c in (1, -1))
    assert float(found.loss[0, 2, 2]) == pytest.approx(1.4 + 0.6 + 0.1 * across)


def test_the_grid_agrees_with_a_naked_loop() -> None:
    model = network().eval()
    x, rng = images(), Rng(2)
    found = input_landscape(model, x, LABEL, rng, radius=0.3, points=3, block=3)
    leaf = x.clone().requires_grad_()
    steepest = torch.autograd.grad(F.cross_entropy(model(leaf), LABEL, reduction="sum"), leaf)[0].sign()
    drawn = Rng(2).for_rows(torch.arange(4)).uniform(x.shape)
    random = (2 * (drawn >= 0.5) - 1).double()
    assert 0.2 < float((random > 0).double().mean()) < 0.8
    for i, a in enumerate((-0.3, 0.0, 0.3)):
        for j, b in enumerate((-0.3, 0.0, 0.3)):
            expected = F.cross_entropy(model(x + a * steepest + b * random), LABEL, reduction="none")
            torch.testing.assert_close(found.loss[:, i, j], expected.detach())
    torch.testing.assert_close(found.mean, found.loss.mean(0))


def test_blocks_and_neighbours_do_not_matter() -> None:
    model, x, rows = network().eval(), images(), torch.tensor([11, 12, 13, 14])
    whole = input_landscape(model, x, LABEL, Rng(0).for_rows(rows), points=3, block=4)
    parts = input_landscape(model, x, LABEL, Rng(0).for_rows(rows), points=3, block=1)
    torch.testing.assert_close(parts.loss, whole.loss)
    alone = input_landscape(model, x[2:3], LABEL[2:3], Rng(0).for_rows(rows[2:3]), points=3)
    torch.testing.assert_close(alone.loss, whole.loss[2:3])


def test_an_input_landscape_leaves_no_trace_and_stays_in_the_range() -> None:
    model = network().eval()
    traces = Traces([model])
    seen: list[Tensor] = []

    def classify(x: Tensor) -> Tensor:
        seen.append(x.detach())
        logits: Tensor = model(x)
        return logits

    input_landscape(classify, images(), LABEL, Rng(0), radius=0.9, points=3, range=(0.0, 1.0))
    assert list(traces.found()) == []
    assert float(torch.stack(seen).min()) == 0.0
    assert float(torch.stack(seen).max()) == 1.0
    with pytest.raises(UsageError, match=r"the loss gave \(\) for 4 images"):
        input_landscape(model, images(), LABEL, Rng(0), loss=F.cross_entropy)
    with pytest.raises(UsageError, match="do not fit 4 rows"):
        input_landscape(model, images(), LABEL[:2], Rng(0))
    with pytest.raises(UsageError, match="bound to 2 rows"):
        input_landscape(model, images(), LABEL, Rng(0).for_rows(torch.arange(2)))
    with pytest.raises(UsageError, match="no filled batch"):
        input_landscape(model, images().long(), LABEL, Rng(0))


# --- weights ------------------------------------------------------------------------------------------------


def loss_of(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return F.cross_entropy(model(images()), LABEL)


def test_every_filter_of_a_direction_is_as_long_as_its_weights() -> None:
    model = network()
    with torch.no_grad():
        model[0].weight[1] = 0.0
    found = filter_normalised(model, Rng(0))
    assert set(found) == {"0.weight", "5.weight"}  # biases and normalisations stay
    for name, direction in found.items():
        weight = dict(model.named_parameters())[name]
        for filter_, own in zip(direction, weight.detach(), strict=True):
            assert math.sqrt(sum(float(v) ** 2 for v in filter_.flatten())) == pytest.approx(float(own.norm()))
    assert float(found["0.weight"][1].abs().max()) == 0.0
    assert not torch.equal(found["5.weight"], filter_normalised(model, Rng(1))["5.weight"])


@pytest.mark.parametrize("directions", [1, 2])
def test_the_weights_move_along_the_directions(directions: int) -> None:
    model = network()
    found = weight_landscape(model, loss_of, Rng(3), radius=0.5, points=3, directions=directions)
    assert found.loss.shape == (3,) * directions
    drawn = [filter_normalised(model, Rng(3).child("direction", number)) for number in range(directions)]
    copy = network().eval()
    for place in [(0,), (2,)] if directions == 1 else [(0, 2), (1, 0), (2, 2)]:
        copy.load_state_dict(model.state_dict())
        with torch.no_grad():
            for name, parameter in copy.named_parameters():
                for step, direction in zip(place, drawn, strict=True):
                    parameter += (step - 1) * 0.5 * direction.get(name, 0.0)
        assert float(found.loss[place]) == pytest.approx(float(loss_of(copy)))
    assert float(found.loss[(1,) * directions]) == float(loss_of(model.eval()))


def test_a_quadratic_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, -3.0)
    found = weight_landscape(model, lambda m: (m(torch.ones(1, 1).double()) ** 2).sum(), Rng(0), points=5)
    assert found.axis.tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert sorted(found.loss.tolist()) == pytest.approx([0.0, 2.25, 9.0, 20.25, 36.0])  # w moves by up to its length
    assert float(found.loss[2]) == 9.0


@pytest.mark.parametrize("fails", [False, True])
def test_a_module_is_what_it_was_also_after_an_exception(fails: bool) -> None:
    model = network()
    model[0].eval()
    loss_of(model)  # moves the running statistics
    before = {
        name: (value, value.clone(), value.data_ptr()) for name, value in model.state_dict(keep_vars=True).items()
    }
    traces, calls = Traces([model], buffers=False), 0

    def rough(module: nn.Module) -> Tensor:
        nonlocal calls
        calls += 1
        assert not any(part.training for part in module.modules())
        module.train()  # as an attack in training mode would
        value = loss_of(module)
        module.eval()
        if fails and calls == 2:
            raise RuntimeError("out of memory")
        return value

    if fails:
        with pytest.raises(RuntimeError, match="out of memory"):
            weight_landscape(model, rough, Rng(0), points=3)
    else:
        generator = torch.get_rng_state()
        weight_landscape(model, rough, Rng(0), points=3)
        torch.set_rng_state(generator)  # dropout drew
    after = model.state_dict(keep_vars=True)
    for name, (value, copy, memory) in before.items():
        assert after[name] is value
        assert after[name].data_ptr() == memory
        assert torch.equal(value, copy), name
    assert [part.training for part in model] == [False, True, True, True, True, True]
    assert not [trace for trace in traces.found() if "generator" not in trace]


def test_landscapes_that_cannot_be_drawn_are_refused() -> None:
    with pytest.raises(UsageError, match="a BatchNorm1d has no parameter of two dimensions"):
        weight_landscape(nn.BatchNorm1d(3), loss_of, Rng(0))
    with pytest.raises(UsageError, match="directions = 3"):
        weight_landscape(network(), loss_of, Rng(0), directions=3)
    with pytest.raises(UsageError, match="radius = 0"):
        weight_landscape(network(), loss_of, Rng(0), radius=0.0)
    with pytest.raises(UsageError, match=r"the loss of a landscape gave \(4, 3\)"):
        weight_landscape(network(), lambda m: m(images()), Rng(0), points=1)


# --- inversion ----------------------------------------------------------------------------------------------


def test_the_features_of_an_invertible_map_bring_the_image_back() -> None:
    x = images()
    found = feature_inversion(lambda x: 2 * x.flatten(1) - 1, x, Rng(0), steps=400, step_size=0.01)
    torch.testing.assert_close(found.images, x, rtol=0, atol=0.01)
    gap = (2 * (found.images - x)).flatten(1).norm(dim=1) / (2 * x.flatten(1) - 1).norm(dim=1)
    torch.testing.assert_close(found.value, gap)
    assert bool((found.value < 0.02).all())


def test_one_step_by_hand() -> None:
    x, start = torch.tensor([[0.5, 0.5]]).double(), torch.tensor([[0.5, 0.9]]).double()
    found = feature_inversion(lambda x: x, x, Rng(0), start=start, steps=1, step_size=0.1)
    assert found.images.tolist() == [pytest.approx([0.5, 0.8])]
    assert found.start.tolist() == pytest.approx([0.4 / 0.5**0.5])
    assert found.value.tolist() == pytest.approx([0.3 / 0.5**0.5])


def test_an_inversion_keeps_the_closest_step_and_leaves_no_trace() -> None:
    model = network().eval()
    traces = Traces([model])
    values = [
        feature_inversion(model, images(), Rng(4), steps=steps, step_size=0.1).value.tolist() for steps in (1, 5, 20)
    ]
    for few, more, most in zip(*values, strict=True):
        assert few >= more >= most
    found = feature_inversion(model, images(), Rng(4), steps=20, step_size=0.1)
    target = model(images())
    gap = (model(found.images) - target).norm(dim=1) / target.norm(dim=1)
    torch.testing.assert_close(found.value, gap.detach())
    assert bool((found.value < found.start).all())
    assert 0.0 <= float(found.images.min()) <= float(found.images.max()) <= 1.0
    assert list(traces.found()) == []


def test_an_image_depends_on_its_row_and_not_on_the_block() -> None:
    model, x, rows = network().eval(), images(), torch.tensor([5, 6, 7, 8])
    whole = feature_inversion(model, x, Rng(0).for_rows(rows), steps=3)
    parts = feature_inversion(model, x, Rng(0).for_rows(rows), steps=3, block=1)
    alone = feature_inversion(model, x[1:2], Rng(0).for_rows(rows[1:2]), steps=3)
    torch.testing.assert_close(parts.images, whole.images)
    torch.testing.assert_close(alone.images, whole.images[1:2])


def test_an_image_that_is_there_already_and_features_of_zeros() -> None:
    x = images()
    found = feature_inversion(network().eval(), x, Rng(0), start=x, steps=3)
    assert torch.equal(found.images, x)
    assert found.value.tolist() == [0.0] * 4
    zeros = feature_inversion(lambda x: x.flatten(1), torch.zeros(1, 2), Rng(0), steps=50, step_size=0.05)
    assert float(zeros.value) == pytest.approx(0.0, abs=0.05)  # the plain distance
    with pytest.raises(UsageError, match="cannot become images"):
        feature_inversion(network(), x, Rng(0), start=x[:2])
    with pytest.raises(UsageError, match="infinite or not a number"):
        feature_inversion(lambda x: x.flatten(1) / 0, x, Rng(0))
    with pytest.raises(UsageError, match="steps = 0"):
        feature_inversion(network(), x, Rng(0), steps=0)


def test_component_maximum_by_hand() -> None:
    weight = torch.tensor([[3.0, -4.0], [0.0, 1.0]]).double()
    seeds = torch.tensor([[0.5, 0.5], [0.1, 0.2]], dtype=torch.float64)
    one = component_maximum(lambda x: x @ weight.T, seeds, 0, steps=1, step_size=0.1)
    assert one.images.flatten().tolist() == pytest.approx([0.56, 0.42, 0.16, 0.12])
    assert one.start.tolist() == pytest.approx([-0.5, -0.5])
    assert one.value.tolist() == pytest.approx([0.0, 0.0])
    each = component_maximum(lambda x: x @ weight.T, seeds, torch.tensor([0, 1]), steps=30, block=1)
    assert each.images[0].tolist() == pytest.approx([1.0, 0.0])
    assert each.value.tolist() == pytest.approx([3.0, 1.0])
    with pytest.raises(UsageError, match="lack component 2"):
        component_maximum(lambda x: x @ weight.T, seeds, 2, steps=1)
    with pytest.raises(UsageError, match="do not fit 2 seeds"):
        component_maximum(lambda x: x @ weight.T, seeds, torch.tensor([0, 1, 0]))
