"""Encoders, their batch-norm routes and modes, and their weights on disk."""
