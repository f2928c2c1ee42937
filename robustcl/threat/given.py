"""The ball that a recipe, a flag or an argument names."""

from __future__ import annotations

from robustcl.errors import UsageError
from robustcl.threat.ball import Ball, parse_norm


def ball_of(norm: str, eps: str | float, where: str) -> Ball:
    """Return a threat's ball; ``where`` is its place in errors. A ball without room holds no threat."""
    try:
        norm = parse_norm(norm)
    except UsageError as error:  # beside the flag --eps it is another flag that is wrong
        raise UsageError(f"{'--norm' if where == '--eps' else where}: {error}") from None
    try:
        ball = Ball.checked(norm, eps)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    if ball.eps == 0:
        raise UsageError(f"{where}: an eps of 0 leaves nothing to attack; clean accuracy is judged in any case")
    return ball
