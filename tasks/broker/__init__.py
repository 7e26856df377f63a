"""Queues, options and channels for the two brokers, Redis and RabbitMQ."""
