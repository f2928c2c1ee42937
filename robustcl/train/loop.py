"""The loop around the step: batches in keyed order, refresh, backward, EMA, memory, log, checkpoint."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn

from robustcl import hooks, ranks
from robustcl.data.order import epoch_batches
from robustcl.errors import Interrupted, NonFiniteLoss, UsageError
from robustcl.hooks import PluginHooks
from robustcl.options.duration import Progress
from robustcl.train import checkpoint, detection, pairs, state
from robustcl.train.engine import Engine
from robustcl.train.interrupt import Interrupt
from robustcl.train.plan import at
from robustcl.train.refresh import refresh
from robustcl.train.stage import StageState
from robustcl.train.step import Moment
from robustcl.train.survey import RunSurvey

_LARGEST = 1e12
"""No network that learns has a weight or a statistic of this size."""


class StageRun(StageState):
    """A stage that runs: anew, or from the newest valid checkpoint; both give the same weights to the bit."""

    engine: Engine

    def train(self) -> None:
        """Run the stage to its end.

        Raises:
            NonFiniteLoss: a term became infinite or not a number.
            Interrupted: Ctrl-C or SIGTERM; the state is saved.
        """
        for encoder in (self.encoders.online, *self.encoders.ema.values(), *self.encoders.frozen.values()):
            self.engine.place(encoder)
        self.engine.place(self.step)
        optimizer = self.plan.optimizer.plugin.make(self.parameters) if self.parameters else None
        mark = state.restore(self, optimizer)
        self.log.open(mark, self.done)
        try:
            with Interrupt() as interrupt:
                self._epochs(optimizer, interrupt)
        finally:
            self.log.close()
        self.encoders.passes.gather(self.engine.device)  # of a stage without a step, too

    def _epochs(self, optimizer: torch.optim.Optimizer | None, interrupt: Interrupt) -> None:
        wrapped, stepper = self.engine.wrap(self.step, optimizer) if optimizer is not None else (None, None)
        if self.plan.epochs == 0:
            self._refresh(0.0)
            return
        while self.epoch < self.plan.epochs:
            started = time.monotonic()
            self._refresh(float(self.epoch))  # a sampler may ask for a loss that reads clusters
            self._sample()
            order = self._order(self.epoch)
            for rows, x in self.images.batches(order[self.within :]):
                progress = self._progress(len(order))
                self._refresh(progress.epoch)
                numbers = self.learn(wrapped, stepper, rows, x, progress)
                self.curve.add(numbers["loss"], numbers["lr"])
                self._advance(len(order))
                if self.within == 0:
                    self.curve.end_epoch()
                last = self.epoch == self.plan.epochs
                of_epoch = self.pairs.take() if self.within == 0 else {}
                pairs.refuse_without_positives(of_epoch, self.plan.name)
                if self.done == 1 or last or of_epoch or self.done % self.keeping.log_every == 0:
                    seconds = self.seconds + time.monotonic() - started
                    epoch = self.epoch + self.within / len(order)
                    self.log.write(
                        self.done, progress.steps, {"epoch": epoch, **numbers, **of_epoch, "seconds": seconds}
                    )
                asked = interrupt.asked(self.engine.device)
                if asked or last or self._is_due():
                    self.seconds += time.monotonic() - started
                    started = time.monotonic()
                    self._keep(optimizer, numbers["loss"])
                if asked:
                    raise Interrupted(
                        f"stopped at step {self.done} of {progress.steps} of stage {self.plan.name}; resume it"
                    )

    def _progress(self, batches: int) -> Progress:
        """Say where the stage stands; a sampler may give each epoch another length, so the end is an estimate."""
        left = batches - self.within + (self.plan.epochs - self.epoch - 1) * batches
        return Progress(self.done, self.done + left, self.epoch + self.within / batches, float(self.plan.epochs))

    def _advance(self, batches: int) -> None:
        self.done += 1
        self.within += 1
        if self.within == batches:
            self.epoch, self.within = self.epoch + 1, 0

    def learn(self, wrapped: Any, stepper: Any, rows: Tensor, x: Tensor, progress: Progress) -> dict[str, float]:
        """Take one optimiser step; returns the numbers to log."""
        for part in self.plan.parts():
            part.move_to(progress)
        lr = at(self.plan.lr, progress)
        for group in stepper.param_groups:
            group["lr"] = lr
        rng = self.rng.child("step", progress.step)
        self.step.moment = Moment(progress, rng, self.clusters.clustering)
        wrapped.train()
        losses = wrapped(**self.inputs(rows, x, rng))
        stepper.zero_grad()
        self.engine.backward(losses["total"])
        if self.plan.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.plan.clip)
        self.encoders.follow(progress, before_optimiser=True)
        stepper.step()
        self.encoders.follow(progress, before_optimiser=False)
        for term, scene in self.step.scenes:
            with torch.no_grad():
                hooks.of(term.objective.plugin, PluginHooks).remember(scene)
                if term.selector is not None:
                    hooks.of(term.selector.plugin, PluginHooks).remember(scene)
        counted = pairs.counts(self.step.scenes, self.encoders.frozen)
        self.pairs.add(counted | detection.tally(self.step.scenes))
        self.step.scenes = []
        terms = {f"term/{name}": float(value.detach()) for name, value in losses.items() if name != "total"}
        return {"loss": float(losses["total"].detach()), "lr": lr, **terms, **counted}

    def _order(self, epoch: int) -> list[Tensor]:
        rows = self.chosen_rows if self.chosen_rows is not None else torch.arange(self.images.samples)
        if rows.dim() == 2:
            if rows.shape[1] % ranks.world():
                raise UsageError(
                    f"stage.{self.plan.name}.sampler: its batches of {rows.shape[1]} images cannot be shared equally "
                    f"by {ranks.world()} processes; choose a multiple of {ranks.world()}"
                )
            return [batch.chunk(ranks.world())[ranks.rank()] for batch in rows]
        return epoch_batches(
            rows,
            self.plan.batch,
            self.rng.child("order", epoch),
            rank=ranks.rank(),
            world=ranks.world(),
            drop_last=self.plan.drop_last,
        )

    def _refresh(self, epoch: float) -> None:
        plan = self.plan.targets
        if plan is None or not self.clusters.is_due(plan, epoch):
            return
        with self.engine.autocast():
            refresh(self.clusters, plan, self.encoders, self.images, epoch, self.rng.child("clusters"))

    def _sample(self) -> None:
        """Let the sampler choose at an epoch's beginning; within one, its choice stands in the checkpoint."""
        plan, epoch = self.plan.sampler, self.epoch
        if plan is None or self.within or epoch < plan.after or (epoch - plan.after) % plan.every:
            return
        survey = RunSurvey(self, self.rng.child("survey", epoch))
        self.chosen_rows = ranks.from_first(plan.part.plugin.select(survey, epoch).cpu())

    def _is_due(self) -> bool:
        every = self.keeping.every_steps
        return self.within == 0 if every is None else self.done % every == 0

    def _refuse_insane(self, loss: float) -> None:
        """Refuse to replace a good checkpoint by a state that has run away, even where no loss is infinite yet.

        Raises:
            NonFiniteLoss: the loss, a weight or a statistic, of an average too, is beyond any that learns.
        """
        followers = {f"{name}: ": encoder for name, encoder in self.encoders.ema.items()}
        modules = {"": self.encoders.online, **followers, "heads.": self.step.heads}
        state = [(f"{of}{name}", value) for of, each in modules.items() for name, value in each.state_dict().items()]
        for name, value in [("the loss", torch.tensor(loss)), *state]:
            if value.is_floating_point() and not bool((value.abs() <= _LARGEST).all()):
                raise NonFiniteLoss(
                    f"{name} has run away to {float(value.abs().max()):.3g} by step {self.done} of stage "
                    f"{self.plan.name}: the checkpoint before is kept; go on from there with robustcl resume RUN --set "
                    f"stage.{self.plan.name}.optimizer.lr=VALUE, a lower one"
                )

    def _keep(self, optimizer: torch.optim.Optimizer | None, loss: float) -> None:
        self._refuse_insane(loss)
        mark = self.log.mark()
        self.encoders.passes.gather(self.engine.device)
        if ranks.rank() == 0:
            checkpoint.save(self.keeping.folder, self.done, state.snapshot(self, optimizer, mark))
        ranks.wait()
