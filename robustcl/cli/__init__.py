"""The command line: each command's module is imported only when that command runs."""
