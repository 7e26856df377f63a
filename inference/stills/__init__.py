"""Pictures of a video's frames: chosen by time, by number or by cut, and written by several processes."""
