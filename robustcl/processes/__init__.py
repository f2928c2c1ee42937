"""Processes: what ends one from outside, and what is said of one that a run needs and that has died."""
