"""Tables that rows come from and results go to: one protocol, several things behind it."""
