"""Storage tiers: a video is fetched from the first tier that has it, fastest first."""

from storage.tiers.tiers import SpooledVideo, Tier, Tiers

__all__ = ["SpooledVideo", "Tier", "Tiers"]
