"""The same checks in environments of their own, one a session: ``nox --list``."""

from __future__ import annotations

import nox

nox.options.sessions = ["lint", "types", "tests", "minimal"]
nox.options.reuse_existing_virtualenvs = True

PYTHONS = ["3.11", "3.12", "3.13"]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests; what follows -- goes to pytest."""
    session.install("--editable", ".[test]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Look for mistakes and other formats."""
    session.install("ruff>=0.9")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types against the installed libraries."""
    session.install("--editable", ".[dev]")
    session.run("python", "-m", "mypy")


@nox.session
def mutants(session: nox.Session) -> None:
    """Change the code in one place at a time and tell which changes no test notices; see CONTRIBUTING.md."""
    session.install("--editable", ".[test]", "coverage>=7.6")
    session.run("python", "-m", "tests.mutants", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation: the pages of the plugins here, the site in an environment without torch."""
    session.run("make", "docs", external=True)


@nox.session
def minimal(session: nox.Session) -> None:
    """Install the plain package, without extras, and use it from outside the checkout."""
    session.install(".")
    session.chdir(session.create_tmp())
    session.run("robustcl", "doctor")
    session.run("robustcl", "compose", "--generator", "ncp", "--objective", "deacl", "--budget", "smoke")


@nox.session
@nox.parametrize("library", ["adversarial-robustness-toolbox>=1.20", "torchattacks>=3.5"])
def adapters(session: nox.Session, library: str) -> None:
    """Test the adapter of one foreign library; torchattacks comes without the old libraries that it pins."""
    session.install("--editable", ".[test]")
    session.install(*(["--no-deps"] if library.startswith("torchattacks") else []), library)
    session.run("robustcl", "doctor")
    session.run("python", "-m", "pytest", "tests/golden/test_attacks.py", *session.posargs)


@nox.session(venv_backend="uv")
@nox.parametrize("resolution", ["lowest-direct", "highest"])
def range_of_versions(session: nox.Session, resolution: str) -> None:
    """Run the tests with the oldest and with the newest version of each dependency that pyproject.toml admits."""
    session.install("--resolution", resolution, "--upgrade", "--editable", ".[test]")
    session.install("pip")  # by which the tests install a third party's plugin; uv brings none
    session.run("python", "-m", "pytest", *session.posargs)
