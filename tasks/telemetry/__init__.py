"""Telemetry of a process: logs, traces, metrics and the texts of task events."""
