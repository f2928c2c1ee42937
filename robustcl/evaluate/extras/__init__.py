"""What an evaluation measures, a list of one kind: a new one is a file, a line below, and a key in the grammar."""

from robustcl.evaluate.extras.convergence import CONVERGENCE
from robustcl.evaluate.extras.corruptions import CORRUPTIONS
from robustcl.evaluate.extras.curve import CURVE
from robustcl.evaluate.extras.kind import AskedEvaluation, Entry, Extra
from robustcl.evaluate.extras.rows import ROWS

EXTRAS = (ROWS, CURVE, CONVERGENCE, CORRUPTIONS)
"""In the order in which they are measured."""

__all__ = ["EXTRAS", "AskedEvaluation", "Entry", "Extra"]
