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
@nox.parametrize("extra", ["art", "torchattacks"])
def extras(session: nox.Session, extra: str) -> None:
    """Test the adapter of one foreign library; each pins what the other cannot live with."""
    session.install("--editable", f".[test,{extra}]")
    session.run("robustcl", "doctor")
    session.run("python", "-m", "pytest", "-k", extra, *session.posargs)
