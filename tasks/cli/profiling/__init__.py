"""What `tamis profile` reads and prints."""
