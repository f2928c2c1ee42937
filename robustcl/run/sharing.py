"""Stages that runs share: taken from the store where they are there, else trained by one process, and kept in it."""

from __future__ import annotations

import contextlib
import datetime
import json
import secrets
import shutil
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustcl import ranks
from robustcl.composition.lock import digest_until
from robustcl.disk import Leases, Limits, make_folder, read_bytes, read_json, say_why, write_atomically
from robustcl.errors import CheckpointError, DiskError, RobustclError, UsageError
from robustcl.recipe import Stage
from robustcl.run.keying import describe_stage
from robustcl.run.stages import Stages
from robustcl.store.entries import Store
from robustcl.store.manifest import is_file_of_stage, key_of
from robustcl.train import checkpoint, stage_files
from robustcl.train.log import METRICS, lines_of, put_lines

PATIENCE, BEAT, PAUSE = 60.0, 5.0, 1.0
"""Seconds: until a silent process is taken for dead, between its signs of life, and between two looks at it."""

_BEGUN = "store.json"
"""Beside a stage's checkpoints: the word that the store gave out when its first step was made."""


class SharedStages:
    """Trains the stages of a run, or takes them from a store; without one, or without a key, a stage is trained.

    The first process has to do with the store; the others hear what came of it.
    """

    def __init__(self, stages: Stages, place: Path | None) -> None:
        self.stages = stages
        self.store = Store(place) if place is not None and ranks.rank() == 0 else None
        self.writable = True
        self._said = set[str]()

    def train(self, number: int) -> None:
        """Have the stage of a number, counted from 0, finished in the run's folder."""
        stage, plan = self.stages.composition.recipe.stage[number], self.stages.composition.stages[number]
        decides = self._describe(number)
        with contextlib.ExitStack() as held:
            if ranks.from_first(decides is not None and self._take_or_wait(decides, number, held)):
                return
            self.stages.say(f"stage {stage.name}: {stage.epochs} epochs")
            if decides is not None:
                self._begin(key_of(decides), stage.name)
            self.stages.train(stage, plan, number=number)
            if decides is not None and self.writable:
                self._keep(decides, stage)

    def _describe(self, number: int) -> dict[str, Any] | None:
        if self.store is None:
            return None
        try:
            return describe_stage(self.stages, number)
        except (RobustclError, OSError) as error:
            name = self.stages.composition.recipe.stage[number].name
            self.stages.say(f"stage {name}: neither taken from the store nor kept in it: {error}")
            return None

    def _take_or_wait(self, decides: Mapping[str, Any], number: int, held: contextlib.ExitStack) -> bool:
        """Say whether the stage was taken; if not, its lease is ours while ``held`` is open, or cannot be had."""
        assert self.store is not None
        key, name, waited = key_of(decides), self.stages.composition.recipe.stage[number].name, False
        leases: Leases | None = None
        while True:
            if self._take(key, number):
                return True
            if not self.writable:
                return False
            try:
                leases = leases or held.enter_context(Leases(self.store.leases, PATIENCE, BEAT))
                if leases.take(key):
                    # Whoever held it before may have finished since we looked.
                    return self._take(key, number)
            except (DiskError, UsageError) as error:
                self._cannot_write(error)
                return False
            if not waited:
                holder = leases.holder(key) or "another process"
                self.stages.say(f"stage {name}: {holder} trains the same at this moment; waiting for its outcome")
            waited = True
            time.sleep(PAUSE)

    def _take(self, key: str, number: int) -> bool:
        assert self.store is not None
        folder, name = self.stages.folder, self.stages.composition.recipe.stage[number].name
        target = stage_files.stage_folder(folder, name)
        aside = target.with_name(f".{name}.{secrets.token_hex(8)}")
        try:
            found = self.store.copy_out(key, aside, folder)
            if found is None:
                return False
            facts = stage_files.read_facts(aside) or {}
            logged = aside / METRICS
            lines = read_bytes(logged, error=CheckpointError) if logged.is_file() else b""
        except CheckpointError as error:
            shutil.rmtree(aside, ignore_errors=True)
            self._say(f"stage {name}: what the store holds of it is not taken: {error}")
            return False
        try:
            logged.unlink(missing_ok=True)
            mark = {**facts, "number": number, "recipe": digest_until(folder, number), "taken": {"key": key}}
            write_atomically(aside / "finished.json", json.dumps(mark), within=folder)
            put_lines(folder, name, lines)
            if target.is_dir():  # what a kill has left, without a mark
                shutil.rmtree(target)
            aside.replace(target)
        except OSError as error:
            raise say_why(target, error) from None
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        about = {word: found.about.get(word) for word in ("kept", "host", "steps", "seconds")}
        took = f"{about['steps']} steps in {about['seconds']} s on {about['host']}, {about['kept']}"
        self.stages.say(f"stage {name}: taken from the store {self.store.folder}, {key[:12]} ({took})")
        return True

    def _begin(self, key: str, name: str) -> None:
        """Have the store note which key the stage begins with: what was begun otherwise is not kept under it."""
        place = self.stages.folder / "checkpoints" / name
        if checkpoint.steps(place) or not self.writable:
            return
        assert self.store is not None
        try:
            word = self.store.begin(key)
        except (DiskError, UsageError) as error:
            self._cannot_write(error)
            return
        make_folder(place, within=self.stages.folder)
        write_atomically(place / _BEGUN, json.dumps({"word": word}), within=self.stages.folder)

    def _keep(self, decides: Mapping[str, Any], stage: Stage) -> None:
        assert self.store is not None
        folder = self.stages.folder
        begun = folder / "checkpoints" / stage.name / _BEGUN
        try:
            noted = read_json(begun, limits=Limits(file=1024)) if begun.is_file() else None
            if not isinstance(noted, dict) or not self.store.has_begun(key_of(decides), noted.get("word")):
                self._say(f"stage {stage.name}: not kept in the store, since it was begun without it or elsewhere")
                return
            place = stage_files.stage_folder(folder, stage.name)
            names = (path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())
            files: dict[str, Path | bytes] = {name: place / name for name in names if is_file_of_stage(name)}
            files[METRICS] = lines_of(folder, stage.name)
            self.store.put(self._tell(stage), decides, files)
        except RobustclError as error:
            self._cannot_write(error)

    def _tell(self, stage: Stage) -> dict[str, Any]:
        """Return what a stage is, in words."""
        recipe, facts = self.stages.composition.recipe, stage_files.facts(self.stages.folder, stage.name) or {}
        return {
            "recipe": recipe.name,
            "stage": stage.name,
            "data": recipe.data.use,
            "seed": recipe.seed,
            "threat": f"{recipe.threat.norm} {recipe.threat.eps}",
            "steps": facts.get("steps"),
            "seconds": round(float(facts.get("seconds", 0.0)), 1),
            "device": str(self.stages.engine.device),
            "host": socket.gethostname(),
            "kept": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def _say(self, sentence: str) -> None:
        """Say something once, however often one looks."""
        if sentence not in self._said:
            self._said.add(sentence)
            self.stages.say(sentence)

    def _cannot_write(self, error: RobustclError) -> None:
        """Say once that the store takes nothing; the run goes on, and still takes what is there."""
        assert self.store is not None
        self.writable = False
        said = str(error).removesuffix(", then give the same command again")
        self.stages.say(f"the store {self.store.folder} takes nothing, the run goes on without keeping stages: {said}")
