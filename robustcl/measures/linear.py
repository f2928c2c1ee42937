"""How well a linear classifier tells the classes apart in given features."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from robustcl.errors import UsageError
from robustcl.measures import checked
from robustcl.measures.distances import scale_of


@dataclass(frozen=True, slots=True, eq=False)
class Separability:
    """A linear classifier of features, and its accuracies.

    train, test: shares of the rows that it classifies correctly, in [0, 1].
    converged: whether the optimiser came to its end; if not, more iterations may separate better.
    classes: (L,) int64, the labels seen in training, ascending.
    weight: (L, F) float64; bias: (L,) float64; a row's scores are weight @ features + bias.
    """

    train: float
    test: float
    converged: bool
    classes: Tensor
    weight: Tensor
    bias: Tensor

    def predict(self, features: Tensor) -> Tensor:
        """Return the label of the highest score of each row (n, F), (n,) int64."""
        return _predict(features, self.classes, self.weight, self.bias)

    def accuracy(self, features: Tensor, label: Tensor) -> float:
        """Return the share of rows (n, F) with that label (n,) predicted; of adversarial features, for example."""
        predicted = self.predict(features)
        return float((predicted == checked.labels(label, predicted)).double().mean())


def linear_separability(
    train: Tensor,
    train_label: Tensor,
    test: Tensor,
    test_label: Tensor,
    *,
    penalty: float = 1.0,
    iterations: int = 1000,
) -> Separability:
    """Fit multinomial logistic regression to training features and return its accuracy on both splits.

    Source: the linear evaluation of Li et al., Adversarial supervised contrastive learning, 2022, section 4.3.4 and
    table 4 (standard linear separability), on stored features: no augmentation, a convex loss, L-BFGS from zero, so
    that the same features give the same answer. ``Separability.accuracy`` on adversarial features is the robust side
    of it; attacks and adversarial fine-tuning through the encoder are the protocols' work. Features are centred and
    divided by one number (training mean and root mean square), so that scale and rotation do not matter.

    Args:
        train: (n, F); train_label: (n,) whole numbers >= 0 of at least two classes.
        test: (m, F); test_label: (m,). A label that training has not seen counts as wrong.
        penalty: the weight of ||w||^2 / 2 beside the summed cross-entropy: 1 / C in scikit-learn.
        iterations: at most so many steps of L-BFGS.

    Raises:
        UsageError: shapes that do not fit, values that are not finite, missing labels, one class alone, features
            that are all the same point, or an option out of its range.
    """
    penalty, iterations = checked.positive(penalty, "penalty"), checked.at_least_one(iterations, "iterations")
    rows, judged = checked.matrix(train, "training features"), checked.matrix(test, "test features")
    if rows.shape[1] != judged.shape[1]:
        raise UsageError(f"training features of width {rows.shape[1]} cannot judge test features of {judged.shape[1]}")
    own, classes = checked.number_labels(train_label, rows)
    checked.labels(test_label, judged)
    if len(classes) < 2:
        raise UsageError(f"all {len(rows)} training rows have the label {int(classes[0])}: give at least two classes")
    mean = rows.mean(dim=0)
    unit = scale_of(rows - mean)
    scale = ((rows - mean) / unit).square().mean().sqrt() * unit
    if float(scale) <= 1e-12 * float(rows.abs().max()):
        raise UsageError(f"all {len(rows)} training rows are the same point: the features have collapsed")
    weight, bias, converged = _fit((rows - mean) / scale, own, 1.0 / penalty, iterations)
    weight = weight / scale
    bias = bias - weight @ mean
    fitted = Separability(0.0, 0.0, converged, classes, weight, bias)
    accuracies = fitted.accuracy(rows, train_label), fitted.accuracy(judged, test_label)
    return Separability(*accuracies, converged, classes, weight, bias)


def _fit(rows: Tensor, own: Tensor, strength: float, iterations: int) -> tuple[Tensor, Tensor, bool]:
    """Return weight (L, F), bias (L,) and whether L-BFGS converged."""
    from sklearn.exceptions import ConvergenceWarning  # slow to import
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # told by ``converged``
        fitted = LogisticRegression(C=strength, max_iter=iterations).fit(rows.cpu().numpy(), own.cpu().numpy())
    weight = torch.as_tensor(fitted.coef_, device=rows.device).to(rows.dtype)
    bias = torch.as_tensor(fitted.intercept_, device=rows.device).to(rows.dtype)
    if len(weight) == 1:  # two classes are told apart by one score
        weight, bias = torch.cat([-weight / 2, weight / 2]), torch.cat([-bias / 2, bias / 2])
    return weight, bias, int(fitted.n_iter_.max()) < iterations


def _predict(features: Tensor, classes: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    rows = checked.matrix(features)
    if rows.shape[1] != weight.shape[1]:
        raise UsageError(f"a classifier of {weight.shape[1]} features cannot judge rows of {rows.shape[1]}")
    scores = rows @ weight.to(rows.device).T + bias.to(rows.device)
    return classes.to(rows.device)[scores.argmax(dim=1)]
