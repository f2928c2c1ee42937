"""The numbers of a study: what is read and measured of each run and model, and what cannot be had of one."""
