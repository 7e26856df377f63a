"""Traces of a profile and of a worker's next videos."""
