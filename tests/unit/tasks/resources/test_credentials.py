from __future__ import annotations

import json
from pathlib import Path

import pytest

from storage.aliyun.credentials import Credentials
from storage.errors import UsageError
from tasks.resources.credentials import aliyun_credentials
from tasks.settings import Settings, SettingsError

SECRET, TOKEN = "sEcReT0123456789", "tOkEn+/abc=="


def settings(**values: str) -> Settings:
    return Settings.from_env({f"TAMIS_ALIYUN_{name}": value for name, value in values.items()})


def test_a_key_or_a_session_comes_from_the_environment() -> None:
    key = settings(ACCESS_KEY_ID="id", ACCESS_KEY_SECRET=SECRET)
    assert aliyun_credentials(key).credentials() == Credentials("id", SECRET)
    session = settings(ACCESS_KEY_ID="id", ACCESS_KEY_SECRET=SECRET, SECURITY_TOKEN=TOKEN)
    assert aliyun_credentials(session).credentials() == Credentials("id", SECRET, TOKEN)


def test_a_profile_and_a_token_come_from_files(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.touch(mode=0o600)
    config.write_text(
        json.dumps({"profiles": [{"name": "p", "mode": "AK", "access_key_id": "id", "access_key_secret": SECRET}]})
    )
    found = aliyun_credentials(settings(PROFILE="p", PROFILE_FILE=str(config)))
    assert found.credentials() == Credentials("id", SECRET)
    token = tmp_path / "token.json"
    token.touch(mode=0o600)
    token.write_text(json.dumps({"AccessKeyId": "id", "AccessKeySecret": SECRET, "SecurityToken": TOKEN}))
    assert aliyun_credentials(settings(TOKEN_FILE=str(token))).credentials() == Credentials("id", SECRET, TOKEN)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "no keys are set: set one of"),
        ({"RAM_ROLE": "r", "ACCESS_KEY_ID": "id", "ACCESS_KEY_SECRET": SECRET}, r"2 ways .*access key, RAM role"),
        ({"ACCESS_KEY_ID": "id"}, "set TAMIS_ALIYUN_ACCESS_KEY_SECRET too"),
        ({"SECURITY_TOKEN": TOKEN}, "set TAMIS_ALIYUN_ACCESS_KEY_ID too"),
        ({"PROFILE_FILE": "/nowhere/config.json"}, "/nowhere/config.json: No such file"),
        ({"TOKEN_FILE": "/nowhere/token.json"}, "/nowhere/token.json: No such file"),
    ],
)
def test_no_key_several_kinds_of_keys_or_an_unreadable_file_is_refused(values: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        aliyun_credentials(settings(**values))


def test_a_secret_is_read_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n")
    found = aliyun_credentials(settings(ACCESS_KEY_ID="id", ACCESS_KEY_SECRET_FILE=str(secret)))
    assert found.credentials() == Credentials("id", SECRET)


def test_mistakes_with_secret_files_are_all_reported(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(
            {
                "TAMIS_ALIYUN_ACCESS_KEY_SECRET": SECRET,
                "TAMIS_ALIYUN_ACCESS_KEY_SECRET_FILE": str(empty),
                "TAMIS_ALIYUN_SECURITY_TOKEN_FILE": str(empty),
                "TAMIS_BROKER_URL_FILE": "/nowhere",
                "TAMIS_NODE_FILE": "/nowhere",
            }
        )
    for part in ("are both set", "is empty", "TAMIS_BROKER_URL_FILE='/nowhere'", "TAMIS_NODE_FILE is not a setting"):
        assert part in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("url", ["https://100.100.100.200", "http://user@host", "100.100.100.200"])
def test_a_metadata_url_is_checked(url: str) -> None:
    with pytest.raises(SettingsError, match="TAMIS_ALIYUN_METADATA_URL"):
        settings(METADATA_URL=url)
