"""Delivery at least once: attempts, retries, the sweep for lost rows and the rescue of dead nodes' queues."""
