"""The main job as a user starts it: one command, one directory, one page; and the same in three lines of Python."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import robustcl


def test_it_leaves_what_was_promised(main_job: Path) -> None:
    out = main_job / "run"
    for name in ("recipe.toml", "recipe.lock.toml", "metrics.jsonl", "results.json", "journal.jsonl", "report.html"):
        assert (out / name).stat().st_size > 0, name
    for stage in ("pretrain", "robust"):
        assert list((out / "tensorboard" / stage).glob("events.*"))
        assert {p.name for p in (out / "stages" / stage).iterdir()} >= {"model.safetensors", "config.json", "README.md"}
        assert 1 <= len(list((out / "checkpoints" / stage).glob("*.pt"))) <= 2
    lock = tomllib.loads((out / "recipe.lock.toml").read_text())
    assert lock["lock"]["plugins"]["generator ncp"].startswith("robustcl ")
    assert lock["stage"][1]["generator"]["w_adv"]["neighbour"] == 2


def test_it_prints_the_table_and_the_page(main_job: Path) -> None:
    out, said = main_job / "run", (main_job / "said").read_text(encoding="utf-8")
    results = json.loads((out / "results.json").read_text())
    for row in results["rows"]:
        assert f"{100 * row['value']:.2f}" in said
    assert f"report  {out / 'report.html'}" in said
    (silhouette,) = results["silhouette"]
    assert silhouette["chosen"] in silhouette["grid"]
    assert silhouette["score"][silhouette["grid"].index(silhouette["chosen"])] == max(silhouette["score"])


def test_every_sample_is_in_the_journal(main_job: Path) -> None:
    out = main_job / "run"
    lines = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
    asked = {line["question"]: json.loads(line["spec"]) for line in lines if "question" in line}
    outcomes = [line for line in lines if "question" not in line]
    rows = json.loads((out / "results.json").read_text())["rows"]
    assert {row["attack"] for row in rows} > {None}
    for row in rows:
        last = {
            o["index"]: o["correct"]
            for o in outcomes
            if (o["route"], o["split"], o["attack"]) == (row["route"], row["split"], row["attack"])
            and asked[o["spec"]] == row["spec"] | {"model": row["model"]}
        }
        assert len(last) == row["n"]
        assert sum(last.values()) == row["correct"]


def test_the_library_says_the_same(main_job: Path, tmp_path: Path) -> None:
    out = main_job / "run"
    recipe = robustcl.compose(generator="ncp", objective="deacl", dataset="digits", budget="smoke")
    run = recipe.train(out=tmp_path / "run", device="cpu", report=False)
    frame = run.results.to_frame()
    told = json.loads((out / "results.json").read_text())["rows"]
    assert list(frame["value"]) == [row["value"] for row in told]
    assert (run.path / "stages/robust/model.safetensors").read_bytes() == (
        out / "stages/robust/model.safetensors"
    ).read_bytes()
