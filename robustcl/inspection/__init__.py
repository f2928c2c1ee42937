"""A data set looked through before anything is trained on it: what is in it, and what would stop a run."""

from robustcl.inspection.data import Inspection, check_data

__all__ = ["Inspection", "check_data"]
