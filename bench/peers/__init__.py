"""The contestants of the case ``fleet``: ways to judge the same files with the same function."""
