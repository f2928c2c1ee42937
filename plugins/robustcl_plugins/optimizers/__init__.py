"""Built-in optimizers, one paper, one file."""
