"""An encoder as the rest of the world calls a classifier: images in, logits out."""

from __future__ import annotations

from torch import Tensor, nn

from robustcl.errors import UsageError, near
from robustcl.nn.encoder import Encoder


class Logits(nn.Module):
    """Images (R, *item) in [0, 1] -> logits (R, L) of an encoder through one of its batch-norm routes.

    route: by default the only one there is.
    Raises ``UsageError`` for an encoder without a classifier, a route that it lacks, or several routes and no choice.
    """

    def __init__(self, encoder: Encoder, route: str | None = None) -> None:
        super().__init__()
        self.training = encoder.training
        if not encoder.classes:
            raise UsageError("the encoder has no classifier: judge it by a protocol first, which trains one")
        known = ", ".join(encoder.routes)
        if route is None and len(encoder.routes) > 1:
            raise UsageError(f"the encoder has the batch-norm routes {known}: choose one of them")
        if route is not None and route not in encoder.routes:
            raise UsageError(f"the encoder has no route {route!r}{near(route, encoder.routes)}; it has {known}")
        self.encoder = encoder
        self.route = encoder.routes[0] if route is None else route

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.encoder(x, self.route, frozenset({"logits"})).logits
        return logits
