"""Toy models of known truth: honest ones, whose attacks work, and masked ones, whose attacks fail for a wrong reason.

``specimens()`` returns all of them with the threat they are audited under; everything is seeded and takes seconds.
"""

from tests.audit.zoo.specimen import CAGES, CAUGHT, Cage, Specimen, specimens

__all__ = ["CAGES", "CAUGHT", "Cage", "Specimen", "specimens"]
