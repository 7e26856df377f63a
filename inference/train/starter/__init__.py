"""The recipe of the starter weights: a corpus of labelled clips made from packages, features, heads, card, report."""
