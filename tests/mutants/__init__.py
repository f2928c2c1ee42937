"""A seeded mutation run: single changes of the kind a tired hand makes, and whether a test fails for each.

``python -m tests.mutants --area selectors --sample 40`` runs it by hand, ``nox -s mutants`` in an environment of its
own. Each mutant runs in a fork that has the libraries but not yet this package, in a copy of the tree, with the tests
that execute the mutated line, the quickest first, until one fails.
"""
