"""Scheduled ingestion: declared sources, the partitions they have, and a run for each that is complete.

``sources`` says what is declared, ``plan`` what should be done (no I/O), ``journal`` what was done (in Redis), ``look``
brings the three together for one source, ``tick`` for all. The output table stays the only truth: what it holds in full
is never sifted again, whatever the journal says or has lost.
"""
