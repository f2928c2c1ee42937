"""A run: its directory, its splits and stages, its evaluation and results; each step can be cut off and taken up."""
