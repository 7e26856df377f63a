"""The steps of a profile: a model runs on prepared frames, each part is timed and recorded."""
