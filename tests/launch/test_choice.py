"""Which launcher a flag means, and flags that mean none."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from robustcl import registry
from robustcl.errors import RobustclError
from robustcl.launch.choice import choose_launcher
from robustcl_plugins.launchers.local import Local


class Absent(Local):
    """Runs on another machine only."""

    citation: ClassVar[str] = "nobody, 2020"

    @staticmethod
    def available() -> str:
        return "it needs the library cloud: pip install cloud"


class Slotless:
    """A launcher that runs everything at once."""

    needs: ClassVar[frozenset[object]] = frozenset()
    citation: ClassVar[str] = "nobody, 2020"

    def launch(self, tasks: object, folder: object) -> object:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("said", "slots", "options"),
    [
        (None, 3, {"slots": 3, "retries": 2}),
        ("local", None, {"slots": 0, "retries": 2}),
        ('{ use = "local", retries = 5 }', 2, {"slots": 2, "retries": 5}),
        ("FILE", None, {"slots": 4, "retries": 2}),
    ],
)
def test_a_name_a_table_and_a_file(
    tmp_path: Path, said: str | None, slots: int | None, options: dict[str, int]
) -> None:
    (tmp_path / "here.toml").write_text('use = "local"\nslots = 4\n')
    launcher = choose_launcher(str(tmp_path / "here.toml") if said == "FILE" else said, slots)
    assert isinstance(launcher, Local)
    assert vars(launcher) == options


@pytest.mark.parametrize(
    ("said", "slots", "sentence"),
    [
        ("slrum", None, "--launcher: no installed distribution offers a launcher called 'slrum'"),
        ('{ use = "local", slot = 2 }', None, "--launcher local"),
        ('{ use = "local", slots = "two" }', None, "--launcher local.slots = 'two': not accepted"),
        ("{ slots = 2 }", None, "--launcher { slots = 2 }: it does not say which launcher"),
        ("{ use = ", None, "--launcher { use = "),
        ("none.toml", None, "--launcher none.toml: there is no such file"),
        ("absent", None, "--launcher absent: it needs the library cloud"),
        ("slotless", 2, "--slots 2: the launcher slotless has no slots; leave it out"),
        ("", None, "--launcher : it does not say which launcher"),
    ],
)
def test_flags_that_mean_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, slots: int | None, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    absent, slotless = registry.local("launcher", "absent", Absent), registry.local("launcher", "slotless", Slotless)
    with absent, slotless, pytest.raises(RobustclError) as raised:
        choose_launcher(said, slots)
    assert str(raised.value).startswith(sentence)
    assert raised.value.exit_code == 2
