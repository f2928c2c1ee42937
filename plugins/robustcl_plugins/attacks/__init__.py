"""Built-in attacks, one paper, one file."""
