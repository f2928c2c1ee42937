"""``verify``: a copy elsewhere, a folder that nobody may write, other models, other data, and every kind of damage."""

from __future__ import annotations

import base64
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robustcl.disk import parse_json
from robustcl.errors import ProofFailed, UsageError
from robustcl.evaluate.journal import CLEAN, Journal, Key
from robustcl.evaluate.lines import Chain
from robustcl.evaluate.witness import Move
from robustcl.evaluate.witnesses import PATTERN
from robustcl.proof.models import Here
from robustcl.proof.verification import verify
from tests.shared import tiny
from tests.shared.forks import fork


@pytest.fixture
def place(strange_place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the stranger's folder that a test may change."""
    shutil.copytree(strange_place, tmp_path / "place")
    monkeypatch.setattr(sys, "path", [str(strange_place), *sys.path])
    return tmp_path / "place"


def here(place: Path, model: str = "build") -> Here:
    return Here(model=f"models_of_somebody:{model}", dataset=f"npz:{place}/images.npz", device="cpu")


def rewrite(path: Path, change: Callable[[list[dict[str, object]]], list[dict[str, object]]]) -> None:
    """Change the entries of a file of lines as somebody would who knows how its checks are made."""
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    bare = [{key: value for key, value in entry.items() if key != "check"} for entry in entries]
    chain = Chain()
    path.write_text("".join(f"{chain.write(entry)}\n" for entry in change(bare)))


def counts(folder: Path) -> tuple[int, int, int]:
    """Return how many images of the attack's question fell as they are, to the attack, and stood."""
    journal = Journal(folder / "journal.jsonl")
    (question,) = [each for each in journal.places() if each[3] is not None and each[2] == "test"]
    spec = journal.questions[question[4]]
    last = [each[-1] for each in journal.known(Key(*question[:4], spec)).values()]
    return (
        sum(each.member == CLEAN for each in last), sum(not each.correct and each.member != CLEAN for each in last),
        sum(each.correct for each in last),
    )  # fmt: skip


def test_a_stranger_s_model_is_proven_by_whoever_has_it(place: Path) -> None:
    plain, fooled, stand = counts(place / "judged")
    assert min(plain, fooled, stand) > 0
    found = verify(place / "judged", here(place))
    assert found.holds
    clean, attacked = found.rows
    assert (clean.mistakes, clean.witnesses, clean.unproven) == (plain, 0, 0)
    assert (attacked.mistakes, attacked.witnesses, attacked.unproven) == (plain, fooled, 0)
    assert attacked.proven == attacked.reported == stand / 24


def test_the_command_on_a_run_that_was_moved_and_that_nobody_may_write(proven_run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "copy of it"
    shutil.copytree(proven_run, moved)
    before = {path: path.read_bytes() for path in moved.rglob("*") if path.is_file()}
    for path in [moved, *moved.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        done = fork(["verify", str(moved)], tmp_path, tiny.environment())
    finally:
        for path in [moved, *moved.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert done.returncode == 0, done.stderr
    row = next(row for row in json.loads((moved / "results.json").read_text())["rows"]
               if (row["attack"], row["split"]) == ("pgd-20", "test"))  # fmt: skip
    fallen = row["n"] - row["correct"]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("linear adv, pgd-20, Linf 0.03137")]
    assert f"at most {row['value']:.2%} proven, {row['value']:.2%} reported" in line
    plain, witnessed = (int(word) for word in line.rpartition("; ")[2].split() if word.isdigit())
    assert plain + witnessed == fallen
    assert witnessed > 0
    assert done.stdout.endswith("numbers are proven\n")
    assert {path: path.read_bytes() for path in moved.rglob("*") if path.is_file()} == before


def test_without_the_data_set_s_file_it_is_a_sentence(place: Path) -> None:
    (place / "images.npz").unlink()
    words = ["verify", str(place / "judged"), "--model", "models_of_somebody:build"]
    environment = tiny.environment() | {"PYTHONPATH": str(place)}
    done = fork([*words, "--dataset", f"npz:{place}/images.npz"], place, environment)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "images.npz" in done.stderr


def test_a_folder_chooses_no_code(place: Path) -> None:
    with pytest.raises(UsageError, match="name it with --model and --weights, since no code is run because a folder"):
        verify(place / "judged", Here(dataset=f"npz:{place}/images.npz"))


@pytest.mark.parametrize("other", ["one_bit", "other"])
def test_another_model_even_by_one_bit(place: Path, other: str) -> None:
    with pytest.raises(ProofFailed, match=r"the model of as-is is not the one that was judged: its hash is \w+, "):
        verify(place / "judged", here(place, other))


def test_a_run_s_weights_that_changed_by_one_bit(proven_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(proven_run, copy)
    weights = copy / "stages" / "robust" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ProofFailed, match="its SHA-256 differs"):
        verify(copy)


@pytest.mark.parametrize("what", ["pixel", "label"])
def test_other_data(place: Path, what: str) -> None:
    with np.load(place / "images.npz") as found:
        arrays = dict(found)
    if what == "pixel":
        arrays["x_test"][17, 0, 0, 0] ^= 1
    else:
        arrays["y_test"][17] = (arrays["y_test"][17] + 1) % 5
    np.savez(place / "images.npz", **arrays)
    with pytest.raises(ProofFailed, match="are not those that were judged: their digest is"):
        verify(place / "judged", here(place))


def test_fewer_images(place: Path) -> None:
    with np.load(place / "images.npz") as found:
        arrays = {name: value[:20] for name, value in found.items()}
    np.savez(place / "images.npz", **arrays)
    with pytest.raises(ProofFailed, match="digest"):
        verify(place / "judged", here(place))


def test_the_witnesses_of_another_model_or_data_set(place: Path, proven_run: Path) -> None:
    shutil.copy(proven_run / "witnesses.jsonl", place / "judged" / "witnesses.jsonl")
    with pytest.raises(ProofFailed, match=r"witnesses\.jsonl is not of these numbers: it is of another model"):
        verify(place / "judged", here(place))


def test_a_witness_of_an_image_that_the_journal_calls_robust(place: Path) -> None:
    path = place / "judged" / "witnesses.jsonl"
    journal = Journal(place / "judged" / "journal.jsonl")
    robust = next(int(json.loads(line)["index"]) for line in reversed(journal.path.read_text().splitlines())
                  if json.loads(line).get("member") == "pgd-20" and json.loads(line)["correct"])  # fmt: skip
    rewrite(path, lambda entries: [*entries, {**entries[-1], "index": robust}])
    found = verify(place / "judged", here(place))
    assert not found.holds
    assert found.rows[1].faults == (f"image {robust} has a witness, and the journal calls it robust",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"index": 23456}, "image 23456 has a witness, and the journal holds no outcome of it"),
        ({"index": 0}, "image 0 has a witness, and the journal says that it was wrong as it is"),
        ({"steps": "eJwDAAAAAAE="}, "is none: it has other than the 192 steps of an image"),
        ({"grid": 17}, "is none: there is no grid of 17 steps to a unit with 1 bytes each"),
    ],
)
def test_witnesses_that_are_none(place: Path, change: dict[str, object], said: str) -> None:
    path = place / "judged" / "witnesses.jsonl"
    rewrite(path, lambda entries: [*entries[:-1], {**entries[-1], **change}])
    found = verify(place / "judged", here(place))
    assert any(said in fault for fault in found.rows[1].faults), found.rows[1].faults
    assert found.rows[1].unproven == 1
    assert found.rows[1].proven == pytest.approx(found.rows[1].reported + 1 / 24)


def test_a_witness_outside_of_the_ball_or_that_fools_nobody(place: Path) -> None:
    size = 192
    far = Move(255, np.full(size, 3, np.int32)).pack()
    idle = Move(255, np.zeros(size, np.int32)).pack()

    def change(entries: list[dict[str, object]]) -> list[dict[str, object]]:
        for entry, (width, steps) in zip(entries[-2:], (far, idle), strict=True):
            entry |= {"grid": 255, "width": width, "steps": base64.b64encode(steps).decode()}
        return entries

    rewrite(place / "judged" / "witnesses.jsonl", change)
    found = verify(place / "judged", here(place)).rows[1]
    assert found.unproven == 2
    assert any("lies outside the ball: its distance is 0.0117" in fault for fault in found.faults)
    assert any("does not fool the model" in fault for fault in found.faults)


def test_a_cut_or_enlarged_file(place: Path) -> None:
    path = place / "judged" / "witnesses.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with pytest.raises(ProofFailed, match="cut off in the middle of its line"):
        verify(place / "judged", here(place))
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:-2]))
    found = verify(place / "judged", here(place)).rows[1]
    assert found.unproven == 2
    assert not found.holds
    assert found.proven == pytest.approx(found.reported + 2 / 24)
    for more in (b"x", whole.splitlines(keepends=True)[-1], b"\n"):
        path.write_bytes(whole + more)
        with pytest.raises(ProofFailed, match=r"line \d+"):
            verify(place / "judged", here(place))


def test_a_reported_number_that_was_improved(place: Path) -> None:
    path = place / "judged" / "results.json"
    found = parse_json(path.read_bytes(), "results")
    row = found["rows"][1]
    row["correct"] -= 1
    row["value"] = row["correct"] / row["n"]
    path.write_text(json.dumps(found))
    words = ["--model", "models_of_somebody:build", "--dataset", f"npz:{place}/images.npz"]
    environment = tiny.environment() | {"PYTHONPATH": str(place)}
    done = fork(["verify", str(place / "judged"), *words], place, environment)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "one of the two was changed" in done.stderr


def test_numbers_without_witnesses(place: Path, whole_run: Path) -> None:
    for path in (place / "judged").glob(PATTERN):
        path.unlink()
    with pytest.raises(UsageError, match="keeps no witnesses: it was judged with --no-witnesses, or by an earlier"):
        verify(place / "judged", here(place))
    with pytest.raises(UsageError, match=r"results\.json is missing"):
        verify(place)


def test_shares_of_several_processes_prove_together(place: Path) -> None:
    path = place / "judged" / "witnesses.jsonl"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    for name, part in (("witnesses.1-of-2.jsonl", entries[1::2]), ("witnesses.worker-ab.jsonl", entries[2::2])):
        shutil.copy(path, place / "judged" / name)
        kept = [{key: value for key, value in entry.items() if key != "check"} for entry in part]
        rewrite(place / "judged" / name, lambda entries, kept=kept: [entries[0], *kept])  # type: ignore[misc]
    path.unlink()
    assert verify(place / "judged", here(place)).holds


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Here(model="models_of_somebody:build"), "has itself: leave --model and --weights out"),
        (Here(weights=Path("weights.safetensors")), "--weights are those of --model: name the model as well"),
    ],
)
def test_a_model_is_not_named_in_vain(proven_run: Path, given: Here, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        verify(proven_run, given)
