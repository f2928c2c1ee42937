"""Built-in protocols, one paper, one file."""
