"""A heartbeat through the store by which ranks have met: who falls silent is lost, on whichever machine it was.

Rank 0 hears all, and all hear rank 0: a word of each rank in each beat, not of each pair. Silence is measured by the
listener's own clock, so that clocks of machines need not agree.
"""

from __future__ import annotations

import itertools
import os
import threading
import time

from robustcl import ranks

BEAT = 2.0
"""Seconds between two beats."""

SILENCE = 30.0
"""Seconds without a beat after which a rank is lost: far longer than a library holds Python's lock."""

_numbers = itertools.count()
"""One for each common work of this process; all ranks count alike."""


class Heartbeat:
    """Beats from now on, in a thread and by a connection of its own, until it is stopped."""

    def __init__(self) -> None:
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # the store of torchrun outlives it
        self._rank, self._key = ranks.rank(), f"robustcl/{attempt}/{next(_numbers)}"
        self._others = range(1, ranks.world()) if self._rank == 0 else range(1)
        now = time.monotonic()
        self._heard = dict.fromkeys((*self._others, self._rank), now)
        self._told = False
        self._stopped = threading.Event()
        threading.Thread(target=self._work, daemon=True).start()

    @property
    def lost(self) -> bool:
        """Whether a rank has fallen silent, or the store itself, which ends with rank 0 or with its machine."""
        return self._told or time.monotonic() - min(self._heard.values()) > SILENCE

    def stop(self) -> None:
        """Beat no more."""
        self._stopped.set()

    def _work(self) -> None:
        last: dict[int, int] = {}
        try:
            store = ranks.connect(SILENCE / 2)
            while not self._stopped.wait(BEAT):
                store.add(f"{self._key}/{self._rank}", 1)
                for other in self._others:
                    beat = store.add(f"{self._key}/{other}", 0)
                    if last.get(other) != beat:
                        last[other], self._heard[other] = beat, time.monotonic()
                self._told = store.add(f"{self._key}/lost", int(self.lost)) > 0
                self._heard[self._rank] = time.monotonic()
        except RuntimeError:  # the store is gone
            self._told = True
