"""What a study is, as it is written: rows, columns and figures, scaled to a data set and a budget, and checked."""
