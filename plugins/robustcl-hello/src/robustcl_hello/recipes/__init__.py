"""Recipes, as TOML files beside this one."""
