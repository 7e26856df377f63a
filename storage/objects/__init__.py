"""Object stores: one protocol, several implementations."""
