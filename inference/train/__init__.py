"""Training of a filter's head on labelled clips: split, heads, calibration, thresholds, label issues, model card."""
