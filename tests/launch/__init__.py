"""Work sent to machines: the launcher that a flag means, the board, and what is read from it."""
