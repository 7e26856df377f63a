"""MaxCompute (ODPS) tables."""
