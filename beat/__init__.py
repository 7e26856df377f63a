"""What runs on a clock, as data."""
