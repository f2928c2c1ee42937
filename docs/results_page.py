"""docs/results.md: what the stored studies have written, each with the command that made it.

The page is committed; ``python docs/results_page.py`` writes it anew from benchmarks/results/studies. With NAME, STUDY
and COMMAND it first stores the outcome of a study there: its tables and notes as they stand in study.md, and its
claims.json in benchmarks/results/claims.
"""

from __future__ import annotations

import platform
import re
import shutil
from importlib.metadata import version
from pathlib import Path

import click

PAGE = Path(__file__).parent / "results.md"
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
STORED = RESULTS / "studies"

HEAD = """# Results

What has been run so far: studies that are installed, each with the command that made it. A study's first table holds
its numbers, the second what each row took in training; what was equal between the rows, and what was each recipe's
own, is the second note below them. SA is the accuracy on clean test images, RA that under PGD-20, AA that under
AutoAttack, all in the ball that the notes name and in percent, with the standard deviation over seeds. The budgets
are small: nothing here says what a method reaches in a thousand epochs. Nothing was tuned on these figures, and
nothing that came out was left out. `cifar10-6k.npz` holds the first 1,017 images of each of CIFAR-10's five training
batches and of its test batch; its studies train on batches of 128, which keeps three seeds of fifteen methods to hours.
Seconds are those of two cores that did other work beside it. Which of the papers' claims these numbers bear out is
told in [Claims](claims.md).
"""


@click.command()
@click.argument("name", required=False)
@click.argument("study", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("command", required=False)
def main(name: str | None = None, study: Path | None = None, command: str | None = None) -> None:
    """Store the outcome of a STUDY directory under a NAME, with its COMMAND, and write the page."""
    if name is not None:
        if study is None or command is None:
            raise click.UsageError("give NAME, STUDY and COMMAND, or nothing")
        STORED.mkdir(parents=True, exist_ok=True)
        (STORED / f"{name}.md").write_text(section(study, command), encoding="utf-8")
        if (study / "claims.json").is_file():
            shutil.copyfile(study / "claims.json", RESULTS / "claims" / f"{name}.json")
    write()


def write() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)


def page() -> str:
    """Return the page of all that is stored."""
    return "\n".join([HEAD, *(path.read_text(encoding="utf-8") for path in sorted(STORED.glob("*.md")))])


def section(study: Path, command: str) -> str:
    """Return what is stored of a study: its text without title, citation and pictures, and versions."""
    head, *parts = (study / "study.md").read_text(encoding="utf-8").strip().split("\n\n")
    captions = {match[1] for part in parts if (match := re.match(r"!\[(.*)\]\(", part))}
    kept = [part for part in parts if not part.startswith("![") and part not in captions]
    with_ = f"robustcl {version('robustcl')}, torch {version('torch')}, Python {platform.python_version()}."
    return "\n\n".join([f"#{head}", f"```\n{command}\n```", with_, *kept]) + "\n"


if __name__ == "__main__":
    main()
