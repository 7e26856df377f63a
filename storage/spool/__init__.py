"""This node"s copies of videos: capped by size, kept while leased."""

from storage.spool.spool import Spool, SpoolUsage

__all__ = ["Spool", "SpoolUsage"]
