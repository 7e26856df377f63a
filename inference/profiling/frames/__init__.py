"""Frames for the steps: files, pictures, live streams."""
