"""Write a page for every kind of plugin, each recipe, results and claims: ``python docs/generate.py``, before Zensical.

The pages lie in docs/kinds and docs/methods and are never committed, but for docs/results.md and docs/claims.md; a
plugin's docstring, options, needs and citation are its page, and so is what a recipe says of itself.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import claims_page
import method_pages
import results_page

from robustcl import options, protocols, registry
from robustcl.errors import RobustclError
from robustcl.recipe import adaptation

FOLDER = Path(__file__).parent / "kinds"

TITLES = {"dataset": "Data sets"}
"""The heading of a kind whose plural is not its name and an s."""

SECTIONS = {
    "generator": "stage.generator.NAME",
    "objective": "stage.term.NAME",
    "selector": "stage.term.NAME.selector",
    "target": "stage.targets",
    "view": "stage.views.NAME",
    "encoder": "encoder",
    "dataset": "data",
    "optimizer": "stage.optimizer",
    "sampler": "stage.sampler",
    "attack": "evaluate.attacks",
    "protocol": "evaluate",
}
"""Where a recipe names a plugin of the kind; launchers are no part of a method, and stand in none."""


def main() -> None:
    """Write one page a kind and one a recipe."""
    FOLDER.mkdir(exist_ok=True)
    for kind, protocol in protocols.KINDS.items():
        (FOLDER / f"{kind}.md").write_text(page(kind, protocol), encoding="utf-8")
    claims_page.main()
    results_page.write()
    print(f"{len(protocols.KINDS)} kinds and {method_pages.write()} methods")


def page(kind: str, protocol: type) -> str:
    """Return the page of a kind: what it must offer, then every registered plugin."""
    parts = [
        f"# {TITLES.get(kind, f'{kind.capitalize()}s')}",
        inspect.cleandoc(protocol.__doc__ or ""),
        f"Entry-point group `robustcl.{kind}s`; {_place(kind)}.",
        f"```python\n{_members(protocol)}\n```",
    ]
    names = registry.names(kind)
    parts += [_section(kind, name) for name in names]
    if not names:
        parts.append("No installed distribution registers one.")
    return "\n\n".join(parts) + "\n"


def _place(kind: str) -> str:
    return f"in a recipe, `use` of `{SECTIONS[kind]}`" if kind in SECTIONS else f"on the command line, `--{kind}`"


def _members(protocol: type) -> str:
    """Return the members of a protocol as its source writes them, without the docstrings."""
    found = [
        f"def {name}{inspect.signature(member)}: ...".replace("'", "")
        for name, member in vars(protocol).items()
        if inspect.isfunction(member) and not name.startswith("_")
    ]
    hints = {**protocols.Plugin.__annotations__, **vars(protocol).get("__annotations__", {})}
    return "\n".join([*(f"{name}: {hint}" for name, hint in hints.items()), *found])


def _section(kind: str, name: str) -> str:
    origin = registry.origin(kind, name)
    head = f"## {name}\n\n`{origin.target}` of {origin}"
    try:
        cls: Any = registry.get(kind, name)
    except RobustclError as error:
        return f"{head}\n\nIt cannot be imported: {_cell(error)}"
    needs = ", ".join(need.value for need in sorted(cls.needs, key=lambda need: str(need.name))) or "nothing"
    rows = options.describe(cls)
    parts = [
        head,
        _text(cls.__doc__ or "", [row.name for row in rows]),
        f"Needs: {needs}.",
        f"Source: {_cell(cls.citation)}.",
    ]
    parts += [
        f"{member.capitalize()}: {', '.join(f'`{one}`' for one in value)}."
        for member in ("views", "terms")
        if isinstance(value := getattr(cls, member, None), tuple)
    ]
    if kind == "dataset" and (rules := adaptation.say(adaptation.read(cls, name))):
        parts.append("\n".join(f"    - {_cell(line)}" if line.startswith(" ") else f"- {line}" for line in rules))
    return "\n\n".join([*parts, _table(rows)])


def _text(doc: str, names: list[str]) -> str:
    """Return a docstring in Markdown; a line that begins with options becomes an item of a list."""
    lines = inspect.cleandoc(doc).partition("\nArgs:\n")[0].splitlines()
    option = re.compile(rf"(?:{'|'.join(map(re.escape, names))})(?:, \w+)*: ") if names else None
    marked = [f"\n- {line}" if option and option.match(line) else line for line in lines]
    return _escaped("\n".join(marked))


def _table(rows: list[options.Option]) -> str:
    if not rows:
        return "It has no options."
    lines = ["| option | type | bounds | default | |", "|---|---|---|---|---|"]
    for row in rows:
        default = "required" if row.required else f"`{row.default!r}`"
        cells = [f"`{row.name}`", f"`{row.type}`", row.constraints, default, row.doc]
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    return "\n".join(lines)


def _cell(value: object) -> str:
    return _escaped(" ".join(str(value).split()).replace("|", "\\|"))


def _escaped(text: str) -> str:
    """Return the text with what Markdown would take for a tag written out."""
    return re.sub(r"<(?=[A-Za-z/])", "&lt;", text)


if __name__ == "__main__":
    main()
