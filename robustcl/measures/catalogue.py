"""What can be measured of a run, in words: names, meanings, ranges, sources. Nothing is computed or imported here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robustcl.errors import UsageError, near


@dataclass(frozen=True, slots=True)
class Number:
    """One number of a measure, or a pair of clean and attacked ones.

    key: its name among the measure's numbers. label, meaning, bounds, source: as the report writes them.
    value: its name in a study, where a column can ask for it: of a pair, the attacked one. share: in percent there.
    """

    key: str
    label: str
    meaning: str
    bounds: str
    source: str
    value: str = ""
    share: bool = False


_BUI = "Bui et al. 2021, section 2"
_WANG = "Wang and Isola 2020, section 4.1"
_GUPTA = "Gupta et al. 2022"
_ASCL = "Li et al. 2022 (ASCL)"

TRANSFERRED = "transferred"
"""Where another classifier is attacked than the one that is asked: a kind of column of its own."""

NUMBERS: dict[str, tuple[Number, ...]] = {
    "r-div": (
        Number("relative", "R-DIV", "intra-class over inter-class divergence; lower is better", "0 upwards", _BUI,
               "relative-divergence"),
        Number("intra", "intra-class divergence", "cosine distance of an image to its class, clean and attacked",
               "0 to 2", _BUI, "intra-divergence"),
        Number("inter", "inter-class divergence", "the same to the other classes", "0 to 2", _BUI, "inter-divergence"),
        Number("moved", "moved by the attack", "cosine distance of an image to its own attacked version", "0 to 2",
               _BUI, "feature-divergence"),
    ),
    "class-distances": (
        Number("ratio", "inter/intra class distance", "mean cosine distance between classes over that within; "
               "higher is better", "0 upwards", f"{_GUPTA}, claim 2", "class-ratio"),
    ),
    "r-div-128": (
        Number("relative", "R-DIV in batches of 128", "R-DIV among 128 images drawn together, as its authors take it",
               "0 upwards", f"{_BUI} and appendix 7", "relative-divergence-128"),
        Number("intra", "intra-class divergence in batches", "the same of its upper part", "0 to 2", _BUI,
               "intra-divergence-128"),
        Number("inter", "inter-class divergence in batches", "the same of its lower part", "0 to 2", _BUI,
               "inter-divergence-128"),
    ),
    "alignment": (
        Number("pairs", "alignment", "squared distance of an image and its attacked version on the sphere; "
               "lower is closer", "0 to 4", _WANG, "alignment"),
    ),
    "uniformity": (
        Number("features", "uniformity", "log of the mean Gaussian potential of all pairs; lower is more even",
               "-8 to 0", _WANG, "uniformity"),
    ),
    "silhouette": (
        Number("classes", "silhouette of the classes", "how much nearer an image is to its own class than to the next; "
               "higher is better", "-1 to 1", "Rousseeuw 1987", "silhouette"),
        Number("drop", "drop of the silhouette", "what the attack takes of it; lower is better", "-2 to 2",
               "Rousseeuw 1987", "silhouette-drop"),
    ),
    "separability": (
        Number("accuracy", "linear separability", "accuracy of a logistic regression fitted to clean training features",
               "0 to 1", f"{_ASCL}, section 4.3.4", "linear-separability", share=True),
    ),
    "rank": (
        Number("effective", "effective rank", "how many dimensions the features use", "1 to their number",
               "Roy and Vetterli 2007; RankMe 2023", "effective-rank"),
        Number("deviation", "deviation of unit features", "0 is collapse to a point", "0 to 1 / sqrt(F)",
               "Chen and He 2021, figure 2"),
    ),
    "relative-drop": (
        Number("accuracy", "accuracy on the sample", "by the run's own classifier", "0 to 1", f"{_GUPTA}, table 1",
               "accuracy", share=True),
        Number("relative", "relative drop", "share of the clean accuracy that the attack takes; lower is better",
               "up to 1", f"{_GUPTA}, tables 1 to 3", "relative-drop", share=True),
    ),
    "fooled": (
        Number("fooled", "fooled", "share of correct images that are wrong after the whole attack", "0 to 1",
               "NCP-ACL, table 1", "fooled", share=True),
        Number("probability", "drop in probability", "what the true class of correct images loses", "-1 to 1",
               "NCP-ACL, table 1", "drop", share=True),
        Number("accuracy", "accuracy after the whole attack", "also of images that an attack has lost again", "0 to 1",
               "no paper", TRANSFERRED, share=True),
    ),
    "entropy": (
        Number("prediction", "entropy of the prediction", "doubt, in nats; low is confident", "0 to log L",
               "Bui et al. 2021, figure 6", "entropy"),
        Number("neighbours", "entropy of the neighbours", "mixture of classes among the ten nearest features, in nats",
               "0 to log L", "no paper"),
    ),
    "input-landscape": (
        Number("centre", "loss at the image", "cross-entropy where the landscape begins", "0 upwards",
               f"{_ASCL}, figure 4", "input-loss"),
        Number("gradient", "loss at the end of the gradient", "one full step along its sign", "0 upwards",
               f"{_ASCL}, figure 4", "input-loss-at-eps"),
        Number("random", "loss at the end of random signs", "mean of both ends", "0 upwards", f"{_ASCL}, figure 4"),
    ),
    "weight-landscape": (
        Number("centre", "loss at the weights", "cross-entropy of the sample", "0 upwards",
               "Li et al., NeurIPS 2018; ASCL, figure 5", "weight-loss"),
        Number("rise", "rise beside the weights", "mean loss at both ends less that in the middle; lower is flatter",
               "any", "Li et al., NeurIPS 2018; ASCL, figure 5", "weight-rise"),
    ),
    "inversion": (
        Number("start", "distance of the noise", "from the image's features, as a share of their length", "0 upwards",
               "Engstrom et al. 2019"),
        Number("reached", "distance reached", "the same of the inverted image", "0 upwards", "Engstrom et al. 2019"),
    ),
    "components": (
        Number("start", "components at the seeds", "mean of some components of the features, of images and of noise",
               "any", f"{_ASCL}, eq. 11"),
        Number("reached", "components reached", "the same after the seeds were changed to make them large", "any",
               f"{_ASCL}, eq. 11"),
        Number("agreement", "agreement of the patterns", "cosine of what makes one component large in different seeds; "
               "higher is more alike", "-1 to 1", f"{_ASCL}, figure 2", "component-agreement"),
    ),
    "t-sne": (),
}  # fmt: skip
"""Measure -> its numbers, in the order in which all are measured and shown; t-sne is a figure alone."""

VALUES: dict[str, tuple[str, Number]] = {
    number.value: (name, number) for name, numbers in NUMBERS.items() for number in numbers if number.value
}
"""What a study's column can ask for -> the measure, and its number."""

_ANYBODYS = tuple(value for value, (name, _) in VALUES.items() if name in ("relative-drop", "fooled"))
OF_PREDICTIONS = tuple(value for value in _ANYBODYS if value != TRANSFERRED)
"""The values that any classifier has; those of ``OF_FEATURES`` need its features."""
OF_FEATURES = tuple(value for value in VALUES if value not in _ANYBODYS)


def choose_measures(names: Sequence[str]) -> tuple[str, ...]:
    """Return the measures of these names, in order and once; all of them where no name is given.

    Raises:
        UsageError: there is no such measure.
    """
    for name in names:
        if name not in NUMBERS:
            raise UsageError(f"--what {name}: there is no such measure{near(name, NUMBERS)}; all: {', '.join(NUMBERS)}")
    return tuple(name for name in NUMBERS if not names or name in names)
