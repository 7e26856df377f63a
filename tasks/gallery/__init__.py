"""A folder of static files in which people look at the results of a run."""
