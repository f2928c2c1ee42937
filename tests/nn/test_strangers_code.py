"""``--model``: the module that was asked for, and nothing that its import may do to us or shadow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from robustcl.errors import UsageError, WeightsError
from robustcl.nn import outside
from robustcl.nn.files import check_whole
from robustcl.processes import signals

GOOD = "from torch import nn\n\ndef build():\n    return nn.Linear(2, 2)\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _module(here: Path, text: str, name: str) -> str:
    (here / f"{name}.py").write_text(text)
    return f"{name}:build"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import sys\nsys.exit(0)", "importing it failed with SystemExit: 0"),
        ("raise SystemExit", "importing it failed with SystemExit"),
        ("raise KeyboardInterrupt('no')", "importing it failed with KeyboardInterrupt: no"),
        ("raise GeneratorExit", "importing it failed with GeneratorExit"),
        ("def build():\n    raise SystemExit(3)", "calling it failed with SystemExit: 3"),
        ("def build():\n    import sys; sys.exit()", "calling it failed with SystemExit"),
        ("1 / 0", "importing it failed with ZeroDivisionError"),
        ("import nowhere_at_all", "there is no module 'nowhere_at_all'"),
        ("x = 1", "has no 'build'"),
        ("build = 7", "is a int"),
        ("def build(", "importing it failed with SyntaxError"),
    ],
)
def test_an_import_that_would_end_us_is_a_sentence(
    text: str, words: str, here: Path, request: pytest.FixtureRequest
) -> None:
    spec = _module(here, text, f"stranger_{abs(hash(request.node.name))}")
    before = list(sys.path), list(sys.meta_path)
    with signals.handle(signals.stop), pytest.raises(UsageError) as caught:
        outside.build(spec, None, 2)
    assert words in str(caught.value)
    assert [path for path in sys.path if path != str(here)] == before[0], "the folder stays, behind all that is there"
    assert sys.meta_path == before[1]


def test_only_the_module_asked_for_comes_from_the_folder(here: Path) -> None:
    """In a process of its own: a matplotlib.py here stands in for nothing; a helper of the model is found."""
    for name in ("matplotlib", "json", "safetensors", "pandas"):
        (here / f"{name}.py").write_text("raise SystemExit('shadowed')")
    (here / "kills_helper.py").write_text("WIDTH = 2\n")
    text = "import matplotlib, pandas\nfrom kills_helper import WIDTH\nprint('noise')\n" + GOOD.replace(
        "2, 2", "WIDTH, 2"
    )
    _module(here, text, "kills_model")
    code = (
        "import sys; sys.path = [p for p in sys.path if p]\n"
        "from robustcl.nn import outside\n"
        "print(outside.build('kills_model:build', None, 2))\n"
        "import importlib.util\n"
        "assert importlib.util.find_spec('kills_helper') is not None  # imported already\n"
        "del sys.modules['kills_helper']\n"
        "assert importlib.util.find_spec('kills_helper') is not None  # and may be again\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "Linear(in_features=2, out_features=2, bias=True)"
    assert "noise" in done.stderr


def test_a_module_that_forks_leaves_one_of_us(here: Path) -> None:
    _module(here, "import os\nif os.fork():\n    os.wait()\n" + GOOD, "kills_forks")
    code = "from robustcl.nn import outside\nprint(outside.build('kills_forks:build', None, 2))\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.count("Linear") == 1, done.stderr


def _file(path: Path, header: object, data: bytes) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def _entry(begin: int, end: int, shape: object = None, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": [(end - begin) // 4] if shape is None else shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"a": _entry(0, 8), "b": _entry(4, 8)}, "'b' lies over another tensor"),
        ({"a": _entry(0, 4), "b": _entry(6, 10)}, "'b' follows a hole"),
        ({"a": _entry(2, 10)}, "'a' follows a hole"),
        ({"a": _entry(0, 1 << 46)}, "truncated"),
        ({"a": _entry(0, 8, [1 << 44])}, "claims"),
        ({"a": _entry(0, 8, [-2])}, "claims"),
        ({"a": _entry(8, 0, [-2])}, "damaged"),
        ({"a": _entry(0, 8, [2], "F31")}, "unreadable"),
        ({"a": _entry(0, 8, "x")}, "unreadable"),
        ({"a": 3}, "unreadable"),
        (b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "a": 1}', "twice"),
        (b'{"a": ' + b"[" * 100_000 + b"}", "nested"),
        (b'{"a": ' + b"9" * 6000 + b"}", "digits"),
        (b'{"\xff": 1}', "UTF-8"),
    ],
)
def test_headers_of_weights_that_lie_are_a_sentence(header: object, words: str, tmp_path: Path) -> None:
    path = _file(tmp_path / "w.safetensors", header, bytes(8))
    with pytest.raises(WeightsError, match=words) as caught:
        check_whole(path.read_bytes(), path)
    assert "\n" not in str(caught.value)


def test_whole_weights_are_whole(tmp_path: Path) -> None:
    kinds = [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.uint8]
    tensors = {str(kind): torch.zeros(3, 2).to(kind) for kind in kinds}
    save_file({**tensors, "none": torch.zeros(0, 4), "one": torch.tensor(1.0)}, tmp_path / "w.safetensors")
    data = (tmp_path / "w.safetensors").read_bytes()
    check_whole(data, tmp_path)
    with pytest.raises(WeightsError, match="truncated"):
        check_whole(data[:-1], tmp_path)


def test_a_forward_may_import_what_lies_beside_its_model(here: Path) -> None:
    (here / "beside_late.py").write_text("SCALE = 3.0\n")
    forward = "    def forward(self, x):\n        from beside_late import SCALE\n        return x * SCALE\n"
    text = GOOD.replace("return nn.Linear(2, 2)", "return Late()") + f"\nclass Late(nn.Module):\n{forward}"
    model = outside.build(_module(here, text, "stranger_late"), None, 2)
    assert float(model(torch.ones(1))) == 3.0
