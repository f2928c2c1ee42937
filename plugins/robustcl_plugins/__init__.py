"""The built-in algorithms, registered through the same entry points as anybody's."""
