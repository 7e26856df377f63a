"""Runs under way, for the people who watch them."""
