"""No log line, exception or repr contains a key's secret, a session's token or a signature."""

from __future__ import annotations

import io
import logging
import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path

import oss2
import pytest

from storage.aliyun.credentials import Credentials, StaticProvider
from storage.errors import StorageError
from storage.uri import ObjectUri
from tests.servers.faults import Rule, WireFault
from tests.servers.oss.server import REGION, OssServer
from tests.servers.oss.signing import Key
from tests.unit.storage.objects.oss.oss_stores import CLIP, fetched, open_store

SECRET, TOKEN = "s3cret/of+the=session", "token/of+the=session"
KEYS = Credentials("STS.1", SECRET, TOKEN)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OssServer]:
    with OssServer(tmp_path / "oss", keys={"STS.1": Key(SECRET, TOKEN)}) as server:
        yield server


def shown_text(error: BaseException) -> str:
    """Return all text of the error that a log or a crash reporter may show."""
    texts = ["".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())]
    linked: BaseException | None = error
    while linked is not None:
        texts += [repr(linked), str(linked), repr(vars(linked))]
        linked = linked.__cause__ or linked.__context__
    return "\n".join(texts)


def failures(server: OssServer, tmp_path: Path) -> Iterator[BaseException]:
    """Yield the errors of every kind of failure."""
    store, crop = open_store(server, StaticProvider(KEYS)), tmp_path / "crop"
    crop.write_bytes(b"crop" * 100_000)
    wrong = open_store(server, StaticProvider(Credentials("STS.1", SECRET + "x", TOKEN)))
    server.put(CLIP.bucket, CLIP.key, b"clip" * 1000)
    assert fetched(store) == b"clip" * 1000
    store.put(crop, ObjectUri("videos", "crop"))
    stat = store.stat(CLIP)
    calls = (
        lambda: wrong.stat(CLIP),
        lambda: wrong.fetch(CLIP, stat, io.BytesIO()),
        lambda: wrong.put(crop, CLIP),
        lambda: store.stat(ObjectUri("videos", "absent")),
        lambda: store.stat(ObjectUri("absent", "absent")),
    )
    for call in calls:
        with pytest.raises(StorageError) as caught:
            call()
        yield caught.value
    for kind in ("status", "reset", "truncate", "flip", "lose_reply"):
        server.faults.clear()
        server.faults.add(Rule(WireFault(kind), "GET|PUT|POST"))
        for call in (lambda: fetched(store), lambda: store.put(crop, ObjectUri("videos", "other"))):
            try:
                call()
            except StorageError as error:
                yield error


def test_no_log_line_and_no_exception_holds_a_secret(
    server: OssServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (None, "oss2", "oss2.api", "oss2.auth", "oss2.http", "urllib3", "requests"):
        caplog.set_level(logging.DEBUG, logger=name)
    texts = [shown_text(error) for error in failures(server, tmp_path)]
    assert len(texts) > 10
    shown = "\n".join([*texts, caplog.text, *(str(vars(record)) for record in caplog.records)])
    assert "GET /videos/" in shown  # something was logged
    assert not [secret for secret in (SECRET, TOKEN, "Signature=", "StringToSign<") if secret in shown]


def test_the_store_has_no_secret_in_its_repr_and_is_not_pickled(server: OssServer) -> None:
    store = open_store(server, StaticProvider(KEYS))
    parts = [store, *vars(store).values()]
    assert not [part for part in parts if SECRET in repr(part) + repr(getattr(part, "__dict__", ""))]
    with pytest.raises(TypeError):
        pickle.dumps(store)


def test_the_sdk_alone_shows_the_token_in_its_exception(server: OssServer) -> None:
    auth = oss2.ProviderAuthV4(oss2.StaticCredentialsProvider("STS.1", "wrong", TOKEN))
    session = oss2.Session()
    with pytest.raises(oss2.exceptions.SignatureDoesNotMatch) as caught:
        oss2.Bucket(auth, server.endpoint, "videos", session=session, region=REGION).get_object("clip")
    session.session.close()
    assert TOKEN in str(caught.value)
