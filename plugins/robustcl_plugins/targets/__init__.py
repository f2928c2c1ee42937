"""Cluster targets: what the features of the whole data set are clustered by."""
