"""Which frames are wanted, and how they are found, scaled and kept."""
