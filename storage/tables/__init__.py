"""Input and output tables: one protocol, implemented for MaxCompute, SQLite and files."""
