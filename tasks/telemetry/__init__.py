"""What a process tells about itself: logs, traces, metrics and the texts of task events."""
