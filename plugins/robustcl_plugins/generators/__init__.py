"""Built-in generators, one paper, one file."""
