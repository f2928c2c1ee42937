"""The runs of a study: what they will cost, their data looked at beforehand, and each run as far as it is not there."""
