"""The processes of one machine: their list, their supervisor, and the embedded broker."""
