"""Features of a folder of videos on this machine: processes that share the work, without a broker."""
