"""JSONL, CSV and Parquet files as input tables."""
