"""Some rows of an input table: those that meet a condition, a sample of them, the first so many."""
