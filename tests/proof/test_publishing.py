"""A published folder: whole without its run, small, and different in no byte from what was sealed."""

from __future__ import annotations

import hashlib
import json
import lzma
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch

from robustcl.errors import ProofFailed, UsageError
from robustcl.proof.models import Here
from robustcl.proof.publishing import publish
from robustcl.proof.sums import SUMS, check_seal, seal
from robustcl.proof.verification import verify
from tests.shared import tiny
from tests.shared.forks import fork


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory, proven_run: Path) -> Path:
    """The proven run's folder, as its owner would hand it on."""
    return publish(proven_run, tmp_path_factory.mktemp("published") / "tiny-proof", Here(device="cpu"))


@pytest.fixture
def copy(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "copy"))


def test_the_commands_publish_and_verify(proven_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(proven_run, run)
    made = fork(["export", str(run), "--proof", "handed on"], tmp_path, tiny.environment())
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("proof: handed on\n")
    shutil.rmtree(run)  # it is whole without the run
    seen = fork(["verify", "handed on"], tmp_path, tiny.environment())
    assert seen.returncode == 0, seen.stderr
    assert seen.stdout == made.stdout.partition("\n")[2]
    digest = hashlib.sha256((tmp_path / "handed on" / SUMS).read_bytes()).hexdigest()
    assert f"sha256 of the whole folder: {digest}\n" in seen.stdout
    told = fork(["verify", "handed on", "--json"], tmp_path, tiny.environment())
    found = json.loads(told.stdout)
    assert (found["holds"], found["sha256"]) == (True, digest)
    assert {row["attack"] for row in found["rows"]} == {None, "fgsm", "pgd-20"}
    assert sum(row["witnesses"] for row in found["rows"]) > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["handed on"]


def test_the_parts_are_there_and_other_tools_read_them(published: Path) -> None:
    names = {path.relative_to(published).as_posix() for path in published.rglob("*") if path.is_file()}
    assert names >= {SUMS, "proof.json", "results.json", "journal.jsonl.xz", "witnesses.jsonl.xz"}
    assert names >= {f"models/1/{name}" for name in ("model.safetensors", "config.json", "README.md")}
    done = subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=published, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(names) - 1
    cards = "".join(path.read_text() for path in published.rglob("README.md"))
    assert "pgd-20_acc (Linf 0.03137)" in cards


def flips(folder: Path) -> Iterator[tuple[Path, int]]:
    """Yield every byte of every file; of weights, those that say how they are read, and each hundredth number."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        size = path.stat().st_size
        header = 8 + int.from_bytes(path.read_bytes()[:8], "little") if path.suffix == ".safetensors" else size
        yield from ((path, place) for place in [*range(header), *range(header, size, 401)])


def test_every_byte_that_changes_is_found(copy: Path) -> None:
    models = sorted((copy / "models").iterdir())
    for extra in models[1:]:  # they are as the first one, and take time
        shutil.rmtree(extra)
    (copy / SUMS).unlink()
    seal(copy)
    whole = check_seal(copy)
    count = 0
    for path, place in flips(copy):
        with path.open("r+b") as file:
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ 1 << place % 8]))
        with pytest.raises(ProofFailed, match=r"changed|taken out|put into"):
            check_seal(copy)
        with path.open("r+b") as file:
            file.seek(place)
            file.write(bytes([byte]))
        count += 1
    assert count > 10000
    assert check_seal(copy) == whole


@pytest.mark.parametrize("name", [SUMS, "results.json", "journal.jsonl.xz", "witnesses.jsonl.xz", "proof.json"])
def test_a_file_that_is_cut_longer_or_gone(copy: Path, name: str) -> None:
    path = copy / name
    whole = path.read_bytes()
    for changed in (whole[:-1], whole + b"\n", b""):
        path.write_bytes(changed)
        with pytest.raises(ProofFailed, match="changed"):
            verify(copy)
    path.unlink()
    with pytest.raises(ProofFailed, match=rf"taken out|no file .*{name}"):
        verify(copy)


def test_a_file_or_link_too_many(copy: Path) -> None:
    (copy / "models" / "extra").write_text("")
    with pytest.raises(ProofFailed, match="models/extra was put into"):
        verify(copy)
    (copy / "models" / "extra").unlink()
    (copy / "results.json").rename(copy.parent / "results.json")
    (copy / "results.json").symlink_to(copy.parent / "results.json")
    with pytest.raises(ProofFailed, match="is a link"):
        verify(copy)


def reseal(folder: Path) -> None:
    (folder / SUMS).unlink()
    seal(folder)


def test_whoever_seals_a_changed_folder_anew_is_found_by_its_parts(copy: Path, published: Path) -> None:
    """What a cheat can make consistent are digests; the proof itself is not one of them."""
    weights = next((copy / "models").iterdir()) / "model.safetensors"
    tensors = safetensors.torch.load_file(weights)
    name = next(name for name, value in tensors.items() if value.is_floating_point() and value.dim() > 1)
    tensors[name].view(-1)[0] += 1e-3
    data = safetensors.torch.save(tensors, metadata={"format": "pt"})
    weights.write_bytes(data)
    reseal(copy)
    with pytest.raises(ProofFailed, match="its SHA-256 differs"):
        verify(copy)
    config = json.loads(weights.with_name("config.json").read_text())
    weights.with_name("config.json").write_text(json.dumps(config | {"sha256": hashlib.sha256(data).hexdigest()}))
    reseal(copy)
    with pytest.raises(ProofFailed, match="is not the one that was judged: its hash is"):
        verify(copy)
    shutil.copytree(published / "models", copy / "models", dirs_exist_ok=True)

    results = json.loads((copy / "results.json").read_text())
    row = next(row for row in results["rows"] if row["attack"] == "pgd-20")
    row["correct"] -= 1
    row["value"] = row["correct"] / row["n"]
    (copy / "results.json").write_text(json.dumps(results))
    reseal(copy)
    with pytest.raises(ProofFailed, match="one of the two was changed"):
        verify(copy)
    shutil.copy(published / "results.json", copy)

    lines = lzma.decompress((copy / "witnesses.jsonl.xz").read_bytes()).splitlines(keepends=True)
    (copy / "witnesses.jsonl.xz").write_bytes(lzma.compress(b"".join(lines[:-1])))
    reseal(copy)
    found = verify(copy)
    assert not found.holds
    assert sum(row.unproven for row in found.rows) == 1
    for damaged in (b"no xz", lzma.compress(b"".join(lines)) + b"more", lzma.compress(b"".join(lines))[:-20]):
        (copy / "witnesses.jsonl.xz").write_bytes(damaged)
        reseal(copy)
        with pytest.raises(ProofFailed, match=r"witnesses\.jsonl\.xz (cannot be unpacked|has something|is cut off)"):
            verify(copy)
    (copy / "witnesses.jsonl.xz").write_bytes(lzma.compress(b"\0" * (1 << 26)))
    reseal(copy)
    with pytest.raises(ProofFailed, match="too long when it is unpacked"):
        verify(copy)


@pytest.mark.parametrize(
    "change",
    [{"format": "robustcl-proof-2"}, {"data": {"use": 3}}, {"models": [{"folder": "../run", "hash": "", "route": ""}]}],
)
def test_a_description_of_something_else(copy: Path, change: dict[str, object]) -> None:
    proof = json.loads((copy / "proof.json").read_text())
    (copy / "proof.json").write_text(json.dumps(proof | change))
    reseal(copy)
    with pytest.raises(ProofFailed, match="describes no proof of the format robustcl-proof-1"):
        verify(copy)


def test_a_protocol_that_no_saved_encoder_holds_and_a_folder_that_is_taken(
    proven_run: Path, tmp_path: Path, published: Path
) -> None:
    with pytest.raises(UsageError, match="exists and holds something: choose another folder"):
        publish(proven_run, published)
    (tmp_path / "empty").mkdir()
    assert publish(proven_run, tmp_path / "empty", Here(device="cpu")) == tmp_path / "empty"
    assert verify(tmp_path / "empty").holds


def test_export_wants_to_know_what(tmp_path: Path) -> None:
    for words, said in (
        (["export", "x"], "--model-info DIR, --proof DIR, or both"),
        (["export", "x", "--model-info", "y"], "need each other"),
        (["export", "x", "--proof", "y", "--authors", "A"], "--authors is of --model-info"),
    ):
        done = fork(words, tmp_path, tiny.environment())
        assert done.returncode == 2
        assert said in done.stderr
    assert list(tmp_path.iterdir()) == []
