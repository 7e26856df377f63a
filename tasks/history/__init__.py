"""The durable record of each run, beside its results: written while the run goes on, read without a ledger."""
