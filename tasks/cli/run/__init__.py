"""Showing a run: its progress, the reasons for which it waits, its summary."""
