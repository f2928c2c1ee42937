"""Attacks that look through a view made of what the generator writes, and terms that read gradients of inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from robustcl import api, promises, registry
from robustcl.data.draw import ViewSpec
from robustcl.errors import NeedNotMet, PluginMisbehaved, UsageError
from robustcl.protocols import Need
from robustcl.rng import Rng
from robustcl.train.derived import line_of, looked_through, resting_on
from robustcl.types import Attack, Scene
from tests.shared.one_step import Seen, step_of

NONE: frozenset[Need] = frozenset()
PGD = {"use": "pgd", "steps": 1, "step_size": "4/255", "start": "none", "mode": "eval"}


class Dimmed:
    """Half the image, pixels weighted at random; the target is the sum of the weights."""

    needs = NONE
    citation = "no source"
    makes_target = True

    def draw(self, x: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        weight = rng.uniform(x.shape, 0.0, 0.5, dtype=x.dtype)
        return x * weight, weight.flatten(1).sum(1)


class Rounded:
    """Black or white."""

    needs = NONE
    citation = "no source"

    def draw(self, x: Tensor, rng: Rng) -> Tensor:
        return x.round() * 0.5 + 0.25


class Height:
    """The first feature of each view, times its target where it has one."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.FEATURES})
    citation = "no source"
    views = ("*",)
    terms = ("height",)
    separable = True

    def per_sample(self, scene: Scene) -> Mapping[str, Tensor]:
        target = scene.batch.target
        return {"height": torch.stack([e.h[:, 0] * target.get(n, 1.0) for n, e in scene.views.items()]).sum(0)}


class Comparing:
    """Moves nothing; checks what the attack says of the unperturbed inputs, whole and in part."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.OBJECTIVE})
    citation = "no source"
    compared: ClassVar[int] = 0

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        whole = attack.encode(x)
        torch.testing.assert_close(attack.clean().h, whole.h)
        some = torch.tensor([5, 1])
        part = attack.take(some)
        torch.testing.assert_close(part.encode(x[some]).h, whole.h[some])
        torch.testing.assert_close(part.objective(part.encode(x[some])), attack.objective(whole)[some])
        Comparing.compared += 1
        return x.clone()


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    with (
        registry.local("view", "dimmed", Dimmed),
        registry.local("view", "rounded", Rounded),
        registry.local("objective", "height", Height),
        registry.local("generator", "comparing", Comparing),
    ):
        yield


def composed(**stage: Any) -> api.Composition:
    """Compose one stage: views w and d_adv, which is made of w_adv, which pgd makes of w."""
    table = {
        "name": "it",
        "epochs": 1,
        "mode": "eval",
        "views": {"w": "weak", "d_adv": {"use": "dimmed", "of": "w_adv"}},
        "generator": {"w_adv": PGD | {"reads": ["w"]}},
        "term": {"it": {"use": "height", "views": ["d_adv"]}},
        "optimizer": {"use": "sgd", "lr": 0.1},
    } | stage
    encoder = {"use": "resnet-small", "width": 2, "projector": {"widths": [4]}}
    tables = {"name": "derived", "data": {"use": "digits", "batch": 64}, "encoder": encoder, "stage": [table]}
    return api.from_tables(tables, "the test")


def step(**stage: Any) -> Seen:
    return step_of(composed(**stage))


def refused(**stage: Any) -> str:
    with pytest.raises((UsageError, NeedNotMet)) as caught:
        composed(**stage)
    return str(caught.value)


def features(seen: Seen, x: Tensor, route: str = "clean") -> Tensor:
    return seen.run.encoders.embed(x, "online", route, frozenset({"h"}), "eval").h


def weight_of(seen: Seen, name: str) -> Tensor:
    """Return the weights that the view ``dimmed`` of this name draws in this step."""
    stream = Rng(0, "step").child("view", name, 0).for_rows(seen.batch.index)
    return stream.uniform(seen.batch.views[name].shape, 0.0, 0.5, dtype=torch.float64)


def stepped(x: Tensor, loss: Tensor, leaf: Tensor) -> Tensor:
    return (x + 4 / 255 * torch.autograd.grad(loss, leaf, retain_graph=True)[0].sign()).clamp(0, 1)


def test_views_are_followed_to_what_they_are_made_of() -> None:
    of = {"w": None, "d": "w_adv", "dd": "d", "e": "w_adv", "x": "y", "y": "x"}
    assert line_of(of, "dd") == ["dd", "d", "w_adv"]
    assert line_of(of, "x") == ["x", "y"]  # a circle ends; composing refuses it
    assert looked_through(of, ["w_adv", "v_adv"], ["w", "dd"]) == {"w_adv": "dd", "v_adv": "v_adv"}
    assert looked_through(of, ["w_adv"], ["w", "w_adv", "w_adv"]) == {"w_adv": "w_adv"}
    with pytest.raises(ValueError, match="d and e, all of 'w_adv'"):
        looked_through(of, ["w_adv"], ["d", "e"])
    specs = {name: ViewSpec(Dimmed(), source) for name, source in of.items()}
    assert list(resting_on(specs, ["w_adv"])) == ["d", "dd", "e"]
    assert list(resting_on(specs, ["d"])) == ["dd"]


def test_an_attack_climbs_through_the_very_view_that_is_trained_on() -> None:
    seen = step()
    views, weight = seen.batch.views, weight_of(seen, "d_adv")
    leaf = views["w"].clone().requires_grad_()
    loss = (features(seen, leaf * weight)[:, 0] * weight.flatten(1).sum(1)).sum()
    torch.testing.assert_close(views["w_adv"], stepped(views["w"], loss, leaf), rtol=0, atol=1e-12)
    assert (views["w_adv"] != views["w"]).any()
    torch.testing.assert_close(views["d_adv"], views["w_adv"] * weight)
    torch.testing.assert_close(seen.batch.target["d_adv"], weight.flatten(1).sum(1))


def test_views_of_views_and_losses_that_are_no_terms() -> None:
    seen = step(
        views={"w": "weak", "d": {"use": "dimmed", "of": "w_adv"}, "dd": {"use": "dimmed", "of": "d"}},
        generator={"w_adv": PGD | {"reads": ["w"], "maximise": {"use": "height", "views": ["dd"]}}},
        term={"it": {"use": "height", "views": ["d"]}, "other": {"use": "height", "views": ["dd"]}},
    )
    leaf, once, twice = seen.batch.views["w"].clone().requires_grad_(), weight_of(seen, "d"), weight_of(seen, "dd")
    loss = (features(seen, leaf * once * twice)[:, 0] * twice.flatten(1).sum(1)).sum()
    adversarial = seen.batch.views["w_adv"]
    torch.testing.assert_close(adversarial, stepped(seen.batch.views["w"], loss, leaf), rtol=0, atol=1e-12)


@pytest.mark.parametrize("route", ["clean", "adv"])
def test_joint_blocks_are_seen_each_in_its_own_way(route: str) -> None:
    seen = step(
        views={"a": "weak", "b": "weak", "d": {"use": "dimmed", "of": "b_adv"}},
        generator={"pair": PGD | {"reads": ["a", "b"], "writes": ["a_adv", "b_adv"]}},
        routes={"d": route},
        term={"it": {"use": "height", "views": ["a_adv", "d"]}},
    )
    views, weight = seen.batch.views, weight_of(seen, "d")
    a, b = (views[name].clone().requires_grad_() for name in "ab")
    loss = (features(seen, a)[:, 0] + features(seen, b * weight, route)[:, 0] * weight.flatten(1).sum(1)).sum()
    torch.testing.assert_close(views["a_adv"], stepped(views["a"], loss, a), rtol=0, atol=1e-12)
    torch.testing.assert_close(views["b_adv"], stepped(views["b"], loss, b), rtol=0, atol=1e-12)


def test_what_an_attack_says_of_unperturbed_inputs_and_of_some_rows() -> None:
    before = Comparing.compared
    step(generator={"w_adv": {"use": "comparing", "reads": ["w"]}})
    assert Comparing.compared == before + 1, "its assertions were reached"


def test_blocks_of_different_shapes_need_generators_of_their_own() -> None:
    composition = composed(
        views={"a": "weak", "b": "weak", "p": {"use": "patches", "of": "b_adv"}},
        generator={"pair": PGD | {"reads": ["a", "b"], "writes": ["a_adv", "b_adv"]}},
        term={"it": {"use": "height", "views": ["a_adv", "p"]}},
    )
    said = r"'pair' writes views that are seen in different shapes, \(1, 8, 8\) and \(16, 1, 2, 2\): give each a gen"
    with pytest.raises(UsageError, match=said):
        step_of(composition)


def test_a_view_that_lets_no_gradient_through_is_found_out() -> None:
    x = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)

    class Cut(Dimmed):
        def draw(self, x: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
            return x.detach().clone(), torch.zeros(len(x))

    rng = Rng(0, "view").for_rows(torch.arange(3))
    with pytest.raises(PluginMisbehaved, match="the view 'c' must be differentiable where a gradient is asked"):
        promises.draw(Cut(), "c", x, rng, graph=True)
    assert not promises.draw(Cut(), "c", x, rng)[0].requires_grad
    with torch.no_grad():
        assert not promises.draw(Dimmed(), "d", x, rng, graph=True)[0].requires_grad


def test_pixels_on_the_border_of_the_range_keep_their_gradient() -> None:
    class Same(Rounded):
        def draw(self, x: Tensor, rng: Rng) -> Tensor:
            return 2 * x

    x = torch.tensor([[0.0, 0.25, 0.5, 0.75]], requires_grad=True)
    seen, _ = promises.draw(Same(), "s", x, Rng(0), graph=True)
    assert seen.tolist() == [[0.0, 0.5, 1.0, 1.0]]
    assert torch.autograd.grad(seen.sum(), x)[0].tolist() == [[2.0, 2.0, 2.0, 0.0]]


def test_composing_refuses_what_an_attack_cannot_look_through() -> None:
    both = {"it": {"use": "height", "views": ["w_adv", "d_adv"]}}
    assert refused(term=both) == (
        "stage.it.generator.w_adv.maximise: it reads w_adv and d_adv, all of 'w_adv', but an attack looks at it in one "
        "way only; bind one of them to a term of its own"
    )
    own = {"w_adv": PGD | {"reads": ["w"], "maximise": {"use": "height", "views": ["w_adv", "d_adv"]}}}
    assert "reads w_adv and d_adv, all of 'w_adv'" in refused(generator=own, term=both)
    two = {"w": "weak", "d1": {"use": "dimmed", "of": "w_adv"}, "d2": {"use": "dimmed", "of": "w_adv"}}
    assert "reads d1 and d2, all of 'w_adv'" in refused(
        views=two, term={"it": {"use": "height", "views": ["d1", "d2"]}}
    )
    later = {"w_adv": PGD | {"reads": ["w"]}, "v_adv": PGD | {"reads": ["w"], "maximise": "it"}}
    mixed = {"it": {"use": "height", "views": ["d_adv", "v_adv"]}, "other": {"use": "height", "views": ["w_adv"]}}
    later["w_adv"] |= {"maximise": "other"}
    assert "it reads 'd_adv', which is made only after this attack" in refused(generator=later, term=mixed)


def test_terms_of_values_come_after_others_and_are_never_maximised() -> None:
    volume = {"use": "gradient-diversity", "views": ["w", "w_adv"]}
    first = {"use": "height", "views": ["w_adv", "w"]}
    plain = {"views": {"w": "weak"}, "differentiable": ["w", "w_adv"]}
    assert "gradient-diversity needs the values of the stage's earlier terms, and none stands before it" in refused(
        **plain, term={"volume": volume, "first": first}
    )
    named = {"w_adv": PGD | {"reads": ["w"], "maximise": "volume"}}
    assert "volume reads the values of other terms, which do not exist during an attack" in refused(
        **plain, generator=named, term={"first": first, "volume": volume}
    )
    seen = step(**plain, term={"first": first, "volume": volume})
    maximised = seen.run.plan.generators[0].maximise
    assert maximised is not None
    assert maximised.name == "first"
    assert list(seen.scenes["volume"].values) == ["first/height"]


def test_gradients_reach_a_leaf_through_what_is_made_of_it() -> None:
    seen = step(
        views={
            "w": "weak",
            "d": {"use": "dimmed", "of": "w"},
            "d_adv": {"use": "dimmed", "of": "w_adv"},
            "dd_adv": {"use": "dimmed", "of": "d_adv"},
        },
        term={"it": {"use": "height", "views": ["d", "dd_adv"]}},
        differentiable=["w", "w_adv"],
    )
    views = seen.batch.views
    assert views["w"].is_leaf
    assert views["w_adv"].is_leaf
    h = seen.scenes["it"].views
    twice = weight_of(seen, "d_adv") * weight_of(seen, "dd_adv")
    for leaf, name, weight in (("w", "d", weight_of(seen, "d")), ("w_adv", "dd_adv", twice)):
        found = torch.autograd.grad(h[name].h[:, 0].sum(), views[leaf], retain_graph=True)[0]
        copy = views[leaf].detach().clone().requires_grad_()
        expected = torch.autograd.grad(features(seen, copy * weight)[:, 0].sum(), copy)[0]
        torch.testing.assert_close(found, expected)
