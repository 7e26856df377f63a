"""Reuse of what is known of a video: a judgement is made of pieces, and where all are remembered nothing is decoded."""
