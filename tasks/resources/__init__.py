"""Resources that a process opens by the settings: ledger, tables, stores, weights, models."""
