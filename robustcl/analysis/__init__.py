"""Questions about what is finished: a run, anybody's model, or several of them."""
