"""Estimates: what a run will cost and when it ends, from a few of its videos or from those that are done."""
