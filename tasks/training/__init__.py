"""Training of heads from what a data set's owner has: feature files, and labels in folders or a table."""
