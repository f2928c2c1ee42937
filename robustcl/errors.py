"""What can go wrong, as sentences: every error says what, which value, where, and what to do.

The command line prints the message alone and leaves with ``exit_code``; a traceback is for our own mistakes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RobustclError(Exception):
    """Base of every error raised on purpose; the run failed (exit code 1)."""

    exit_code = 1


class UsageError(RobustclError):
    """The user's mistake: bad flag, recipe, file or composition (exit code 2)."""

    exit_code = 2


class NeedNotMet(UsageError):
    """A plugin asks for something that this composition does not provide."""


class UnknownPlugin(UsageError):
    """No installed distribution registers a plugin of this name."""


class AmbiguousPlugin(UsageError):
    """Two distributions register the same name; ``distribution/name`` selects one."""


class BrokenPlugin(UsageError):
    """The plugin is registered but cannot be imported."""


class NotAPlugin(UsageError):
    """The registered object lacks a member that its kind requires."""


class NotOffered(UsageError, AttributeError):
    """A method of another library that is called otherwise here; ``hasattr`` says no, as of any that is not there."""


class OptionError(UsageError):
    """An option is unknown, missing, of the wrong type, or out of bounds."""


class NotMeasured(UsageError):
    """A recipe has no such evaluation, stage or number; a row of a study then has an empty cell."""


class DataError(UsageError):
    """A data file is missing, truncated, of the wrong shape, or out of range."""


class WeightsError(UsageError):
    """A weights file is not safetensors, damaged, or of another encoder."""


class CheckpointError(UsageError):
    """A training state is damaged or belongs to another recipe."""


class DiskError(RobustclError):
    """The disk is full, read-only, forbidden or broken; what was there before stays (exit code 1)."""

    def __init__(self, sentence: str, number: int | None = None) -> None:
        super().__init__(sentence)
        self.number = number
        """The system's ``errno``."""


class ProcessLost(RobustclError):
    """A process that the run needs has died: one that reads images, or one of several that train (exit code 1)."""


class Contradiction(RobustclError):
    """Two records of one run say different things, such as results.json and the journal (exit code 1)."""


class ProofFailed(RobustclError):
    """What should prove a number does not: a witness, a model, data, or a file that was changed (exit code 3)."""

    exit_code = 3


class PluginMisbehaved(RobustclError):
    """A plugin broke a promise of its kind: shape, ball, range, finiteness, or it left traces."""


class NonFiniteLoss(RobustclError):
    """A term became infinite or not a number; the last good checkpoint is kept."""


class Interrupted(RobustclError):
    """Stopped by Ctrl-C, SIGTERM, SIGHUP or SIGUSR1; the run can be resumed."""

    exit_code = 130


_LONGEST = 300
"""Characters of a stranger's error that are passed on."""


def words(error: BaseException) -> str:
    """Return the class of somebody else's error and what it says, in one line; of a traceback in it the last one."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = " ".join(lines[-1:] if any("Traceback" in line for line in lines) else lines)
    return f"{type(error).__name__}: {said[:_LONGEST]}" if said else type(error).__name__


def near(word: object, known: Iterable[str]) -> str:
    """Return ``, did you mean 'x'?`` for a misspelt word, or nothing."""
    found = difflib.get_close_matches(str(word), list(known), n=1)
    return f", did you mean {found[0]!r}?" if found else ""
