"""The threat model: norm balls, and the nearest point of one that lies within the range of valid values."""

from robustcl.threat.ball import Ball, excess, parse_norm
from robustcl.threat.given import ball_of
from robustcl.threat.norms import Range

__all__ = ["Ball", "Range", "ball_of", "excess", "parse_norm"]
