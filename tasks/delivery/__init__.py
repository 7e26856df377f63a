"""At-least-once delivery: attempts, retries, the sweep for lost rows, the rescue of queues of dead nodes."""
