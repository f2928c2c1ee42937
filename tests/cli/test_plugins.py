"""The command line as a process: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import click
import pytest

from robustcl.cli.main import COMMANDS
from robustcl.cli.main import robustcl as group
from tests.shared.distributions import GOOD, install
from tests.shared.forks import fork

ROOT = Path(__file__).parents[2]
GENERATORS = "robustcl.generators"
HEAVY = {"torch", "pydantic", "rich", "pandas", "numpy", "matplotlib", "lightning_fabric", "robustcl_plugins"}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a folder for distributions with one good plugin in it."""
    folder = tmp_path / "site"
    install(folder, "acme", {GENERATORS: {"acme-nudge": "acme_plugins:Nudge"}}, {"acme_plugins.py": GOOD})
    return folder


def environment(site: Path) -> dict[str, str]:
    path = os.pathsep.join([str(site), str(ROOT), str(ROOT / "plugins")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def robustcl(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command in an empty folder, with the distributions of ``site`` beside the installed ones."""
    return fork(words, site, environment(site))


def in_a_new_python(
    site: Path, *words: str, flags: tuple[str, ...] = (), **env: str
) -> subprocess.CompletedProcess[str]:
    """Do the same with all that the start of Python does."""
    return subprocess.run(
        [sys.executable, *flags, "-m", "robustcl", *words],
        capture_output=True,
        text=True,
        cwd=site,
        env=environment(site) | env,
        timeout=300,
        check=False,
    )


def break_one(site: Path, source: str = "raise RuntimeError('no CUDA here')") -> None:
    install(site, "broken-one", {GENERATORS: {"bang": "bang_module:Bang"}}, {"bang_module.py": source})


def imported(run: subprocess.CompletedProcess[str]) -> set[str]:
    """Return the top-level packages in the output of ``-X importtime``."""
    lines = [line for line in run.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("plugins", "--help"), ("plugins", "list")])
def test_the_start_imports_nothing_heavy_and_no_plugin(site: Path, words: tuple[str, ...]) -> None:
    run = in_a_new_python(site, *words, flags=("-X", "importtime"))
    assert run.returncode == 0
    found = imported(run)
    assert {"click", "robustcl"} <= found
    assert not found & (HEAVY | {"acme_plugins"})


def test_the_ledger_of_claims_needs_no_torch(site: Path) -> None:
    """It reads the studies' files alone, which lie in a package and are checked by pydantic."""
    run = in_a_new_python(site, "claims", flags=("-X", "importtime"))
    assert run.returncode == 0
    assert not imported(run) & (HEAVY - {"pydantic", "robustcl_plugins"})


def test_help_lists_every_command(site: Path) -> None:
    run = robustcl(site, "--help")
    for command in ("compose", "run", "resume", "evaluate", "report", "recipes", "plugins", "doctor"):
        assert f"\n  {command} " in run.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_listed_command_exists(name: str) -> None:
    command = group.get_command(click.Context(group), name)
    assert command is not None
    assert command.help


def test_list_shows_the_owner_of_each_plugin_and_imports_none(site: Path) -> None:
    break_one(site)
    run = robustcl(site, "plugins", "list", "--kind", "generator")
    assert (run.returncode, run.stderr) == (0, "")
    rows = [line.split() for line in run.stdout.splitlines()]
    assert rows[0] == ["KIND", "NAME", "DISTRIBUTION", "VERSION"]
    assert ["generator", "acme-nudge", "acme", "1.0"] in rows
    assert ["generator", "bang", "broken-one", "1.0"] in rows


def test_list_writes_json(site: Path) -> None:
    rows = json.loads(robustcl(site, "plugins", "list", "--json").stdout)
    assert {"kind": "generator", "name": "acme-nudge", "distribution": "acme", "version": "1.0"} in rows


def test_show_tells_options_needs_and_citation(site: Path) -> None:
    run = robustcl(site, "plugins", "show", "acme-nudge")
    assert run.returncode == 0, run.stderr
    for part in (
        "acme-nudge, a generator of acme 1.0",
        "acme_plugins:Nudge",
        "Adds a constant.",
        "Citation: Nobody, Nothing, 2020, eq. 1",
        "Needs: the encoder's features h",
    ):
        assert part in run.stdout
    rows = [line.split(maxsplit=2) for line in run.stdout.splitlines()]
    assert ["times", "int", ">= 1    1           how often."] in rows
    amount = next(line for line in run.stdout.splitlines() if line.startswith("amount"))
    assert amount.split()[:3] == ["amount", "ratio", "0.00392157"]
    assert amount.endswith("what is added to every pixel, as a part of the range.")


def test_show_writes_json(site: Path) -> None:
    facts = json.loads(robustcl(site, "plugins", "show", "acme/acme-nudge", "--json").stdout)
    assert facts["needs"] == {"FEATURES": "the encoder's features h"}
    assert [option["name"] for option in facts["options"]] == ["label", "amount", "times"]
    assert facts["options"][1]["default"] == 1 / 255


def test_show_of_a_name_of_two_kinds_asks_which(site: Path) -> None:
    install(site, "more", {"robustcl.selectors": {"acme-nudge": "acme_plugins:Nudge"}})
    run = robustcl(site, "plugins", "show", "acme-nudge")
    assert run.returncode == 2
    assert "add --kind generator or --kind selector" in run.stderr
    assert robustcl(site, "plugins", "show", "acme-nudge", "--kind", "generator").returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("plugins", "show", "acme-nugde"), "did you mean 'acme-nudge'?"),
        (("plugins", "show", "acme-nugde", "--kind", "generator"), "did you mean 'acme-nudge'?"),
        (("plugins", "check", "nobody"), "no installed distribution 'nobody' registers plugins"),
        (("plugins", "list", "--kind", "generators"), "'generators' is not one of 'generator'"),
        (("docter",), "there is no command 'docter'; did you mean 'doctor'?"),
        (("plugins", "show", "bang"), "RuntimeError: no CUDA here; mend or uninstall broken-one"),
    ],
)
def test_bad_usage_is_one_sentence_and_code_2(site: Path, words: tuple[str, ...], said: str) -> None:
    break_one(site)
    run = robustcl(site, *words)
    assert run.returncode == 2
    assert said in run.stderr
    assert "Traceback" not in run.stderr
    assert run.stdout == ""


def test_a_clash_names_both_owners(site: Path) -> None:
    install(site, "zeta", {GENERATORS: {"acme-nudge": "acme_plugins:Other"}})
    run = robustcl(site, "plugins", "show", "acme-nudge")
    assert run.returncode == 2
    assert "write 'acme/acme-nudge' or 'zeta/acme-nudge'" in run.stderr
    assert "Another owner's." in robustcl(site, "plugins", "show", "zeta/acme-nudge").stdout


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_debug_shows_the_traceback(site: Path, how: str) -> None:
    words = ("plugins", "show", "acme-nugde")
    run = (
        in_a_new_python(site, "--debug", *words) if how == "flag" else in_a_new_python(site, *words, ROBUSTCL_DEBUG="1")
    )
    assert run.returncode == 1
    assert "Traceback" in run.stderr
    assert "UnknownPlugin" in run.stderr


def test_check_runs_the_conformance_suite(site: Path) -> None:
    run = robustcl(site, "plugins", "check", "acme")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 failed" in run.stdout


def test_check_fails_for_a_plugin_that_leaves_the_ball(site: Path) -> None:
    bad = textwrap.dedent(GOOD).replace("attack.ball.project(x + self.times * self.amount, x)", "x + 0.5")
    install(site, "rogue", {GENERATORS: {"rogue": "rogue_plugins:Nudge"}}, {"rogue_plugins.py": bad})
    run = robustcl(site, "plugins", "check", "rogue")
    assert run.returncode == 1
    assert "FAILED" in run.stdout
    reports = json.loads(robustcl(site, "plugins", "check", "rogue", "--json").stdout)
    assert any(not report["ok"] and report["message"] for report in reports)


def test_doctor_is_content_where_everything_loads(site: Path) -> None:
    run = robustcl(site, "doctor")
    assert "ok generator acme-nudge (acme 1.0)" in run.stdout
    assert "torch: " in run.stdout
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.splitlines()[-1].endswith(", 0 broken")


def test_doctor_shows_what_is_broken_and_goes_on(site: Path) -> None:
    break_one(site, "def (:")
    install(site, "halfway", {GENERATORS: {"lacking": "acme_plugins:Lacking"}})
    install(site, "books", {"robustcl.recipes": {"books": "no_such_package"}})
    run = robustcl(site, "doctor", "--json")
    assert run.returncode == 1, run.stderr
    found = json.loads(run.stdout)
    states = {plugin["name"]: (plugin["state"], plugin["cause"]) for plugin in found["plugins"]}
    assert states["acme-nudge"] == ("ok", "")
    assert states["bang"][0] == "broken"
    assert "SyntaxError" in states["bang"][1]
    assert "has no method 'perturb'" in states["lacking"][1]
    assert "no_such_package" in found["broken_recipes"][0]
    assert set(found["extras"]) == {"art", "torchattacks", "cuml"}


def test_doctor_tells_absent_from_broken(site: Path) -> None:
    absent = GOOD.replace(
        "    def perturb", "    def available(self):\n        return 'no GPU here'\n\n    def perturb", 1
    )
    install(site, "gpu", {GENERATORS: {"gpu": "gpu_plugins:Nudge"}}, {"gpu_plugins.py": absent})
    run = robustcl(site, "doctor")
    assert "absent generator gpu (gpu 1.0): no GPU here" in run.stdout
    assert run.returncode == 0, run.stdout


def test_an_interrupt_leaves_with_130(site: Path) -> None:
    # Where the tests run in the background the signal is ignored, and by every child.
    source = (
        "import os, signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "os.kill(os.getpid(), signal.SIGINT)\nimport time; time.sleep(30)\n"
    )
    break_one(site, source)
    run = in_a_new_python(site, "plugins", "show", "bang")
    assert run.returncode == 130
    assert "interrupted" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_closed_pipe_is_no_error(site: Path) -> None:
    """More is written than a pipe holds, and the reader leaves after one byte."""
    install(site, "many", {GENERATORS: {f"name-{i}": "acme_plugins:Nudge" for i in range(3000)}})
    path = os.pathsep.join([str(site), str(ROOT)])
    command = f"{sys.executable} -m robustcl plugins list --json | head -c 1"
    run = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True, text=True, cwd=site, env={**os.environ, "PYTHONPATH": path}, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
