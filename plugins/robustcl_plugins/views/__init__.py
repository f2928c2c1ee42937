"""Built-in views, one paper, one file."""
