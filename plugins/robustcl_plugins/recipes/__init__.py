"""Built-in recipes, one paper, one file."""
