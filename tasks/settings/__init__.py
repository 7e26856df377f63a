"""The fleet's settings: ``TAMIS_*`` environment variables, read once, strictly, into groups beside their readers."""

from tasks.settings.environment import Settings, SettingsError, child_environ, current, decoder_environ

__all__ = ["Settings", "SettingsError", "child_environ", "current", "decoder_environ"]
