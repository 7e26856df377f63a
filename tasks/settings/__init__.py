"""The fleet's settings: ``TAMIS_*`` environment variables, read once and strictly into groups of values."""

from tasks.settings.environment import Settings, SettingsError, child_environ, current, decoder_environ, visible_devices

__all__ = ["Settings", "SettingsError", "child_environ", "current", "decoder_environ", "visible_devices"]
