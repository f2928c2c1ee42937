"""Studies: tables and figures of the papers, one TOML file each."""
