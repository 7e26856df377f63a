"""Scheduled ingestion: declared sources, the partitions they have, and a run for each complete partition.

``sources`` holds the declarations, ``plan`` decides what to do (no I/O), ``journal`` records what was done (in Redis),
``check`` joins the three for one source and ``tick`` for all sources. The output table is the only truth: a partition
whose results it holds in full is never sifted again, even if the journal is wrong or was lost.
"""
