"""Built-in datasets, one paper, one file."""
