"""The store: finished stages that runs, studies and machines share, named by what decides them, checked when taken."""
