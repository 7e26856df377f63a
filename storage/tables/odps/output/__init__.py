"""Results in a MaxCompute partition: exactly-once append or upsert, and what was written before."""
