"""A fleet whose judge takes no time: what is left is the cost of everything else."""
