"""Built-in encoders, one paper, one file."""
