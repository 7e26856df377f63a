"""The processes of one machine: which ones, who restarts them, and the server they bring along."""
