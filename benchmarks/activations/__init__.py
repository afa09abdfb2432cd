"""Hidden states of a dataset's rows, and their projections: a row at a time against ours."""
