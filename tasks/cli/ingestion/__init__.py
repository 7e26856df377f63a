"""``tamis ingest``: declared sources and their partitions."""
