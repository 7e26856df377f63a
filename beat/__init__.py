"""The periodic tasks, as data."""
