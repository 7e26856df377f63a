"""Bytes of a video in, scores out. Never Celery, never storage."""
