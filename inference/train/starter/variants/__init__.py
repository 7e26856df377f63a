"""Variants by construction: camera movement, defects of quality, effects, and regions, each drawn from a seed."""
