"""Which launcher is meant: by its name, by a table of its name and options, or by a file that holds such a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustcl import hooks, options, registry
from robustcl.disk import parse_toml, read_toml
from robustcl.errors import UsageError
from robustcl.hooks import PluginHooks
from robustcl.protocols import Launcher

DEFAULT = "local"
"""The launcher where only a number of slots is said."""

_REMEDY = (
    'write a name, local, a table, { use = "slurm", partition = "gpu" }, or the name of a .toml file with its keys'
)


def choose_launcher(said: str | None, slots: int | None) -> Launcher:
    """Return the launcher that a flag means, with as many slots as another one says.

    Raises:
        UsageError: no such launcher, options that it does not take, or one that cannot run here: why.
    """
    table = _read(said if said is not None else DEFAULT)
    name = table.pop("use", None)
    if not isinstance(name, str) or not name:
        raise UsageError(f"--launcher {said}: it does not say which launcher; {_REMEDY}")
    found = registry.find("launcher", name, "--launcher")
    if slots is not None:
        if "slots" not in {option.name for option in options.describe(found.cls)}:
            raise UsageError(f"--slots {slots}: the launcher {name} has no slots; leave it out")
        table["slots"] = slots
    launcher: Any = options.build(found.cls, {**found.preset, **table}, f"--launcher {name}").instance
    if reason := hooks.of(launcher, PluginHooks).available():
        raise UsageError(f"--launcher {name}: {reason}")
    chosen: Launcher = launcher
    return chosen


def _read(said: str) -> dict[str, Any]:
    if said.endswith(".toml"):
        return dict(read_toml(Path(said), error=UsageError, missing=f"--launcher {said}: there is no such file"))
    if not said.lstrip().startswith("{"):
        return {"use": said.strip()}
    table: Any = parse_toml(f"launcher = {said}", f"--launcher {said}", error=UsageError, remedy=_REMEDY)["launcher"]
    if not isinstance(table, Mapping):
        raise UsageError(f"--launcher {said} is no table; {_REMEDY}")
    return dict(table)
