"""What an evaluation keeps beside its journal: each input that fooled, once, whatever cuts it off."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import nn

from robustcl.errors import DataError
from robustcl.evaluate.classifier import of_model
from robustcl.evaluate.journal import CLEAN, Journal, Key, Outcome
from robustcl.evaluate.judge import Judge
from robustcl.evaluate.lines import QuestionLine
from robustcl.evaluate.witness import restore
from robustcl.evaluate.witnesses import Witness, WitnessFile, beside, read
from robustcl.evaluate.work import Work
from robustcl.rng import Rng
from robustcl.threat import Ball
from robustcl_plugins.generators.pgd import PGD
from tests.shared.pixels import HeldPixels

N = 23
KEY = Key("as-is", "", "test", "two", json.dumps({"model": "m"}))


class Images(HeldPixels):
    """Random 8-bit images of 12 pixels; what the model says of them is their label, but for every fifth."""

    def __init__(self, judge: Judge) -> None:
        x = (Rng(3).uniform((N, 12)) * 255).round() / 255
        super().__init__(x, judge.classifier.predict(x))
        self.labels[::5] = (self.labels[::5] + 1) % 4


def make_judge() -> Judge:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 16), nn.Tanh(), nn.Linear(16, 4)).eval()
    with torch.no_grad():
        net[0].weight.mul_(4.0)
        net[2].weight.mul_(4.0)
    return Judge(of_model(net), Ball("Linf", 0.08), Rng(7), nullcontext)


MEMBERS = [("weak", PGD(steps=2, step_size=0.02, start="none")), ("strong", PGD(steps=20, step_size=0.02))]


def judged(journal: Journal, block: int = 5, shard: tuple[int, int] = (0, 1)) -> list[Outcome]:
    judge = make_judge()
    return judge.judge(Images(judge), torch.arange(N), KEY, MEMBERS, journal, 0, Work(block, shard), journal.witnesses)  # type: ignore[arg-type]


def kept(path: Path) -> dict[int, Witness]:
    found = [said for said in read(path) if isinstance(said, Witness)]
    assert len({each.index for each in found}) == len(found)
    return {each.index: each for each in found}


def test_each_image_that_an_attack_broke_has_a_witness_that_breaks_it_again(tmp_path: Path) -> None:
    outcomes = judged(Journal(tmp_path / "journal.jsonl"))
    found, judge = kept(tmp_path / "witnesses.jsonl"), make_judge()
    broken = {o.index: o.member for o in outcomes if not o.correct and o.member != CLEAN}
    assert {index: each.member for index, each in found.items()} == broken
    assert set(broken.values()) == {"weak", "strong"}
    images = Images(judge)
    for index, each in found.items():
        assert each.question == KEY.digest
        x = images.x[index : index + 1]
        witness = restore(each.move(12), x, judge.ball)
        assert float((witness - x).abs().max()) <= 0.08 + 1e-6
        assert int(judge.classifier.predict(witness)) != int(images.labels[index])


def test_the_specification_stands_once_above_its_witnesses(tmp_path: Path) -> None:
    judged(Journal(tmp_path / "journal.jsonl"))
    said = list(read(tmp_path / "witnesses.jsonl"))
    assert [each for each in said if isinstance(each, QuestionLine)] == [QuestionLine(KEY.digest, KEY.spec)]
    assert isinstance(said[0], QuestionLine)


def test_a_verdict_without_its_witness_is_no_state_that_a_kill_can_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off before each of the journal's writes in turn, and taken up: every broken image has its one witness."""
    whole = judged(Journal(tmp_path / "whole.journal.jsonl"))
    original = Journal.append
    for call in range(12):
        path = tmp_path / f"{call}" / "journal.jsonl"
        path.parent.mkdir()
        left = [call]

        def die(journal: Journal, key: Key, outcomes: object, left: list[int] = left) -> None:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            original(journal, key, outcomes)  # type: ignore[arg-type]

        with monkeypatch.context() as patched:
            patched.setattr(Journal, "append", die)
            with pytest.raises(KeyboardInterrupt):
                judged(Journal(path))
        torn = beside(path)
        with torn.open("a") as file:
            file.write('{"spec": "half a li')
        assert judged(Journal(path)) == whole
        found = {o.index for o in whole if not o.correct and o.member != CLEAN}
        assert set(kept(torn)) == found
        assert len(found) > 5


def test_a_second_evaluation_keeps_nothing_twice(tmp_path: Path) -> None:
    judged(Journal(tmp_path / "journal.jsonl"))
    before = (tmp_path / "witnesses.jsonl").read_bytes()
    judged(Journal(tmp_path / "journal.jsonl"))
    assert (tmp_path / "witnesses.jsonl").read_bytes() == before
    (tmp_path / "journal.jsonl").unlink()
    judged(Journal(tmp_path / "journal.jsonl"))
    assert (tmp_path / "witnesses.jsonl").read_bytes() == before


def test_shares_and_workers_keep_theirs_in_files_of_their_own(tmp_path: Path) -> None:
    judged(Journal(tmp_path / "journal.jsonl"))
    for number in range(2):
        judged(Journal(tmp_path / f"journal.{number + 1}-of-2.jsonl"), shard=(number, 2))
    parts = [kept(tmp_path / f"witnesses.{number}-of-2.jsonl") for number in (1, 2)]
    assert not parts[0].keys() & parts[1].keys()
    whole = kept(tmp_path / "witnesses.jsonl")
    for index, each in (parts[0] | parts[1]).items():
        assert (each.member, each.grid, each.steps) == (
            whole[index].member, whole[index].grid, whole[index].steps)  # fmt: skip
    assert (parts[0] | parts[1]).keys() == whole.keys()
    assert beside(Path("a/journal.worker-00ff.jsonl")) == Path("a/witnesses.worker-00ff.jsonl")


def test_every_flipped_byte_and_every_cut_is_found(tmp_path: Path) -> None:
    path = tmp_path / "witnesses.jsonl"
    judged(Journal(tmp_path / "journal.jsonl"))
    whole = b"".join(path.read_bytes().splitlines(keepends=True)[:4])
    for place in range(len(whole)):
        for flip in (1, 0x80):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
            with pytest.raises(DataError, match=r"witnesses\.jsonl(: line \d+| is cut off)"):
                list(read(path))
    for place in range(len(whole)):
        path.write_bytes(whole[:place])
        if whole[:place].endswith(b"\n") or not place:
            assert len(list(read(path))) == whole[:place].count(b"\n")  # fewer witnesses: told where they are counted
            continue
        with pytest.raises(DataError, match="cut off in the middle"):
            list(read(path))
    first, second, *_ = whole.splitlines(keepends=True)
    for changed in (whole + second, first + first + second, whole + b"\n", whole + b"{}\n", second):
        path.write_bytes(changed)
        with pytest.raises(DataError, match=r"line \d+"):
            list(read(path))


def test_a_damaged_file_is_not_written_on(tmp_path: Path) -> None:
    path = tmp_path / "witnesses.jsonl"
    judged(Journal(tmp_path / "journal.jsonl"))
    path.write_bytes(path.read_bytes().replace(b'"grid": 255', b'"grid": 256', 1))
    with pytest.raises(DataError, match="line 2 is damaged"):
        WitnessFile(path).keep(KEY.spec, "weak", [])


def test_the_evaluation_says_what_it_could_not_write_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from robustcl.evaluate import judge as judging

    monkeypatch.setattr(judging, "find_moves", lambda classifier, ball, x, label, adversarial: [None] * len(x))
    judge, journal = make_judge(), Journal(tmp_path / "journal.jsonl")
    found = judge.judge(Images(judge), torch.arange(N), KEY, MEMBERS, journal, 0, Work(5), journal.witnesses)  # type: ignore[arg-type]
    broken = sum(not o.correct and o.member != CLEAN for o in found)
    attacked = N - sum(o.member == CLEAN for o in found)
    said = judge.remark()
    assert said is not None
    assert said.startswith(f"{broken} of {attacked} attacked samples were fooled, but not by inputs that could be")
    assert judge.remark() is None
    assert kept(tmp_path / "witnesses.jsonl") == {} if (tmp_path / "witnesses.jsonl").exists() else True


def test_without_a_file_nothing_is_kept(tmp_path: Path) -> None:
    judge = make_judge()
    judge.judge(Images(judge), torch.arange(N), KEY, MEMBERS, Journal(tmp_path / "journal.jsonl"), 0, Work(5))  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["journal.jsonl"]
