"""Which protocol a number was measured by: its version, and a hash of everything it was set to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from robustcl import hooks
from robustcl.hooks import ProtocolHooks
from robustcl.nn.encoder import options_of

JUDGED = "judged"
"""The route that a protocol's stages are asked for when they are hashed: which one is judged is another question."""


class Identity(NamedTuple):
    """Numbers of one column should agree in both."""

    version: str
    """The protocol's own name for what it does, "slf-v1"; its author changes it when it does something else."""
    hash: str
    """12 hexadecimal digits: of the version, all options, and the stages with every default filled in.

    An option that came after the version counts where it is given.
    """


def make_identity(name: str, plugin: object, stages: Sequence[Mapping[str, Any]]) -> Identity:
    """Return a protocol's version and hash; the order of a table's keys does not matter.

    Args:
        name: the registered name, from which a plugin without a ``version`` gets "name-v0".
        plugin: the protocol.
        stages: its stage tables for the route ``JUDGED``, as JSON can hold them.
    """
    own = hooks.of(plugin, ProtocolHooks)
    version = str(own.version or f"{name}-v0")
    options = {key: value for key, value in options_of(plugin).items() if key not in own.later or value is not None}
    whole = {"version": version, "options": options, "stages": list(stages)}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return Identity(version, hashlib.sha256(text.encode()).hexdigest()[:12])
