"""Built-in attacks: presets of generators, a TOML file each, and the ensembles, which are plugins."""
