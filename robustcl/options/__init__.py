"""The options of a plugin: how they are read, validated, scheduled and told."""

from robustcl.options.build import (
    REQUIRED,
    Built,
    Class,
    Count,
    Fraction,
    Length,
    NonNegative,
    Option,
    Positive,
    Ratio,
    Whole,
    build,
    describe,
    model_of,
    resolve,
    validate,
)

__all__ = [
    "REQUIRED",
    "Built",
    "Class",
    "Count",
    "Fraction",
    "Length",
    "NonNegative",
    "Option",
    "Positive",
    "Ratio",
    "Whole",
    "build",
    "describe",
    "model_of",
    "resolve",
    "validate",
]
