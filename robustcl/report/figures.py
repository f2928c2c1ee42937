"""Curves as inline SVG: training, silhouette, security. Every name stands in the page's own legend."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from robustcl.evaluate.interval import wilson
from robustcl.report.canvas import DASHES, INK, MUTED, PALETTE, Drawing, LegendEntry, draw

POINTS = 300
"""Curves with more steps than this are averaged over equal stretches of steps."""


def draw_training(stage: str, place: int, lines: Sequence[Mapping[str, Any]]) -> Drawing | None:
    """Draw a stage's terms, total loss, validation and learning rate; ``None`` where no loss was logged."""
    terms = [key for key in _keys(lines) if key.startswith("term/")]
    losses = terms + (["loss"] if _has(lines, "loss") and not _alone(lines, terms) else [])
    if not losses:
        return None
    axis = "epoch" if _has(lines, "epoch") else "step"
    checks = [key for key in _keys(lines) if key.startswith("val/")]
    panels = [losses, *([checks] if checks else []), *([["lr"]] if _has(lines, "lr") else [])]
    names = [key for keys in panels[: 2 if checks else 1] for key in keys]
    legend = {
        key: LegendEntry(_label(key), PALETTE[i % len(PALETTE)], DASHES[i // len(PALETTE) % 4])
        for i, key in enumerate(names)
    }
    legend |= {"loss": LegendEntry("total loss", INK, DASHES[1])} if "loss" in losses else {}
    titles = ["loss", *(["validation"] if checks else []), "learning rate"]

    def paint(figure: Figure) -> None:
        heights = [3.0] + [1.3] * (len(panels) - 1)
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})
        for ax, keys, title in zip(axes[:, 0], panels, titles, strict=False):
            for key in keys:
                style = legend.get(key, LegendEntry(key, MUTED))
                _line(ax, *_series(lines, axis, key), style)
            ax.set_ylabel(title)
            ax.margins(x=0.02, y=0.12)
            ax.yaxis.set_major_locator(MaxNLocator(4 if keys is losses else 3))
            if keys is checks:
                ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes[-1, 0].set_xlabel(axis)

    count = max(sum(_real(line.get(key)) for line in lines) for key in losses)
    curves = {key: _series(lines, axis, key)[1] for key in losses}
    ends = (f"{_label(key)} from {y[0]:.3g} to {y[-1]:.3g}" for key, y in curves.items() if len(y))
    alt = f"Training curves of stage {stage} over {count} logged steps: {', '.join(ends)}"
    thinned = f" Each point is the mean of {math.ceil(count / POINTS)} logged steps." if count > POINTS else ""
    below = " and ".join([*(["validation"] if checks else []), *(["learning rate"] if _has(lines, "lr") else [])])
    caption = f"Stage {stage}: loss by term" + (f"; {below} below." if below else ".") + thinned
    svg = draw(f"training-{place}", alt, (5.0, 2.4 + 0.85 * (len(panels) - 1)), paint)
    return Drawing(svg, caption, tuple(legend.values()))


def draw_silhouette(entry: Mapping[str, Any], place: int) -> Drawing | None:
    """Draw the mean silhouette over the numbers of clusters, with the chosen one marked."""
    pairs = [(k, s) for k, s in zip(entry.get("grid") or (), entry.get("score") or (), strict=False) if s is not None]
    if not pairs:
        return None
    grid, score = zip(*sorted(pairs), strict=True)
    chosen = entry.get("chosen")

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        ax.plot(grid, score, marker="o", markersize=4, color=PALETTE[0])
        if chosen is not None and chosen in grid:
            ax.axvline(chosen, color=PALETTE[1], linewidth=1.1, linestyle=(0, (4, 3)))
            ax.plot([chosen], [score[grid.index(chosen)]], marker="o", markersize=8, color=PALETTE[1])
        ax.set_xlabel("number of clusters K")
        ax.set_ylabel("mean silhouette")
        ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        ax.margins(y=0.2)

    stage = entry.get("stage", "")
    alt = f"Mean silhouette of stage {stage} by number of clusters: " + ", ".join(
        f"K = {k}: {s:.3f}" for k, s in zip(grid, score, strict=True)
    )
    svg = draw(f"silhouette-{place}", f"{alt}; chosen K = {chosen}", (5.0, 2.6), paint)
    key = LegendEntry(f"chosen, K = {chosen}", PALETTE[1], mark="dot")
    return Drawing(
        svg,
        f"Stage {stage}: mean silhouette of the clusters on a scale from -1 to 1; K = {chosen} was chosen.",
        (key,),
    )


def draw_security(curves: Iterable[Mapping[str, Any]], eps: float | None, chance: float | None) -> Drawing | None:
    """Draw accuracy over the budget with Wilson bands, the threat's ``eps``, and what guessing gives."""
    series = [c for c in curves if c.get("eps") and len(c["eps"]) == len(c.get("accuracy") or ())]
    if not series:
        return None
    several = len({c.get("attack") for c in series}) > 1
    legend = []

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        for place, curve in enumerate(series):
            points = sorted((e, a) for e, a in zip(curve["eps"], curve["accuracy"], strict=True) if a is not None)
            x, y = np.array([p[0] for p in points]), np.array([p[1] for p in points])
            key = LegendEntry(_curve(curve, several), PALETTE[place % len(PALETTE)], DASHES[place % len(DASHES)])
            legend.append(key)
            if curve.get("n"):
                band = [wilson(round(float(a) * curve["n"]), curve["n"]) for a in y]
                ax.fill_between(
                    x, [b[0] for b in band], [b[1] for b in band], color=key.colour, alpha=0.12, linewidth=0
                )
            _line(ax, x, y, key, marker="o")
        if chance is not None:
            ax.axhline(chance, color=MUTED, linewidth=1.0, linestyle=(0, (1, 2)))
            legend.append(LegendEntry(f"guessing, {100 * chance:.1f} %", MUTED, "1 2"))
        if eps is not None:
            ax.axvline(eps, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
            legend.append(LegendEntry("eps of the threat", MUTED, "4 3"))
        ax.set_ylim(-0.02, 1.02)
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        ax.xaxis.set_major_locator(MaxNLocator(6))
        ax.set_xlabel("budget eps of the attack")
        ax.set_ylabel("accuracy")

    alt = "Accuracy by budget: " + "; ".join(
        f"{_curve(c, True)}: "
        + ", ".join(
            f"{100 * a:.1f} % at eps {e:.4g}" for e, a in zip(c["eps"], c["accuracy"], strict=True) if a is not None
        )
        for c in series
    )
    svg = draw("security", alt, (5.0, 3.1), paint)
    return Drawing(
        svg,
        "Accuracy as the attack's budget grows, with the 95 % Wilson interval shaded. "
        "It should fall with every step, down to chance.",
        tuple(legend),
    )


def _curve(curve: Mapping[str, Any], with_attack: bool) -> str:
    words = [str(curve.get("protocol") or ""), f"route {curve['route']}" if curve.get("route") else ""]
    return ", ".join(w for w in [*words, str(curve.get("attack") or "") if with_attack else ""] if w)


def _line(ax: Axes, x: Any, y: Any, key: LegendEntry, marker: str = "") -> None:
    dash = tuple(float(part) / 1.6 for part in key.dash.split())
    ax.plot(x, y, color=key.colour, linestyle=(0, dash) if dash else "-", marker=marker, markersize=4)


def _alone(lines: Sequence[Mapping[str, Any]], terms: Sequence[str]) -> bool:
    """Say whether the total is the one term there is, so that its curve would only cover it."""
    return len(terms) == 1 and all(line.get("loss") == line[terms[0]] for line in lines if terms[0] in line)


def _keys(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for line in lines for key in line))


def _has(lines: Sequence[Mapping[str, Any]], key: str) -> bool:
    return any(_real(line.get(key)) for line in lines)


def _real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _series(lines: Sequence[Mapping[str, Any]], axis: str, key: str) -> tuple[Any, Any]:
    """Return (x, y), averaged over stretches where there are more than ``POINTS`` numbers."""
    points = np.array([(line[axis], line[key]) for line in lines if _real(line.get(key)) and _real(line.get(axis))])
    if len(points) == 0:
        return np.zeros(0), np.zeros(0)
    size = math.ceil(len(points) / POINTS)
    means = np.array([points[start : start + size].mean(axis=0) for start in range(0, len(points), size)])
    return means[:, 0], means[:, 1]


def _label(key: str) -> str:
    return key.removeprefix("term/").removeprefix("val/").replace("/", " · ") if key != "loss" else "total loss"
