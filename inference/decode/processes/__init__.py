"""Killable child processes that decode, and the pool of them."""
