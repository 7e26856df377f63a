"""Everything with an address: tables, objects, tiers, the spool, the ledger. Never Celery, torch or inference."""
