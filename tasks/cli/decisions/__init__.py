"""``tamis decide``: other thresholds on stored scores."""
