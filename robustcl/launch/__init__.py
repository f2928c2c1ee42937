"""Work sent to machines: the launcher that is chosen, its tasks carried out, and how far they are, from the disk."""
