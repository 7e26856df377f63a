"""The storage tiers that a video is fetched from, fastest first."""

from storage.tiers.tiers import SpooledVideo, Tier, Tiers

__all__ = ["SpooledVideo", "Tier", "Tiers"]
