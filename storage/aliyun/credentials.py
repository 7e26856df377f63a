"""Keys to Alibaba Cloud: what they are, who gives them, and how they are renewed before they end."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NoReturn, Protocol

from storage.errors import Unavailable, UsageError

log = logging.getLogger(__name__)

RENEW_AHEAD = timedelta(minutes=10)  # a session token lasts an hour or more; the longest upload must end under it
RETRY_AFTER = timedelta(seconds=15)  # between attempts to renew keys that still hold
REREAD_AFTER = timedelta(seconds=60)  # of a file that does not say when its keys end


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """An access key, or a session's key and token. Its text is masked, and it refuses to be pickled."""

    access_key_id: str
    access_key_secret: str
    security_token: str | None = None
    expires_at: datetime | None = None  # aware; None: until revoked

    def __post_init__(self) -> None:
        for name in ("access_key_id", "access_key_secret"):
            _check_text(name, getattr(self, name))
        if self.security_token is not None:
            _check_text("security_token", self.security_token)
        if self.expires_at is not None and self.expires_at.tzinfo is None:
            raise UsageError("expires_at of credentials has no time zone; give it in UTC")

    def __repr__(self) -> str:
        """The first characters of the key's id, and what kind of key it is; ``str`` is the same."""
        kind = "key" if self.security_token is None else "session"
        until = "" if self.expires_at is None else f", until {self.expires_at:%Y-%m-%dT%H:%M:%SZ}"
        return f"Credentials({kind} {self.access_key_id[:4]}***{until})"

    def __reduce__(self) -> NoReturn:
        """Refuse: pickled keys end up in messages, caches and crash reports."""
        raise TypeError("credentials are not pickled; have each process ask its own provider")


class CredentialProvider(Protocol):
    """Whoever knows the keys. Thread-safe; ask before each request, not once."""

    def credentials(self) -> Credentials:
        """Keys that hold now; ``Unavailable`` when they have ended and cannot be renewed at the moment."""


@dataclass(frozen=True, slots=True)
class StaticProvider:
    """The same keys for ever."""

    keys: Credentials

    def credentials(self) -> Credentials:
        """Return the keys."""
        return self.keys


def _now() -> datetime:
    return datetime.now(UTC)


class RenewingProvider:
    """Keys from ``load``, asked for again ``renew_ahead`` before they end, by one thread at a time.

    While the old keys hold, the others go on with them, and a renewal that fails is tried again later. ``load`` raises
    ``Unavailable`` or ``UsageError``. Keys without an end are asked for again after ``reread_after``.
    """

    def __init__(
        self,
        load: Callable[[], Credentials],
        *,
        renew_ahead: timedelta = RENEW_AHEAD,
        reread_after: timedelta = REREAD_AFTER,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._load, self._now = load, now
        self._renew_ahead, self._reread_after = renew_ahead, reread_after
        self._renewing = threading.Lock()
        self._keys: Credentials | None = None
        self._renew_at = datetime.min.replace(tzinfo=UTC)

    def credentials(self) -> Credentials:
        """Return keys that hold now, renewed first where their end is near."""
        keys = self._keys
        if keys is not None and self._now() < self._renew_at:
            return keys
        if keys is None or self._has_ended(keys):
            with self._renewing:
                return self._renewed()
        if self._renewing.acquire(blocking=False):
            try:
                return self._renewed()
            finally:
                self._renewing.release()
        return keys

    def _renewed(self) -> Credentials:
        keys = self._keys
        if keys is not None and self._now() < self._renew_at:
            return keys  # somebody else was faster
        try:
            fresh = self._load()
        except (Unavailable, UsageError) as fault:
            return self._held_over(keys, fault)
        if self._has_ended(fresh):
            return self._held_over(keys, Unavailable(f"{fresh} have ended already; renew them, or set the clock"))
        self._keys, self._renew_at = fresh, self._renewal_of(fresh)
        return fresh

    def _held_over(self, keys: Credentials | None, fault: Unavailable | UsageError) -> Credentials:
        if keys is None or self._has_ended(keys):
            raise Unavailable(f"no keys to Alibaba Cloud: {fault}")
        log.warning("%s could not be renewed, and are used on: %s", keys, fault)
        self._renew_at = self._now() + RETRY_AFTER
        return keys

    def _has_ended(self, keys: Credentials) -> bool:
        return keys.expires_at is not None and keys.expires_at <= self._now()

    def _renewal_of(self, keys: Credentials) -> datetime:
        now = self._now()
        if keys.expires_at is None:
            return now + self._reread_after
        ahead = self._renew_ahead * random.uniform(1.0, 1.1)  # noqa: S311 - spreads a fleet's requests, guards nothing
        return max(keys.expires_at - ahead, now + min(RETRY_AFTER, (keys.expires_at - now) / 2))


def _check_text(name: str, value: object) -> None:
    """Refuse what cannot stand in a header, without showing it."""
    if not isinstance(value, str) or not value:
        raise UsageError(f"{name} of the Alibaba Cloud credentials is empty; set it")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise UsageError(f"{name} of the Alibaba Cloud credentials holds a character that no key has; copy it again")
