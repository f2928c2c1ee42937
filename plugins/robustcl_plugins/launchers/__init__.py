"""Launchers: a way of bringing tasks to machines a file."""
