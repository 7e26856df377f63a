"""The spool: a node's copies of videos, limited in bytes, kept while leased."""

from storage.spool.spool import Spool, SpoolUsage

__all__ = ["Spool", "SpoolUsage"]
