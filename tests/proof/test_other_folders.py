"""Numbers under another threat, of a protocol that keeps no weights, without witnesses, and by workers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from robustcl.analysis.again import Wanted, evaluate_again
from robustcl.analysis.other_threat import evaluate_under
from robustcl.errors import UsageError
from robustcl.evaluate.witnesses import PATTERN
from robustcl.evaluate.work import Work
from robustcl.proof.models import Here
from robustcl.proof.publishing import publish
from robustcl.proof.verification import verify
from tests.shared import tiny
from tests.shared.forks import fork

WORDS = ("evaluate", "run", "--protocol", "linear", "--route", "adv", "--samples", "40", "--no-audit")


@pytest.fixture
def copy(proven_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(proven_run, tmp_path / "run"))


def test_another_threat_is_verified_below_its_run_wherever_that_was_moved(copy: Path, tmp_path: Path) -> None:
    wanted = Wanted("linear", ["adv"], ["pgd-20"], 30, audit=0)
    folder = evaluate_under(copy, "0.5", wanted, norm="L2").path
    copy.rename(tmp_path / "moved")
    found = verify(tmp_path / "moved" / folder.name)
    assert found.holds
    (attacked,) = [row for row in found.rows if row.row["attack"]]
    assert attacked.row["spec"]["norm"] == "L2"
    assert attacked.witnesses > 0
    published = publish(tmp_path / "moved" / folder.name, tmp_path / "published", Here(device="cpu"))
    shutil.rmtree(tmp_path / "moved")
    assert verify(published).holds


def test_a_classifier_that_no_saved_encoder_holds_is_not_published(copy: Path, tmp_path: Path) -> None:
    evaluate_again(copy, "knn", ["adv"], ["fgsm"], 10, audit=0)
    assert verify(copy).holds
    with pytest.raises(UsageError, match="the classifier of protocol knn is none that a saved encoder can hold"):
        publish(copy, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_none_are_kept_where_none_are_wanted(whole_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(whole_run, tmp_path / "run"))
    evaluate_again(copy, "linear", ["adv"], ["pgd-20"], 40, audit=0, work=Work(witnesses=False))
    assert not list(copy.glob(PATTERN))
    done = fork(["verify", "run"], tmp_path, tiny.environment())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("robustcl: run keeps no witnesses")
    with pytest.raises(UsageError, match="keeps no witnesses"):
        publish(copy, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_the_flag_and_the_recipe_s_key_say_so(whole_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(whole_run, tmp_path / "run"))
    assert fork([*WORDS, "--attack", "fgsm", "--no-witnesses"], tmp_path, tiny.environment()).returncode == 0
    assert not list(copy.glob(PATTERN))
    lock = copy / "recipe.lock.toml"
    lock.write_text(lock.read_text().replace("log_every = 1\n", "log_every = 1\nwitnesses = false\n"))
    assert fork([*WORDS, "--attack", "pgd-20"], tmp_path, tiny.environment()).returncode == 0
    assert not list(copy.glob(PATTERN))


def test_workers_keep_theirs_and_all_of_them_prove(whole_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(whole_run, tmp_path / "run"))
    done = fork([*WORDS, "--attack", "pgd-20", "--worker"], tmp_path, tiny.environment())
    assert done.returncode == 0, done.stderr
    assert [path.name.split("-")[0] for path in copy.glob(PATTERN)] == ["witnesses.worker"]
    found = verify(copy)
    assert found.holds
    assert sum(row.witnesses for row in found.rows) > 0
    assert json.loads((copy / "results.json").read_text())["rows"]
