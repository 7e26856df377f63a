"""Object stores: one protocol, several things behind it."""
