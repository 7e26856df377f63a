"""What a fleet tells Prometheus: ``instruments`` count as things happen, ``process`` and ``fleet`` look when asked."""
