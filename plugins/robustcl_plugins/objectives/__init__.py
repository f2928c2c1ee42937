"""Built-in objectives, one paper, one file."""
