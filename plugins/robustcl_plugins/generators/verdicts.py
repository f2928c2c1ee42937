"""What an attack without gradients asks of each candidate: does it fool the model?"""

from __future__ import annotations

from torch import Tensor

from robustcl.types import Attack, Embedding


def claimed(embedding: Embedding, attack: Attack) -> Tensor:
    """Say which rows fool the model, (R,) bool: the attack's verdict, or else a label whose logit is not the largest.

    The logits may be of less than single precision: ask ``search.confirm`` before a row is left alone for good.
    """
    if attack.has("fooled"):
        return attack.fooled(embedding)
    logits = embedding.logits.float()
    return logits.gather(1, attack.label[:, None])[:, 0] < logits.amax(1)
