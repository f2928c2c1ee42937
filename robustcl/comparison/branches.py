"""The judged branch of each run: by name, by its recipe, or because it is the only one that was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from robustcl.comparison.runs import ComparedRun, Group
from robustcl.errors import UsageError, near


def choose_branches(groups: Sequence[Group], named: Sequence[str]) -> Mapping[Path, str] | None:
    """Return the judged branch by the path of a run; ``None`` where some run has several and says nothing of them.

    ``named``: "LABEL=ROUTE", where LABEL is that of a method, the name of a run, or its folder.
    Raises ``UsageError`` where one means no run or several branches, or a branch that was not measured.
    """
    asked: dict[Path, str] = {}
    for text in named:
        label, sign, route = text.rpartition("=")
        if not sign or not label or not route:
            raise UsageError(f"--branch {text}: write LABEL=ROUTE, e.g. ncp=adv")
        for run in _meant(groups, label, text):
            if asked.setdefault(run.path, route) != route:
                raise UsageError(f"--branch {text}: {label} was given the branch {asked[run.path]} already: name one")
            if route not in _measured(run):
                known = _measured(run)
                raise UsageError(
                    f"--branch {text}: {run.path} has no numbers of the route {route!r}{near(route, known)}; it has "
                    f"{', '.join(known) or 'none'}"
                )
    found = {run.path: asked.get(run.path, _own(run)) for group in groups for run in group.runs}
    if named and None in found.values():
        lacking = next(path for path, route in found.items() if route is None)
        raise UsageError(f"--branch: which branch of {lacking} is judged is not said: name it too, as LABEL=ROUTE")
    told = {path: route for path, route in found.items() if route is not None}
    return told if len(told) == len(found) else None


def remark(groups: Sequence[Group], chosen: Mapping[Path, str] | None) -> list[str]:
    """Return the sentence that says which branches are shown, where a run was measured on others too."""
    routes = {run.path: _measured(run) for group in groups for run in group.runs}
    if chosen is None:
        lacking = [str(path) for path, there in routes.items() if len(there) > 1]
        return [f"Which branch is judged is not said for {', '.join(lacking)}: name it with --branch LABEL=ROUTE."]
    if len(set(chosen.values())) == 1 and all(len(there) < 2 for there in routes.values()):
        return []
    parts = [f"{group.label} {' or '.join(dict.fromkeys(chosen[run.path] for run in group.runs))}" for group in groups]
    more = "; --route all shows every branch" if any(len(there) > 1 for there in routes.values()) else ""
    return [f"The judged branch is shown: {', '.join(parts)}{more}."]


def _meant(groups: Sequence[Group], label: str, text: str) -> list[ComparedRun]:
    path = Path(label).resolve()
    by_label = [run for group in groups if group.label == label for run in group.runs]
    runs = [run for group in groups for run in group.runs]
    found = by_label or [run for run in runs if run.name == label] or [r for r in runs if r.path.resolve() == path]
    if not found:
        known = [group.label for group in groups]
        raise UsageError(f"--branch {text}: {label} is none of the runs{near(label, known)}: {', '.join(known)}")
    return found


def _own(run: ComparedRun) -> str | None:
    """Return what a run says of its branch, or the only one that it has."""
    measured, said = _measured(run), run.results.get("branch")
    if said in measured:
        return str(said)
    return measured[0] if len(measured) == 1 else None


def _measured(run: ComparedRun) -> list[str]:
    return list(dict.fromkeys(str(row.get("route") or "") for row in run.results["rows"]))
