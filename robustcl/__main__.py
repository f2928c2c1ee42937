"""``python -m robustcl``."""

from robustcl.cli.console import main

main()
