"""The periodic tasks, as data, and the scheduler that sends them."""
