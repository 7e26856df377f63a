"""Prometheus metrics: ``instruments`` count events as they happen, ``process`` and ``fleet`` read state at a scrape."""
