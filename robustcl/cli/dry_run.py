"""What ``--dry-run`` prints: a composition in words, and what it will cost."""

from __future__ import annotations

import click

from robustcl.api import Composition
from robustcl.cost import estimate
from robustcl.cost.judging import FEW, AttackCounts, add_judging
from robustcl.cost.network import Networks
from robustcl.cost.words import tell
from robustcl.errors import RobustclError, words
from robustcl.terminal import printable


def show(composition: Composition, *, device: str, precision: str, timed: bool) -> None:
    """Print a composition and what it will cost, with hours by a few steps where these are asked for."""
    click.echo(composition.explain())
    click.echo("")
    click.echo(printable(_cost(composition, device, precision, timed)))


def _cost(composition: Composition, device: str, precision: str, timed: bool) -> str:
    try:
        networks = Networks()
        cost = estimate(composition, networks)
        judged = AttackCounts(None if timed else FEW).count(composition, cost.sizes)
        whole = add_judging(cost, composition, judged, networks)
    except Exception as error:  # a stranger's part on noise: the composition stands, whatever it says to that
        said = str(error) if isinstance(error, RobustclError) else words(error)
        return f"cost      unknown: a step on noise fails: {said}"
    if not timed:
        return tell(whole, device, None, judged)
    from robustcl.cost.timing import time_judging, time_stages  # loads what trains

    hours = time_stages(composition, cost, device, precision)
    hours |= time_judging(composition, cost, judged, device, precision)
    return tell(whole, device, hours, judged)
