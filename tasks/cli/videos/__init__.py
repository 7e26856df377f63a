"""Commands that read videos on this machine and need no fleet."""
