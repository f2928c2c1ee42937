"""Studies: a grid of recipes, a table with the paper's numbers beside ours, and figures; see ``robustcl.study.api``."""
