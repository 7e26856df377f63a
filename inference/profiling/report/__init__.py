"""The result of a profile: advice, stored runs to compare with, and a page."""
