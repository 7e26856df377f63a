"""The light worker as a later release, which writes and reads only messages of the next schema."""

from __future__ import annotations

import tasks.messages

tasks.messages.SCHEMA += 1

from tests.fleet.apps.light import app  # noqa: E402 -- only after the schema was raised

__all__ = ["app"]
