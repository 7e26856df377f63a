"""Shared parts of the commands: their group, errors, switches and tables."""
