"""The house as its imports draw it; ``python tests/house.py`` draws the table of docs/architecture.md anew.

A room is a folder of ``robustcl``, or a file at its top; a folder in a room is a room of its own. Imports count
wherever they stand: under ``TYPE_CHECKING`` and inside functions too.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- rooms, drawn from the imports -->", "<!-- end of rooms -->"

Graph = Mapping[str, Collection[str]]
"""Module -> the modules that it imports; or room -> the rooms."""


def imports(root: Path, package: str = "robustcl") -> dict[str, set[str]]:
    """Return every module of a package below ``root`` with those of the package that it imports."""
    files = {_dotted(path.relative_to(root)): path for path in sorted((root / package).rglob("*.py"))}
    return {name: set(_imported(path, files)) - {name} for name, path in files.items()}


def rooms(graph: Graph) -> dict[str, set[str]]:
    """Return every room with those that it imports from; the package's own ``__init__`` is a door to all, and none."""
    folders = {name.rpartition(".")[0] for name in graph}
    found: dict[str, set[str]] = {}
    for name, others in graph.items():
        if "." in name:
            room = room_of(name, folders)
            used = {room_of(other, folders) for other in others if "." in other}
            found.setdefault(room, set()).update(used - {room})
    return found


def room_of(name: str, folders: Collection[str] = ()) -> str:
    """Return the room of a module: ``study/plan`` of ``robustcl.study.plan.rows``, and of ``robustcl.study.plan`` too.

    ``folders``: the modules that are folders.
    """
    parts = name.split(".")[1:]
    return "/".join(parts if name in folders or len(parts) == 1 else parts[:-1])


def circles(graph: Graph) -> list[list[str]]:
    """Return what can be walked in a circle: groups of modules, or of rooms, in which each leads to each other one."""
    reached = {name: _reached(name, graph) for name in graph}
    found = {tuple(sorted(other for other in reached[name] if name in reached[other])) for name in graph}
    return sorted(list(group) for group in found if group)


def levels(graph: Graph) -> list[str]:
    """Return the names of a graph without circles, each before all that it uses."""
    depth: dict[str, int] = {}

    def of(name: str) -> int:
        if name not in depth:
            depth[name] = 1 + max((of(other) for other in graph[name]), default=-1)
        return depth[name]

    return sorted(graph, key=lambda name: (-of(name), name))


def table(graph: Graph, root: Path = ROOT) -> str:
    """Return the page's table: each room, what its docstring says first, and the rooms that it uses."""
    lines = ["| room | what it is | uses |", "|---|---|---|"]
    for name in levels(graph):
        folder, file = root / "robustcl" / name / "__init__.py", root / "robustcl" / f"{name}.py"
        is_folder = folder.is_file()
        said = ast.get_docstring(ast.parse((folder if is_folder else file).read_text(encoding="utf-8"))) or ""
        first = " ".join(said.split("\n\n")[0].split()).replace("|", "\\|")
        lines.append(f"| `{name}{'/' if is_folder else ''}` | {first} | {', '.join(sorted(graph[name])) or '–'} |")
    return "\n".join(lines)


def drawn(page: str) -> str:
    """Return the table that stands in the page."""
    return page.partition(BEGIN)[2].partition(END)[0].strip()


def _dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(path: Path, known: Collection[str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                if name in known or node.module in known:
                    yield name if name in known else node.module


def _reached(name: str, graph: Graph) -> set[str]:
    found: set[str] = set()
    pending = [*graph[name]]
    while pending:
        other = pending.pop()
        if other not in found:
            found.add(other)
            pending += graph[other]
    return found


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    tail = rest.partition(END)[2]
    PAGE.write_text(f"{head}{BEGIN}\n\n{table(rooms(imports(ROOT)))}\n\n{END}{tail}", encoding="utf-8")
