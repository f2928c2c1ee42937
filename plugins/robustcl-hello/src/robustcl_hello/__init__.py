"""A generator, an objective and a selector for robustcl."""
