"""Alibaba Cloud credentials from the settings. OSS and MaxCompute use the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from storage.aliyun.credentials import CredentialProvider, Credentials, RenewingProvider, StaticProvider
from storage.aliyun.profile_files import read_profile, read_token
from storage.aliyun.ram_role import RamRole
from storage.errors import UsageError
from tasks.settings import Settings

CLI_FILE = "~/.aliyun/config.json"
WAYS = (
    "TAMIS_ALIYUN_ACCESS_KEY_ID with TAMIS_ALIYUN_ACCESS_KEY_SECRET, TAMIS_ALIYUN_PROFILE or "
    "TAMIS_ALIYUN_PROFILE_FILE, TAMIS_ALIYUN_TOKEN_FILE, or TAMIS_ALIYUN_RAM_ROLE"
)


def aliyun_credentials(settings: Settings) -> CredentialProvider:
    """Return the provider that is set; ``UsageError`` when none or several are set, or its file cannot be used.

    Files are read here once, so that a mistake in them is reported at start; a RAM role is asked at first use.
    """
    ways = _ways(settings)
    if len(ways) != 1:
        named = f"{len(ways)} ways to Alibaba Cloud keys are set ({', '.join(ways)})" if ways else "no keys are set"
        raise UsageError(f"{named}: set one of {WAYS}")
    (open_way,) = ways.values()
    return open_way()


def _ways(settings: Settings) -> Mapping[str, Callable[[], CredentialProvider]]:
    secret, token = settings.aliyun.access_key_secret, settings.aliyun.security_token
    given: dict[str, tuple[object, Callable[[], CredentialProvider]]] = {
        "access key": (settings.aliyun.access_key_id or secret or token, partial(_static, settings)),
        "profile": (settings.aliyun.profile or settings.aliyun.profile_file, partial(_profile, settings)),
        "token file": (settings.aliyun.token_file, partial(_token_file, settings)),
        "RAM role": (settings.aliyun.ram_role, partial(_ram_role, settings)),
    }
    return {name: open_way for name, (is_given, open_way) in given.items() if is_given}


def _static(settings: Settings) -> CredentialProvider:
    key_id, secret, token = (
        settings.aliyun.access_key_id,
        settings.aliyun.access_key_secret,
        settings.aliyun.security_token,
    )
    if key_id is None or secret is None:
        missing = "ID" if key_id is None else "SECRET"
        raise UsageError(f"an access key has two halves: set TAMIS_ALIYUN_ACCESS_KEY_{missing} too")
    return StaticProvider(
        Credentials(key_id, secret.get_secret_value(), token.get_secret_value() if token is not None else None)
    )


def _profile(settings: Settings) -> CredentialProvider:
    path = settings.aliyun.profile_file or Path(CLI_FILE).expanduser()
    return _from_file(partial(read_profile, path, settings.aliyun.profile))


def _token_file(settings: Settings) -> CredentialProvider:
    if settings.aliyun.token_file is None:
        raise UsageError("TAMIS_ALIYUN_TOKEN_FILE is not set")
    return _from_file(partial(read_token, settings.aliyun.token_file))


def _from_file(read: Callable[[], Credentials]) -> CredentialProvider:
    read()
    return RenewingProvider(read)


def _ram_role(settings: Settings) -> CredentialProvider:
    role = None if settings.aliyun.ram_role == "auto" else settings.aliyun.ram_role
    return RenewingProvider(RamRole(role, settings.aliyun.metadata_url).load)
