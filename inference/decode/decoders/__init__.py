"""The decoders behind one interface."""
