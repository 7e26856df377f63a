"""Features of clips: an encoder's tokens or vectors for every clip of a video. This file loads no torch."""
