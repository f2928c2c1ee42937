"""The template distribution as a stranger uses it: a wheel, installed, listed, checked, trained."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shared.forks import fork

ROOT = Path(__file__).parents[2]
HELLO = ROOT / "plugins" / "robustcl-hello"


def environment(path: Path) -> dict[str, str]:
    """Return the environment in which the installed template lies beside what is installed anyway."""
    paths = os.pathsep.join([str(path), str(ROOT), str(ROOT / "plugins")])
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}


def run(*words: str, cwd: Path, path: Path) -> subprocess.CompletedProcess[str]:
    """Run Python with the installed template."""
    command = [sys.executable, *words]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=environment(path), timeout=900, check=False
    )


def pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", *words, "--no-deps", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy, to keep the checkout clean, and install it into a folder of its own."""
    folder = tmp_path_factory.mktemp("hello")
    shutil.copytree(HELLO, folder / "source", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    pip("wheel", "--no-build-isolation", "--wheel-dir", str(folder / "wheels"), str(folder / "source"))
    (wheel,) = (folder / "wheels").glob("*.whl")
    pip("install", "--no-index", "--target", str(folder / "site"), str(wheel))
    return folder / "site"


def test_the_wheel_carries_its_recipe_and_types(site: Path) -> None:
    package = site / "robustcl_hello"
    assert (package / "recipes" / "hello.toml").is_file()
    assert (package / "py.typed").is_file()


def test_it_is_listed_beside_the_others(site: Path, tmp_path: Path) -> None:
    done = run("-m", "robustcl", "plugins", "list", cwd=tmp_path, path=site)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    for kind in ("generator", "objective", "selector"):
        assert [kind, "hello", "robustcl-hello", "0.1.0"] in rows


def test_it_is_shown(site: Path, tmp_path: Path) -> None:
    done = fork(["plugins", "show", "hello", "--kind", "objective"], tmp_path, environment(site))
    assert done.returncode == 0, done.stderr
    for part in (
        "objective of robustcl-hello",
        "SimSiam",
        "Needs: a sample selector; ",
        "hidden",
        "Terms: hello",
    ):
        assert part in done.stdout


def test_it_passes_the_conformance_suite(site: Path, tmp_path: Path) -> None:
    done = fork(["plugins", "check", "robustcl-hello"], tmp_path, environment(site))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failed" in done.stdout


def test_its_own_tests_pass(site: Path, tmp_path: Path) -> None:
    shutil.copytree(HELLO / "tests", tmp_path / "tests")
    shutil.copy(HELLO / "pyproject.toml", tmp_path)
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path, path=site)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_trains_and_is_judged(site: Path, tmp_path: Path) -> None:
    """Nothing of the core or of the built-in plugins knows of it: flags and its own recipe are enough."""
    words = (
        "compose",
        "--generator",
        "hello",
        "--objective",
        "hello",
        "--budget",
        "smoke",
        "--device",
        "cpu",
    )
    done = fork([*words, "--out", str(tmp_path / "out")], tmp_path, environment(site))
    assert done.returncode == 0, done.stdout + done.stderr
    (lock,) = (tmp_path / "out").rglob("recipe.lock.toml")
    assert "robustcl-hello" in lock.read_text()
    assert list((tmp_path / "out").rglob("results.json"))
