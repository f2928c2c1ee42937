"""The tables of a study: lines over seeds, derived numbers, the best of each column, what each row took."""
