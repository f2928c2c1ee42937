"""The figure of an anchor: which images of its batch attract it and repel it, when a stage has ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure as Canvas

from robustcl.analysis.chosen import Chosen, choose_again, find_term
from robustcl.analysis.subject import open_run
from robustcl.report.canvas import Sketch
from robustcl.study.figures.components import show_image
from robustcl.study.figures.panels import POINTS, STYLE, WIDTH
from robustcl.study.grammar.figures import Anchors
from robustcl.study.numbers.questions import engine_of
from robustcl.study.plan.places import stage
from robustcl.study.plan.planned import Planned

_VERBS = {"positive": "attract", "negative": "repel"}
_SIZE = 0.5
"""Inches of an image."""


def draw_anchors(name: str, figure: Anchors, runs: Sequence[tuple[Planned, Path]]) -> Sketch:
    """Draw a block for each run, a line for each view and side: the anchor, and then who attracts or repels it."""
    found = [(run.label, _chosen(figure, run, folder)) for run, folder in runs]
    lines = len(found[0][1].picked)
    shown = min(figure.most, max(1, *(len(images) for _, one in found for images in one.picked.values())))

    def paint(canvas: Canvas) -> None:
        blocks = canvas.subfigures(len(found), 1, squeeze=False)[:, 0]
        for block, (label, one) in zip(blocks, found, strict=True):
            block.suptitle(label, fontsize=POINTS)
            axes = block.subplots(lines, shown + 1, squeeze=False)
            for ax in axes.flat:
                ax.set_axis_off()
            for line, ((side, view), images) in zip(axes, one.picked.items(), strict=True):
                for ax, image in zip(line, [one.anchor, *images[:shown]], strict=False):
                    show_image(ax, image)
                line[0].text(-0.2, 0.5, f"{len(images)} {view} {_VERBS[side]}", transform=line[0].transAxes,
                             ha="right", va="center")  # fmt: skip

    said = "; ".join(f"{label}: {_said(one)}" for label, one in found)
    size = min(WIDTH, _SIZE * (shown + 1) + 1.6), len(found) * (_SIZE * lines + 0.3)
    return Sketch(name, f"Which images attract an anchor and which repel it. {said}", size, paint, STYLE)


def _chosen(figure: Anchors, run: Planned, folder: Path) -> Chosen:
    plan = stage(run.composition, figure.stage, "")
    term, engine = find_term(plan, figure.term, ""), engine_of(folder)
    with open_run(run.composition, folder, engine, lambda sentence: None, test=False) as opened:
        return choose_again(run.composition, folder, engine, opened.stages.splits, plan, term, figure.anchor)


def _said(one: Chosen) -> str:
    return ", ".join(f"{len(images)} {view} {_VERBS[side]}" for (side, view), images in one.picked.items())
