"""What README and documentation tell a reader to type: commands that parse, parts and names that are there."""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import click
import pytest
from click.testing import CliRunner

from robustcl import registry
from robustcl.cli.main import robustcl

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "plugins/robustcl-hello/README.md",
    *ROOT.glob("docs/*.md"),
]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")


def texts() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        yield page, page.read_text(encoding="utf-8")


def blocks(text: str, *languages: str) -> Iterator[str]:
    for language, block in FENCED.findall(text):
        if language in languages:
            yield block


def lines() -> list[str]:
    """Return the command lines of all code blocks, fenced or indented, once each."""
    found: dict[str, None] = {}
    for _, text in texts():
        indented = "\n".join(re.findall(r"^ {4}(.*)$", FENCED.sub("", text), re.MULTILINE))
        for block in (*blocks(text, "", "sh", "bash", "console"), indented):
            for line in block.replace("\\\n", " ").splitlines():
                if line.removeprefix("$ ").startswith("robustcl "):
                    found[re.sub(r"\s{3,}\S.*$| +#.*$", "", line.removeprefix("$ "))] = None
    return list(found)


def mentions() -> list[str]:
    """Return what stands in the running text as ``robustcl ...``, which may leave out what a command needs."""
    found: dict[str, None] = {}
    for _, text in texts():
        for code in INLINE.findall(FENCED.sub("", text)):
            line = " ".join(code.split())
            if line.startswith("robustcl ") and not line.startswith("robustcl.") and " ... " not in line:
                found[line] = None
    return list(found)


def parsed(line: str) -> tuple[click.Command, dict[str, Any]]:
    """Let click read a command line as the program does, and call nothing."""
    words = shlex.split(line)[1:]
    context = robustcl.make_context("robustcl", words)
    command: click.Command = robustcl
    while isinstance(command, click.Group) and (rest := [*context._protected_args, *context.args]):
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command, context = found, found.make_context(name, rest, parent=context)
    return command, dict(context.params)


KINDS = {
    "generator": ("generator",), "objective": ("objective",), "selector": ("selector",), "target": ("target",),
    "encoder": ("encoder",), "dataset": ("dataset",), "attack": ("attack", "generator"),
    "attacks": ("attack", "generator"), "protocol": ("protocol",), "kind": (),
}  # fmt: skip


def unknown(params: dict[str, Any]) -> Iterator[str]:
    """Name what a command line asks for and nobody offers."""
    for key, kinds in KINDS.items():
        given = params.get(key) or ()
        for name in (given,) if isinstance(given, str) else given:
            head = str(name).partition(":")[0]
            if head.startswith("{"):
                head = re.findall(r'use = "([\w:-]+)"', str(name))[0]
            offered = {label for kind in kinds for label in registry.names(kind)}
            if kinds and head not in offered and head != "hello" and not head.isupper():
                yield f"--{key} {name}"
    recipe = params.get("recipe")
    if (
        isinstance(recipe, str)
        and recipe not in registry.recipes()
        and not recipe.endswith(".toml")
        and not recipe.isupper()
    ):
        yield f"--recipe {recipe}"


def test_there_are_examples() -> None:
    assert len(lines()) > 50
    assert len(mentions()) > 20


@pytest.mark.parametrize("line", lines())
def test_a_command_line_parses_and_names_what_is_there(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, params = parsed(line)
    assert not list(unknown(params))


@pytest.mark.parametrize("line", mentions())
def test_a_command_in_the_text_exists_with_its_flags(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with contextlib.suppress(click.MissingParameter, click.BadArgumentUsage):
        try:
            _, params = parsed(line)
        except click.NoSuchOption:
            raise
        except click.BadOptionUsage:  # a flag without its value: `robustcl evaluate RUN --eps`
            return
        assert not list(unknown(params))


TRIED = re.compile(
    r"robustcl (compose (?!.*(hello|--matrix|--time))|study (show|list)|recipes|plugins (list|show (?!hello))|.*--help)"
)


LEFT_OPEN = re.compile(r"\b[A-Z]{3,}\b|^robustcl (plugins show|recipes)$")
"""It leaves something to the reader."""


@pytest.mark.parametrize(
    "line", [line for line in [*lines(), *mentions()] if TRIED.match(line) and not LEFT_OPEN.search(line)]
)
def test_what_costs_nothing_is_done_as_written(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compositions are made and explained, and not trained."""
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line)[1:]
    words += ["--dry-run"] if words[0] == "compose" and "--dry-run" not in words else []
    done = CliRunner().invoke(robustcl, words, standalone_mode=False)
    assert done.exception is None, repr(done.exception)
    assert done.return_value in (0, None)
    assert done.output


def code() -> list[str]:
    return [block for _, text in texts() for block in blocks(text, "python", "py")]


def value(node: ast.expr, names: dict[str, Any]) -> Any:
    """Return what an expression of names and dots means, ``None`` where that is not known without running it."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    of = value(node.value, names) if isinstance(node, ast.Attribute) else None
    if inspect.ismodule(of) or inspect.isclass(of) or type(of).__module__.startswith("robustcl"):
        return getattr(of, cast(ast.Attribute, node).attr)  # raises where there is no such name
    return None


def imported(module: str, name: str) -> Any:
    """Return what ``from module import name`` brings."""
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module(f"{module}.{name}")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("block", code(), ids=range(len(code())))
def test_python_examples_name_what_is_there(block: str) -> None:
    """Modules, attributes and keywords of robustcl; nothing is called."""
    tree = ast.parse(block)
    names: dict[str, Any] = {"robustcl": importlib.import_module("robustcl")}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("robustcl"):
                    names[alias.asname or alias.name.partition(".")[0]] = importlib.import_module(alias.name)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("robustcl"):
            for alias in node.names:
                names[alias.asname or alias.name] = imported(node.module, alias.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            value(node, names)
        if isinstance(node, ast.Call) and callable(made := value(node.func, names)):
            parameters = inspect.signature(made).parameters
            takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
            for keyword in node.keywords:
                assert takes_any or keyword.arg in parameters, f"{ast.unparse(node.func)} takes no {keyword.arg}"


def test_a_wrong_example_is_seen() -> None:
    """The checks above can fail."""
    with pytest.raises(AttributeError):
        test_python_examples_name_what_is_there("robustcl.attacks.PGDD(model)")
    with pytest.raises(AssertionError, match="takes no bathc"):
        test_python_examples_name_what_is_there("robustcl.compose(bathc=3)")
    with pytest.raises(click.NoSuchOption):
        parsed("robustcl compose --objectiv deacl --generator ncp --dataset digits --budgett small")
    assert list(unknown(parsed("robustcl evaluate runs/x --attack pgd-2000")[1])) == ["--attacks pgd-2000"]
