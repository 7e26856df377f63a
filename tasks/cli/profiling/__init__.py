"""Options and output of `tamis profile`."""
