"""A seeded fuzzer of run directories: mutators, the commands that read them, and what must hold whatever they meet.

``python -m tests.fuzz 50000 --seed 1`` runs it, by hand.
"""
