"""Videos without a table: a folder, a pattern or a prefix becomes an input table, judged by a temporary fleet."""
