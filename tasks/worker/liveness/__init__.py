"""Liveness of a worker: its health and HTTP port for probes, and the checks that end it when it hangs."""
