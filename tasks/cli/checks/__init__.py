"""Checks that doctor and up make."""
