"""What tamis adds to its two brokers, Redis and RabbitMQ."""
