"""What people type who know other libraries, or mix up arguments: one sentence each."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import robustcl
from robustcl import zoo
from robustcl.errors import NeedNotMet, UsageError
from robustcl.run.results import Results
from robustcl.testing import check_class
from robustcl.types import Attack, Embedding


class Undated:
    """Moves nothing."""

    needs: ClassVar[frozenset[Any]] = frozenset()
    citation: ClassVar[str] = "Doe, unpublished"

    def perturb(self, x: Tensor, attack: Attack) -> Tensor:
        return x


def model() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(75, 10)).eval()


def test_arguments_in_another_order_are_one_sentence() -> None:
    with pytest.raises(UsageError, match="the class comes second"):
        check_class("generator", "mine", Undated)  # type: ignore[arg-type]
    with (
        pytest.raises(UsageError, match="the name comes second, the class third"),
        robustcl.registry.local("generator", Undated, "mine"),
    ):
        pass


def test_a_citation_without_a_year_says_what_to_write() -> None:
    (said,) = [report.message for report in check_class("generator", Undated) if report.check == "cites_its_source"]
    assert "names no year" in said
    assert '"Doe, unpublished, 2026"' in said


@pytest.mark.parametrize("argument", ["device", "log_path", "state_path", "is_tf_model"])
def test_arguments_of_the_library_of_that_name_say_what_to_do(argument: str) -> None:
    with pytest.raises(UsageError, match=rf"AutoAttack\({argument}='x'\) is not offered: "):
        robustcl.AutoAttack(model(), eps="8/255", **{argument: "x"})


def test_an_argument_of_nobody_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=r"AutoAttack has no option 'nonsense'; it has: version, attacks_to_run"):
        robustcl.AutoAttack(model(), eps="8/255", nonsense="x")


@pytest.mark.parametrize("method", ["set_normalization_used", "set_return_type", "generate"])
def test_methods_of_other_libraries_say_what_to_do(method: str) -> None:
    attack = robustcl.attacks.PGD(model(), eps="8/255")
    with pytest.raises(UsageError, match=f"{method} is not offered: "):
        getattr(attack, method)
    assert not hasattr(attack, "nonsense")


def test_what_a_notebook_prints_is_short() -> None:
    composition = robustcl.compose(recipe="ncp", budget="smoke")
    assert repr(composition).startswith("<Composition ncp, seed 0, data digits, stages pretrain, robust")
    assert len(repr(composition)) < 200
    assert repr(Results({"name": "ncp", "rows": [{}, {}]})) == "<Results of ncp: 2 rows, see to_frame()>"


def test_a_benchmark_takes_a_file_as_the_command_line_does(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((4, 3, 5, 5), dtype=np.float32)
    arrays = {
        f"{what}_{split}": value for split in ("train", "test") for what, value in (("x", x), ("y", np.arange(4)))
    }
    np.savez(tmp_path / "images.npz", **arrays)
    torch.manual_seed(0)
    file = f"npz:{tmp_path / 'images.npz'}"
    clean, robust = zoo.benchmark(model(), n_examples=4, dataset=file, eps="8/255")
    assert 0 <= robust <= clean <= 1
    with pytest.raises(UsageError, match="names its files already; leave data_dir out"):
        zoo.benchmark(model(), n_examples=4, dataset=file, data_dir=tmp_path, eps="8/255")


def test_a_field_that_is_missing_names_the_need_that_brings_it() -> None:
    with pytest.raises(NeedNotMet, match=r"provides no 'logits' in its Embedding: add Need\.PREDICTIONS to the needs"):
        _ = Embedding(h=torch.zeros(1, 2)).logits
