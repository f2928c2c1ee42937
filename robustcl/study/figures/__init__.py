"""The figures of a study: bars, curves, maps and pictures, each on one canvas with letters of one size."""
