"""Accuracy over the steps of an attack: does it still fall where the attack ends?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter, ScalarFormatter

from robustcl.evaluate.interval import wilson
from robustcl.report.canvas import DASHES, PALETTE, Drawing, LegendEntry, draw
from robustcl.report.entries import is_number, of, place

Curve = tuple[LegendEntry, tuple[int, ...], tuple[float, ...], int | None]
"""How it looks, the steps, the accuracies, and the number of images."""


def draw_convergence(results: Mapping[str, Any]) -> Drawing | None:
    """Draw accuracy over attack steps with Wilson bands; ``None`` where no curve of two points was measured."""
    curves = _curves(results)
    if not curves:
        return None

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        for key, steps, shares, n in curves:
            if n:
                band = [wilson(round(share * n), n) for share in shares]
                low, high = zip(*band, strict=True)
                ax.fill_between(steps, low, high, color=key.colour, alpha=0.12, linewidth=0)
            dash = tuple(float(part) / 1.6 for part in key.dash.split())
            line = (0, dash) if dash else "-"
            ax.plot(steps, shares, color=key.colour, linestyle=line, marker="o", markersize=4)
        ax.set_xscale("symlog", linthresh=1, linscale=0.3)
        ax.xaxis.set_major_locator(FixedLocator(sorted({step for _, steps, _, _ in curves for step in steps})))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(ScalarFormatter())
        ax.set_ylim(-0.02, 1.02)
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        ax.set_xlabel("steps of the attack")
        ax.set_ylabel("accuracy")

    alt = "Accuracy by steps of the attack: " + "; ".join(
        f"{key.label}: " + ", ".join(f"{100 * a:.1f} % after {s}" for s, a in zip(steps, shares, strict=True))
        for key, steps, shares, _ in curves
    )
    ends = " ".join(_end(*curve) for curve in curves)
    caption = (
        "Accuracy as the attack takes more steps, with the 95 % Wilson interval shaded. It should fall and then lie "
        f"flat: where it still falls at the end, a longer attack would find more. {ends}"
    )
    return Drawing(draw("convergence", alt, (5.0, 3.1), paint), caption, tuple(curve[0] for curve in curves))


def _curves(results: Mapping[str, Any]) -> list[Curve]:
    found: list[Curve] = []
    for entry in of(results, "convergence"):
        pairs = zip(entry.get("steps") or (), entry.get("accuracy") or (), strict=False)
        points = sorted((int(s), float(a)) for s, a in pairs if is_number(s) and is_number(a) and 0 <= a <= 1)
        if len(points) < 2:
            continue
        label = ", ".join(word for word in (place(entry), str(entry.get("attack") or "")) if word)
        key = LegendEntry(label, PALETTE[len(found) % len(PALETTE)], DASHES[len(found) % len(DASHES)])
        n = entry.get("n")
        steps, shares = zip(*points, strict=True)
        found.append((key, steps, shares, n if isinstance(n, int) and n > 0 else None))
    return found


def _end(key: LegendEntry, steps: tuple[int, ...], shares: tuple[float, ...], n: int | None) -> str:
    fall = 100 * (shares[-2] - shares[-1])
    moved = f"falls by {fall:.2f} points" if fall > 0 else f"rises by {-fall:.2f} points" if fall < 0 else "stays"
    return f"{key.label}: from {steps[-2]} to {steps[-1]} steps it {moved}{f' (n = {n})' if n else ''}."
