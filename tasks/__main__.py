"""``python -P -m tasks …`` is ``tamis …``; with ``-P`` the working directory does not come first on the path."""

from tasks.cli import main

if __name__ == "__main__":
    main()
