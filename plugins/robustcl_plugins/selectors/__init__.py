"""Built-in selectors, one paper, one file."""
