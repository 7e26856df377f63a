"""Keys from files: a profile of the Alibaba Cloud CLI, an ini of the SDKs, a session's token in JSON."""

from __future__ import annotations

import configparser
import json
import logging
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from storage.aliyun.credentials import Credentials
from storage.errors import UsageError

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 1 << 20
_SESSION = "use a token file or a RAM role for it"


def read_profile(path: Path, name: str | None) -> Credentials:
    """Read a profile of ``config.json`` (the CLI's) or of a ``credentials`` ini (the SDKs'); None: the current one.

    Supported are profiles that contain keys (modes ``AK`` and ``StsToken``, types ``access_key`` and ``sts``);
    ``UsageError`` for the other kinds.
    """
    text = _read(path)
    is_json = text.lstrip().startswith("{")
    return _json_profile(path, text, name) if is_json else _ini_profile(path, text, name or "default")


def read_token(path: Path) -> Credentials:
    """Read a session's keys in JSON: ``AccessKeyId, AccessKeySecret, SecurityToken, Expiration`` (ISO 8601, UTC)."""
    return session_keys(str(path), _parse_json(str(path), _read(path)))


def session_keys(place: str, answer: Mapping[str, Any]) -> Credentials:
    """Read keys from an answer of the metadata service or of STS; ``place`` is named in error messages."""
    if answer.get("Code", "Success") != "Success":
        raise UsageError(f"{place} answers code {str(answer['Code'])[:80]!r} instead of 'Success'")
    missing = [key for key in ("AccessKeyId", "AccessKeySecret", "SecurityToken") if not answer.get(key)]
    if missing:
        raise UsageError(f"{place} has no {', '.join(missing)}")
    return Credentials(
        answer["AccessKeyId"], answer["AccessKeySecret"], answer["SecurityToken"], _moment(place, answer)
    )


def _moment(place: str, answer: Mapping[str, Any]) -> datetime | None:
    text = answer.get("Expiration")
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        raise UsageError(f"{place}: Expiration {str(text)[:40]!r} is not a time like 2025-01-15T08:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _read(path: Path) -> str:
    try:
        found = path.stat()
        if found.st_size > MAX_FILE_BYTES:
            raise UsageError(f"{path} has {found.st_size} bytes: this is not a credentials file")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8: this is not a credentials file") from None
    except OSError as error:
        raise UsageError(f"credentials cannot be read from {path}: {error.strerror}") from error
    if found.st_mode & (stat.S_IROTH | stat.S_IWOTH):
        log.warning("%s contains keys and is accessible to every user of this machine: chmod 600 %s", path, path)
    return text


def _parse_json(place: str, text: str) -> dict[str, Any]:
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"  # the original error contains the text, secrets included
        parsed = None
    else:
        where = "it is not an object"
    if not isinstance(parsed, dict):
        raise UsageError(f"{place} is not the JSON of credentials ({where})")
    return parsed


def _json_profile(path: Path, text: str, name: str | None) -> Credentials:
    parsed = _parse_json(str(path), text)
    profiles = parsed.get("profiles")
    if not isinstance(profiles, list) or not all(isinstance(profile, dict) for profile in profiles):
        raise UsageError(f"{path} has no list of 'profiles'; create one with `aliyun configure`")
    wanted = name or parsed.get("current") or "default"
    named = [profile for profile in profiles if profile.get("name") == wanted]
    if len(named) != 1:
        there = ", ".join(repr(profile.get("name")) for profile in profiles) or "none"
        raise UsageError(f"{path} has {len(named)} profiles {wanted!r} (present: {there})")
    mode = named[0].get("mode", "AK")
    if mode not in {"AK", "StsToken"}:
        raise UsageError(f"profile {wanted!r} in {path} is of mode {mode!r}, which contains no keys; {_SESSION}")
    return _keys(f"profile {wanted!r} in {path}", named[0], "sts_token" if mode == "StsToken" else None)


def _ini_profile(path: Path, text: str, name: str) -> Credentials:
    parser = _sections(text)
    if parser is None:
        raise UsageError(f"{path} is neither the CLI's config.json nor an ini file with sections")
    if not parser.has_section(name):
        raise UsageError(f"{path} has no section [{name}] (present: {', '.join(parser.sections()) or 'none'})")
    section = parser[name]
    kind = section.get("type", "access_key")
    if kind not in {"access_key", "sts"}:
        raise UsageError(f"[{name}] in {path} is of type {kind!r}, which contains no keys; {_SESSION}")
    return _keys(f"[{name}] in {path}", section, "security_token" if kind == "sts" else None)


def _sections(text: str) -> configparser.ConfigParser | None:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error:
        return None  # the error contains the line, secrets included, and is not passed on
    return parser


def _keys(place: str, profile: Mapping[str, Any], token: str | None) -> Credentials:
    wanted = ["access_key_id", "access_key_secret", *([token] if token else [])]
    if missing := [key for key in wanted if not profile.get(key)]:
        raise UsageError(f"{place} has no {', '.join(missing)}")
    key_id, secret, *rest = (str(profile[key]).strip() for key in wanted)
    return Credentials(key_id, secret, rest[0] if rest else None)
