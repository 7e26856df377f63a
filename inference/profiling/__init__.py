"""Profile a model on frames: read, prepare, transfer and run them step by step, and say which stage is the limit."""
