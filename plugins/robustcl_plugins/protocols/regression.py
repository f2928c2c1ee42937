"""Multinomial logistic regression at its optimum: L-BFGS in float64, stopped by the gradient alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize  # type: ignore[import-untyped]
from torch import Tensor

_HISTORY = 20
"""Corrections that L-BFGS keeps: with 10, weak decays take half as many passes again."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Where the descent ended, in the units of the features that it was given.

    weight (P, F) and bias (P,) float64, of the P classes that have images; ``loss`` the mean cross-entropy,
    ``objective`` with the penalty, ``gradient`` the Euclidean norm of the objective's gradient, ``tolerance`` what it
    was to fall below, ``passes`` over the features.
    """

    weight: Tensor
    bias: Tensor
    loss: float
    objective: float
    gradient: float
    tolerance: float
    passes: int

    @property
    def converged(self) -> bool:
        """Whether the gradient met its bound."""
        return self.gradient <= self.tolerance


def regressions(features: Tensor, label: Tensor, weight_decays: Sequence[float], *, gap: float, most: int) -> list[Fit]:
    """Minimise mean CE(W h + b, y) + decay / 2 ||W||^2 for each weight decay; the bias is free.

    This is scikit-learn's ``LogisticRegression`` with C = 1 / (n decay). As there, two classes have one weight vector,
    that of the second class, and the first class has zeros.

    The objective is strongly convex in W, so it lies at most ||gradient||^2 / (2 decay) above its optimum: the descent
    ends where that is below ``gap``, or after ``most`` passes. Each decay starts where the one before ended.

    Args:
        features: (n, F) float64.
        label: (n,) int64, of P >= 2 classes, 0 .. P - 1, each of which occurs.
        weight_decays: positive.
        gap: nats.
        most: passes over the features for each decay.
    """
    task = _Task(features, label)
    start = np.zeros(task.size)
    found = []
    for decay in weight_decays:
        fit, start = _descend(task, start, decay, gap, most)
        found.append(fit)
    return found


class _Task:
    """Loss and gradient as functions of one vector: a row of weights for each feature, and one of biases."""

    def __init__(self, features: Tensor, label: Tensor) -> None:
        self.features, self.label = features, label
        self.samples, self.width = features.shape
        classes = int(label.max()) + 1
        self.columns = 1 if classes == 2 else classes
        self.size = (self.width + 1) * self.columns
        self.onehot = torch.nn.functional.one_hot(label, classes).to(features)

    def matrix(self, vector: np.ndarray) -> Tensor:
        """Return (F + 1, columns)."""
        return torch.from_numpy(vector).view(self.width + 1, self.columns).to(self.features.device)

    def full(self, matrix: Tensor) -> Tensor:
        """Return (..., P): of two classes the first one has zeros."""
        return torch.nn.functional.pad(matrix, (1, 0)) if self.columns == 1 else matrix

    def evaluate(self, vector: np.ndarray, decay: float) -> tuple[float, float, np.ndarray]:
        """Return the mean cross-entropy, the objective, and its gradient."""
        matrix = self.matrix(vector)
        logs = self.full(self.features @ matrix[:-1] + matrix[-1]).log_softmax(1)
        loss = -(logs * self.onehot).sum() / self.samples
        wrong = (logs.exp() - self.onehot) / self.samples
        wrong = wrong[:, 1:] if self.columns == 1 else wrong
        gradient = torch.cat([self.features.T @ wrong + decay * matrix[:-1], wrong.sum(0, keepdim=True)])
        objective = loss + decay / 2 * matrix[:-1].square().sum()
        return float(loss), float(objective), gradient.flatten().cpu().numpy()


class _Reached(Exception):
    """The gradient is small enough: L-BFGS-B has no criterion of this kind."""


def _descend(task: _Task, start: np.ndarray, decay: float, gap: float, most: int) -> tuple[Fit, np.ndarray]:
    tolerance = math.sqrt(2 * decay * gap)
    best: tuple[float, float, float, np.ndarray] = (math.inf, math.inf, math.inf, start)
    passes = 0

    def look(vector: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal best, passes
        loss, objective, gradient = task.evaluate(vector, decay)
        length = float(np.linalg.norm(gradient))
        passes += 1
        if length <= best[0]:
            best = (length, loss, objective, vector.copy())
        if length <= tolerance:
            raise _Reached
        return objective, gradient

    while passes < most:  # at the end of its precision a line search gives up: once more, without the history
        before = passes
        try:
            limits = {"maxiter": most, "maxfun": most - passes, "maxcor": _HISTORY, "ftol": 0.0, "gtol": 0.0}
            minimize(look, best[3], jac=True, method="L-BFGS-B", options=limits)
        except _Reached:
            break
        if passes - before <= _HISTORY:
            break
    length, loss, objective, vector = best
    matrix = task.full(task.matrix(vector))
    return Fit(matrix[:-1].T, matrix[-1], loss, objective, length, tolerance, passes), vector
