"""Tasks: their order, and the processes that they are."""
