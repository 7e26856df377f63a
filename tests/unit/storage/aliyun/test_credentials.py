from __future__ import annotations

import copy
import json
import logging
import pickle
import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage.aliyun.credentials import Credentials, RenewingProvider, StaticProvider
from storage.aliyun.profile_files import read_profile, read_token
from storage.aliyun.ram_role import RamRole
from storage.errors import Unavailable, UsageError
from tests.servers.faults import Rule, WireFault
from tests.servers.wire import Request, Response, WireServer, serving

SECRET, TOKEN = "sEcReT0123456789", "tOkEn+/abc=="
NOON = datetime(2025, 1, 15, 12, tzinfo=UTC)


def keys(minutes: float | None = None, key_id: str = "LTAIkey") -> Credentials:
    return Credentials(key_id, SECRET, TOKEN, None if minutes is None else NOON + timedelta(minutes=minutes))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[object], Path]:
    def write(content: object) -> Path:
        path = tmp_path / "credentials"
        path.touch(mode=0o600)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


Write = Callable[[object], Path]

# ── text of credentials ─────────────────────────────────────────────────────────────────────────────────────────────


def test_no_text_of_credentials_contains_a_secret() -> None:
    shown = keys(30)
    texts = [repr(shown), str(shown), f"{shown}", f"{[shown]!r}", f"{StaticProvider(shown)!r}"]
    assert all(SECRET not in text and TOKEN not in text for text in texts)
    assert repr(shown) == "Credentials(session LTAI***, until 2025-01-15T12:30:00Z)"


def test_a_traceback_contains_no_secret() -> None:
    with pytest.raises(TypeError) as caught:
        keys() + keys()  # type: ignore[operator] # deliberately wrong
    with pytest.raises(UsageError, match="access_key_secret") as refused:
        Credentials("id", f"{SECRET}\n")
    for raised in (caught, refused):
        assert SECRET not in "".join(traceback.format_exception(raised.value))


def test_credentials_are_not_pickled() -> None:
    for give_away in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="not pickled"):
            give_away(keys())


@pytest.mark.parametrize("secret", ["", "with space", "new\nline", "schlüssel"])
def test_a_key_with_forbidden_characters_is_refused(secret: str) -> None:
    with pytest.raises(UsageError):
        Credentials("id", secret)


# ── renewing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Issuer:
    """Issues keys valid for an hour; the test sets the clock."""

    def __init__(self) -> None:
        self.now, self.issued, self.fault = NOON, 0, None

    def load(self) -> Credentials:
        if self.fault is not None:
            raise self.fault
        self.issued += 1
        return Credentials(f"id{self.issued}", SECRET, TOKEN, self.now + timedelta(hours=1))

    def provider(self, load: Callable[[], Credentials] | None = None) -> RenewingProvider:
        return RenewingProvider(load or self.load, renew_ahead=timedelta(minutes=10), now=lambda: self.now)


def test_keys_are_loaded_once_and_renewed_before_they_expire() -> None:
    issuer = Issuer()
    provider = issuer.provider()
    assert {provider.credentials().access_key_id for _ in range(5)} == {"id1"}
    issuer.now += timedelta(minutes=51)
    assert {provider.credentials().access_key_id for _ in range(5)} == {"id2"}


def test_while_renewals_fail_the_old_keys_are_used_until_they_expire(caplog: pytest.LogCaptureFixture) -> None:
    issuer = Issuer()
    provider = issuer.provider()
    first = provider.credentials()
    issuer.fault = Unavailable("away")
    issuer.now += timedelta(minutes=52)
    assert [provider.credentials() for _ in range(3)] == [first] * 3
    assert len(caplog.records) == 1  # loaded once, then not before the next retry
    issuer.now += timedelta(minutes=9)
    with pytest.raises(Unavailable, match="away"):
        provider.credentials()
    issuer.fault = None
    assert provider.credentials().access_key_id == "id2"


def test_expired_keys_are_unavailable() -> None:
    provider = RenewingProvider(lambda: keys(-1), now=lambda: NOON)
    with pytest.raises(Unavailable, match="have expired"):
        provider.credentials()


def test_keys_that_expire_soon_are_not_loaded_at_every_call() -> None:
    asked: list[int] = []
    provider = RenewingProvider(lambda: asked.append(1) or keys(2), now=lambda: NOON)  # type: ignore[func-returns-value] # append returns None
    assert provider.credentials() == provider.credentials()
    assert len(asked) == 1


def test_one_thread_renews_while_the_others_use_the_old_keys() -> None:
    issuer, begun, go_on = Issuer(), threading.Event(), threading.Event()

    def load() -> Credentials:
        if issuer.issued:
            begun.set()
            assert go_on.wait(10)
        return issuer.load()

    provider = issuer.provider(load)
    provider.credentials()
    issuer.now += timedelta(minutes=55)
    renewing = threading.Thread(target=provider.credentials)
    renewing.start()
    assert begun.wait(10)
    assert provider.credentials().access_key_id == "id1"  # at once, during the renewal
    go_on.set()
    renewing.join()
    assert provider.credentials().access_key_id == "id2"
    assert issuer.issued == 2


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────

CONFIG = {
    "current": "work",
    "profiles": [
        {"name": "work", "mode": "AK", "access_key_id": "LTAIwork", "access_key_secret": SECRET},
        {"name": "sts", "mode": "StsToken", "access_key_id": "STS.1", "access_key_secret": SECRET, "sts_token": TOKEN},
        {"name": "role", "mode": "EcsRamRole", "ram_role_name": "r"},
        {"name": "half", "mode": "AK", "access_key_id": "LTAIhalf", "access_key_secret": ""},
    ],
}
INI = f"""
[default]
type = access_key
access_key_id = LTAIini
access_key_secret = {SECRET}
[session]
type = sts
access_key_id = STS.2
access_key_secret = {SECRET}
security_token = 100%{TOKEN}
[role]
type = ecs_ram_role
role_name = r
"""


def test_profiles_of_the_command_line_are_read(write: Write) -> None:
    path = write(CONFIG)
    assert read_profile(path, None) == Credentials("LTAIwork", SECRET)
    assert read_profile(path, "sts") == Credentials("STS.1", SECRET, TOKEN)


def test_sections_of_an_ini_are_read(write: Write) -> None:
    path = write(INI)
    assert read_profile(path, None) == Credentials("LTAIini", SECRET)
    assert read_profile(path, "session") == Credentials("STS.2", SECRET, f"100%{TOKEN}")


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (CONFIG, "other", "has 0 profiles 'other'"),
        (CONFIG, "role", "mode 'EcsRamRole'"),
        (CONFIG, "half", "no access_key_secret"),
        ({"profiles": 3}, None, "no list of 'profiles'"),
        ("{" + SECRET, None, "line 1, column 2"),
        (INI, "other", r"no section \[other\]"),
        (INI, "role", "type 'ecs_ram_role'"),
        (SECRET, None, "neither"),
        (f"[default]\n{SECRET}", None, "neither"),
    ],
)
def test_a_profile_without_keys_is_refused_with_a_reason_and_no_secret(
    write: Write, content: object, name: str | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read_profile(write(content), name)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None  # a crash reporter follows it


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent: No such file"):
        read_profile(tmp_path / "absent", None)


def test_a_world_readable_file_logs_a_warning(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    path = write(CONFIG)
    read_profile(path, None)
    assert not caplog.records
    path.chmod(0o644)
    read_profile(path, None)
    assert "chmod 600" in caplog.text
    assert SECRET not in caplog.text


ANSWER = {
    "Code": "Success",
    "AccessKeyId": "STS.3",
    "AccessKeySecret": SECRET,
    "SecurityToken": TOKEN,
    "Expiration": "2125-01-15T18:00:00Z",
}


def test_a_token_file_is_read_again_before_its_keys_expire(write: Write) -> None:
    path = write({**ANSWER, "Expiration": "2025-01-15T12:30:00Z"})
    assert read_token(path) == Credentials("STS.3", SECRET, TOKEN, NOON + timedelta(minutes=30))
    now = NOON
    provider = RenewingProvider(lambda: read_token(path), now=lambda: now)
    assert provider.credentials().access_key_id == "STS.3"
    write({**ANSWER, "AccessKeyId": "STS.4"})
    now += timedelta(minutes=25)
    assert provider.credentials().access_key_id == "STS.4"


@pytest.mark.parametrize(
    ("change", "message"),
    [({"Code": "Failed"}, "Failed"), ({"SecurityToken": ""}, "no SecurityToken"), ({"Expiration": "soon"}, "'soon'")],
)
def test_an_answer_without_keys_is_refused_with_a_reason(write: Write, change: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read_token(write({**ANSWER, **change}))
    assert SECRET not in "".join(traceback.format_exception(caught.value))


# ── the metadata service ─────────────────────────────────────────────────────────────────────────────────────────────

ROLES = "/latest/meta-data/ram/security-credentials/"


def metadata(request: Request, *, is_hardened: bool) -> Response:
    if request.path == "/latest/api/token":
        return Response(200, b"session-1") if is_hardened and request.method == "PUT" else Response(404)
    if is_hardened and request.headers.get("x-aliyun-ecs-metadata-token") != "session-1":
        return Response(403)
    answers = {ROLES: b"fleet", f"{ROLES}fleet": json.dumps(ANSWER).encode()}
    return Response(200, answers[request.path]) if request.path in answers else Response(404)


@pytest.fixture(params=[True, False], ids=["hardened", "plain"])
def service(request: pytest.FixtureRequest) -> Iterator[WireServer]:
    with serving(lambda asked: metadata(asked, is_hardened=request.param)) as server:
        yield server


@pytest.mark.parametrize("role", ["fleet", None], ids=["named", "found"])
def test_the_keys_of_a_role_come_from_the_metadata_service(service: WireServer, role: str | None) -> None:
    found = RenewingProvider(RamRole(role, service.url).load).credentials()
    assert (found.access_key_id, found.access_key_secret, found.security_token) == ("STS.3", SECRET, TOKEN)
    assert found.expires_at == datetime(2125, 1, 15, 18, tzinfo=UTC)


def test_an_absent_role_is_named_in_the_error(service: WireServer) -> None:
    with pytest.raises(UsageError, match="no RAM role 'other'"):
        RamRole("other", service.url).load()


@pytest.mark.parametrize(
    "fault",
    [
        WireFault("status", 500),
        WireFault("reset"),
        WireFault("truncate"),
        WireFault("hang", seconds=30),
        WireFault("trickle", seconds=0.05),
    ],
)
def test_a_failing_metadata_service_is_unavailable(
    service: WireServer, fault: WireFault, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    service.faults.add(Rule(fault, "fleet"))
    with pytest.raises(Unavailable) as caught:
        RamRole("fleet", service.url, timeout_seconds=0.3).load()
    assert SECRET not in "".join(traceback.format_exception(caught.value)) + caplog.text
