"""Measures of a finished run's representation: opened, taken on a seeded sample of images, and kept in its folder."""
