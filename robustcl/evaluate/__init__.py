"""Judging an encoder: protocols as training stages, attacks, a journal of every sample, and the numbers made of it."""
