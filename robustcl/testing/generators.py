"""What every perturbation generator must satisfy, beside the checks common to all kinds."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from robustcl import hooks
from robustcl.errors import NeedNotMet, UsageError
from robustcl.hooks import GeneratorHooks
from robustcl.testing.builders import TinyEncoder, make_attack, make_images
from robustcl.testing.streams import another_key_draws_other_numbers
from robustcl.testing.subject import Check, PluginSubject, Skip, global_rng_untouched
from robustcl.threat import Ball

EPS = {"Linf": 8 / 255, "L2": 0.5, "L1": 2.0}
_ROWS = 5


def stays_in_the_ball(subject: PluginSubject) -> None:
    """In each norm it takes: x's shape and dtype, finite, detached, within the ball and the range."""
    plugin, x = subject.make(), make_images(_ROWS)
    refused = []
    for norm, eps in EPS.items():
        ball = Ball(norm, eps)
        try:
            adv = _perturb(plugin, x, ball=ball)
        except Skip:
            refused.append(norm)
            continue
        assert adv.shape == x.shape, f"{norm}: the shape {tuple(x.shape)} became {tuple(adv.shape)}"
        assert adv.dtype == x.dtype, f"{norm}: the dtype {x.dtype} became {adv.dtype}"
        assert not adv.requires_grad, f"{norm}: the result is not detached"
        assert bool(adv.isfinite().all()), f"{norm}: the result is not finite"
        away = ball.distance(adv, x)
        assert bool(ball.contains(adv, x).all()), f"{norm}: rows {away.tolist()} away, with eps {eps:g}"
    assert len(refused) < len(EPS), "takes no norm at all"


def a_ball_of_radius_zero_moves_nothing(subject: PluginSubject) -> None:
    """With eps 0 the result is x."""
    x = make_images(_ROWS)
    adv = _perturb(subject.make(), x, ball=Ball("Linf", 0.0))
    assert torch.allclose(adv, x, rtol=0, atol=1e-6), f"moved by {float((adv - x).abs().max()):g} with eps 0"


def takes_a_radius_per_row(subject: PluginSubject) -> None:
    """``ball.eps`` may be (R,); a row of radius 0 stays."""
    x, eps = make_images(_ROWS), torch.linspace(0.0, 8 / 255, _ROWS)
    ball = Ball("Linf", eps)
    adv = _perturb(subject.make(), x, ball=ball)
    assert bool(ball.contains(adv, x).all()), "left the ball of some row"
    assert torch.allclose(adv[0], x[0], rtol=0, atol=1e-6), "moved the row whose radius is 0"


def takes_items_of_any_shape(subject: PluginSubject) -> None:
    """Works for images (C,H,W) and for clips (C,T,H,W)."""
    plugin = subject.make()
    for item in ((3, 5, 4), (2, 3, 4, 4)):
        x = make_images(3, item)
        adv = _perturb(plugin, x)
        assert adv.shape == x.shape, f"items {item}: the shape became {tuple(adv.shape)}"
        assert bool(Ball("Linf", EPS["Linf"]).contains(adv, x).all()), f"items {item}: left the ball"


def rows_are_independent(subject: PluginSubject) -> None:
    """Under a separable objective, ``attack.take(rows)`` gives what the whole batch gave for these rows."""
    plugin, x, rows = subject.make(), make_images(_ROWS), torch.tensor([3, 0])
    attack = make_attack(x, subject.needs(plugin), constants=_constants(plugin))
    whole = plugin.perturb(x, attack)
    part = plugin.perturb(x[rows], make_attack(x, subject.needs(plugin), constants=_constants(plugin)).take(rows))
    assert torch.allclose(whole[rows], part, rtol=0, atol=1e-5), "a row's result depends on the other rows"


def repeats_itself(subject: PluginSubject) -> None:
    """The same inputs and the same random stream give the same result, and x is left as it was."""
    plugin, x = subject.make(), make_images(_ROWS)
    first, second = _perturb(plugin, x), _perturb(plugin, x)
    assert torch.equal(first, second), "two calls with the same random stream differ"
    assert torch.equal(x, make_images(_ROWS)), "x was changed in place"


def draws_from_the_stream_it_is_given(subject: PluginSubject) -> None:
    """Another stream gives other random numbers, and none of them serves twice: not in two restarts, nor in two rows.

    Options ``restarts`` and ``queries`` are set to 3 and 20 where it has them; no row is ever fooled.
    """
    given = {name: value for name, value in (("restarts", 3), ("queries", 20)) if name in subject.options()}
    plugin, x = subject.make(**given), make_images(_ROWS)
    label = TinyEncoder()(x).logits.argmax(dim=1)
    attack = make_attack(x, subject.needs(plugin), constants=_constants(plugin), label=label)
    standing = attack.but(fooled=lambda embedding, places: torch.zeros(len(places), dtype=torch.bool))
    another_key_draws_other_numbers(lambda rng: partial(plugin.perturb, x, standing.but(rng=rng)), torch.arange(_ROWS))


def needs_only_what_it_declares(subject: PluginSubject) -> None:
    """An attack that holds only the declared needs is enough."""
    plugin, x = subject.make(), make_images(_ROWS)
    try:
        plugin.perturb(x, make_attack(x, subject.needs(plugin), constants=_constants(plugin)))
    except NeedNotMet as error:
        raise AssertionError(f"reads what it does not declare: {error}") from error


def leaves_no_trace(subject: PluginSubject) -> None:
    """Parameters, their ``.grad``, buffers, training flags and the global random state stay as they were."""
    plugin, x, encoder = subject.make(), make_images(_ROWS), TinyEncoder()
    encoder.projector.train()
    before = _state(encoder)
    with global_rng_untouched():
        plugin.perturb(x, make_attack(x, subject.needs(plugin), constants=_constants(plugin), encoder=encoder))
    after = _state(encoder)
    assert all(p.grad is None for p in encoder.parameters()), "left gradients on the encoder's parameters"
    assert before["flags"] == after["flags"], "left the encoder in another mode"
    assert all(torch.equal(a, b) for a, b in zip(before["tensors"], after["tensors"], strict=True)), (
        "changed the encoder's parameters or buffers"
    )


CHECKS: tuple[Check, ...] = (
    stays_in_the_ball,
    a_ball_of_radius_zero_moves_nothing,
    takes_a_radius_per_row,
    takes_items_of_any_shape,
    rows_are_independent,
    repeats_itself,
    draws_from_the_stream_it_is_given,
    needs_only_what_it_declares,
    leaves_no_trace,
)


def _perturb(plugin: Any, x: Tensor, *, ball: Ball | None = None) -> Tensor:
    """Perturb x; a ``UsageError`` says that the generator does not take this ball, which is its right."""
    ball = Ball("Linf", EPS["Linf"]) if ball is None else ball
    try:
        adv: Tensor = plugin.perturb(x, make_attack(x, plugin.needs, constants=_constants(plugin), ball=ball))
    except NeedNotMet:
        raise
    except UsageError as error:
        raise Skip(str(error)) from error
    return adv


def _constants(plugin: Any) -> tuple[str, ...]:
    """Return the constants that the plugin reads by name."""
    return hooks.of(plugin, GeneratorHooks).constants


def _state(module: nn.Module) -> dict[str, list[Any]]:
    tensors = [value.detach().clone() for value in module.state_dict().values()]
    return {"tensors": tensors, "flags": [part.training for part in module.modules()]}
