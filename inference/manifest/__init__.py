"""The manifest: backbones, heads, filters and detector, declared in TOML."""

from inference.manifest.manifest import BUILT_IN, Manifest, Output, load_manifest, parse_manifest, read_thresholds

__all__ = ["BUILT_IN", "Manifest", "Output", "load_manifest", "parse_manifest", "read_thresholds"]
