"""What plugins read and the composition must provide."""

from __future__ import annotations

import enum


class Need(enum.Enum):
    """What a plugin reads and the composition must provide; the value says it in words."""

    FEATURES = "the encoder's features h"
    PROJECTION = "the projector's output z"
    PREDICTIONS = "a classifier's logits"
    LABELS = "labels"
    INDEX = "each image's position in the data set"
    TEACHER = "a frozen teacher encoder"
    CLUSTERS = "cluster targets"
    PAIRS = "a sample selector"
    OBJECTIVE = "a term to maximise"
    TARGET = "a view that makes a pretext target"
    VALUES = "the values of the stage's earlier terms"
