"""Choosing, recognising, scaling and storing the wanted frames."""
