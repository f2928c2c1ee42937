"""Numbers that carry their proof: witnesses held against model and data, and folders that bring all of it along."""
