"""What studies show of the claims that they make: those of one that is finished, and the ledger of all."""
