"""Attacks on models that somebody else has built: names, checks, the bound attack and its evaluation."""
