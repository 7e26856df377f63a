"""The OSS test server, used by the unmodified SDK oss2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import oss2
import pytest
from fastcrc import crc64

from tests.servers.faults import Rule, WireFault
from tests.servers.oss.server import KEY_ID, REGION, SECRET, OssServer
from tests.servers.oss.signing import Key

PART_BYTES = 100 * 1024


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OssServer]:
    with OssServer(tmp_path / "oss", buckets=("videos", "other")) as server:
        yield server


Open = Callable[..., oss2.Bucket]


@pytest.fixture
def client(server: OssServer) -> Iterator[Open]:
    session, responses = oss2.Session(), []
    session.session.hooks["response"].append(lambda response, **_: responses.append(response))

    def client(auth: object, bucket: str = "videos", region: str = REGION) -> oss2.Bucket:
        return oss2.Bucket(auth, server.endpoint, bucket, region=region, session=session, connect_timeout=5)

    yield client
    for response in responses:  # the SDK leaves some unread, and their sockets open
        response.close()
    session.session.close()


AUTHS = {"V1": oss2.Auth, "V4": oss2.AuthV4}


@pytest.fixture(params=AUTHS)
def bucket(client: Open, request: pytest.FixtureRequest) -> oss2.Bucket:
    return client(AUTHS[request.param](KEY_ID, SECRET))


# ── whole objects ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "key", ["a.mp4", "a/b/c", "sp ace+plus&=.mp4", "映像/été~.mp4", "%2e%2e", "a?b#c", "(a)*'!$,;:@"]
)
@pytest.mark.parametrize("content", [b"", b"clip" * 100_000], ids=["empty", "400 kB"])
def test_an_object_is_read_as_it_was_put(bucket: oss2.Bucket, server: OssServer, key: str, content: bytes) -> None:
    put = bucket.put_object(key, content)
    assert put.crc == crc64.xz(content)
    got = bucket.get_object(key)
    assert got.read() == content
    assert (got.client_crc, got.etag, got.content_length) == (got.server_crc, put.etag, len(content))
    assert server.objects() == {("videos", key): content}


def test_head_and_get_agree_and_user_metadata_is_kept(bucket: oss2.Bucket) -> None:
    bucket.put_object("clip.mp4", b"12345", headers={"x-oss-meta-shard": "7", "Content-Type": "video/mp4"})
    head = bucket.head_object("clip.mp4")
    assert (head.content_length, head.server_crc) == (5, crc64.xz(b"12345"))
    assert (head.headers["x-oss-meta-shard"], head.content_type, head.object_type) == ("7", "video/mp4", "Normal")
    assert bucket.get_object_meta("clip.mp4").etag == head.etag


def test_absent_keys_and_buckets_give_oss_codes(bucket: oss2.Bucket, client: Open) -> None:
    with pytest.raises(oss2.exceptions.NoSuchKey):
        bucket.get_object("absent")
    with pytest.raises(oss2.exceptions.NoSuchKey):
        bucket.head_object("absent")
    assert not bucket.object_exists("absent")
    with pytest.raises(oss2.exceptions.NoSuchBucket):
        client(oss2.AuthV4(KEY_ID, SECRET), "absent").get_object("key")


@pytest.mark.parametrize(
    ("byte_range", "expected"), [((2, 5), b"2345"), ((7, None), b"789"), ((None, 3), b"789"), ((0, 0), b"0")]
)
def test_ranges_are_served(bucket: oss2.Bucket, byte_range: tuple[int, int], expected: bytes) -> None:
    bucket.put_object("digits", b"0123456789")
    got = bucket.get_object("digits", byte_range=byte_range)
    assert (got.status, got.read()) == (206, expected)


def test_a_range_past_the_end_gives_the_whole_object_or_416_in_standard_mode(bucket: oss2.Bucket) -> None:
    bucket.put_object("digits", b"0123456789")
    assert bucket.get_object("digits", byte_range=(10, 20)).read() == b"0123456789"
    assert bucket.get_object("digits", byte_range=(5, 20)).read() == b"0123456789"
    standard = {"x-oss-range-behavior": "standard"}
    assert bucket.get_object("digits", byte_range=(5, 20), headers=standard).read() == b"56789"
    with pytest.raises(oss2.exceptions.ServerError) as caught:
        bucket.get_object("digits", byte_range=(10, 20), headers=standard)
    assert (caught.value.status, caught.value.code) == (416, "InvalidRange")


def test_conditional_requests_are_honoured(bucket: oss2.Bucket) -> None:
    etag = bucket.put_object("clip", b"one").etag
    assert bucket.get_object("clip", headers={"If-Match": f'"{etag}"'}).read() == b"one"
    with pytest.raises(oss2.exceptions.NotModified):
        bucket.get_object("clip", headers={"If-None-Match": f'"{etag}"'})
    bucket.put_object("clip", b"two")
    with pytest.raises(oss2.exceptions.PreconditionFailed):
        bucket.get_object("clip", headers={"If-Match": f'"{etag}"'})
    with pytest.raises(oss2.exceptions.ServerError) as caught:
        bucket.put_object("clip", b"three", headers={"x-oss-forbid-overwrite": "true"})
    assert (caught.value.status, caught.value.code) == (409, "FileAlreadyExists")


def test_a_wrong_digest_is_refused(bucket: oss2.Bucket, server: OssServer) -> None:
    with pytest.raises(oss2.exceptions.InvalidDigest):
        bucket.put_object("clip", b"one", headers={"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="})
    assert not server.objects()


def test_deleting_is_idempotent(bucket: oss2.Bucket, server: OssServer) -> None:
    bucket.put_object("clip", b"one")
    assert [bucket.delete_object("clip").status for _ in range(2)] == [204, 204]
    assert not server.objects()


# ── lists ────────────────────────────────────────────────────────────────────────────────────────────────────────────

KEYS = ["a/1.mp4", "a/2 ü.mp4", "a/b/3.mp4", "c.mp4", "映/4.mp4"]


@pytest.mark.parametrize("iterator", [oss2.ObjectIterator, oss2.ObjectIteratorV2])
@pytest.mark.parametrize("page", [1, 2, 100])
def test_lists_have_pages_and_common_prefixes(bucket: oss2.Bucket, iterator: type, page: int) -> None:
    for key in KEYS:
        bucket.put_object(key, b"x")
    assert [found.key for found in iterator(bucket, max_keys=page)] == KEYS
    folded = [(found.key, found.is_prefix()) for found in iterator(bucket, prefix="a/", delimiter="/", max_keys=page)]
    assert folded == [("a/1.mp4", False), ("a/2 ü.mp4", False), ("a/b/", True)]


# ── multipart ────────────────────────────────────────────────────────────────────────────────────────────────────────


def upload_parts(bucket: oss2.Bucket, key: str, parts: list[bytes]) -> tuple[str, list[oss2.models.PartInfo]]:
    upload_id = bucket.init_multipart_upload(key).upload_id
    sent = [bucket.upload_part(key, upload_id, number, part) for number, part in enumerate(parts, 1)]
    return upload_id, [
        oss2.models.PartInfo(number, one.etag, size=len(part), part_crc=one.crc)
        for number, (one, part) in enumerate(zip(sent, parts, strict=True), 1)
    ]


def test_parts_become_one_object(bucket: oss2.Bucket, server: OssServer) -> None:
    parts = [b"a" * PART_BYTES, b"b" * PART_BYTES, b"tail"]
    upload_id, named = upload_parts(bucket, "映像/clip.mp4", parts)
    assert [part.part_number for part in oss2.PartIterator(bucket, "映像/clip.mp4", upload_id, max_parts=2)] == [
        1,
        2,
        3,
    ]
    assert [upload.upload_id for upload in oss2.MultipartUploadIterator(bucket)] == [upload_id]
    assert not server.objects()
    done = bucket.complete_multipart_upload("映像/clip.mp4", upload_id, named)
    assert done.crc == crc64.xz(b"".join(parts))
    assert bucket.get_object("映像/clip.mp4").read() == b"".join(parts)
    assert done.etag.endswith("-3")
    with pytest.raises(oss2.exceptions.NoSuchUpload):
        bucket.complete_multipart_upload("映像/clip.mp4", upload_id, named)


def test_wrong_parts_are_refused(bucket: oss2.Bucket, server: OssServer) -> None:
    upload_id, named = upload_parts(bucket, "clip", [b"a" * PART_BYTES, b"b"])
    named[1].etag = named[0].etag
    with pytest.raises(oss2.exceptions.ServerError, match="InvalidPart"):
        bucket.complete_multipart_upload("clip", upload_id, named)
    small_id, small = upload_parts(bucket, "small", [b"a", b"b"])
    with pytest.raises(oss2.exceptions.ServerError, match="EntityTooSmall"):
        bucket.complete_multipart_upload("small", small_id, small)
    assert not server.objects()


def test_an_aborted_upload_is_gone(bucket: oss2.Bucket, server: OssServer) -> None:
    upload_id, _ = upload_parts(bucket, "clip", [b"a"])
    bucket.abort_multipart_upload("clip", upload_id)
    with pytest.raises(oss2.exceptions.NoSuchUpload):
        bucket.list_parts("clip", upload_id)
    assert not server.shelf.uploads


def test_the_sdk_s_resumable_transfers_work(bucket: oss2.Bucket, tmp_path: Path) -> None:
    source, target, store = tmp_path / "source", tmp_path / "target", str(tmp_path)
    source.write_bytes(bytes(range(256)) * 2000)
    oss2.resumable_upload(
        bucket, "big", str(source), store=oss2.ResumableStore(root=store), multipart_threshold=1, part_size=PART_BYTES
    )
    oss2.resumable_download(
        bucket,
        "big",
        str(target),
        store=oss2.ResumableDownloadStore(root=store),
        multiget_threshold=1,
        part_size=PART_BYTES,
    )
    assert target.read_bytes() == source.read_bytes()


# ── authentication ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("auth", AUTHS.values(), ids=AUTHS)
def test_a_wrong_secret_an_unknown_key_and_a_missing_signature_are_refused(client: Open, auth: type) -> None:
    with pytest.raises(oss2.exceptions.SignatureDoesNotMatch):
        client(auth(KEY_ID, "wrong")).get_object("clip")
    with pytest.raises(oss2.exceptions.ServerError, match="InvalidAccessKeyId"):
        client(auth("LTAIunknown", SECRET)).get_object("clip")
    with pytest.raises(oss2.exceptions.AccessDenied):
        client(oss2.AnonymousAuth()).get_object("clip")


def test_a_signature_for_another_region_is_refused(client: Open) -> None:
    with pytest.raises(oss2.exceptions.SignatureDoesNotMatch):
        client(oss2.AuthV4(KEY_ID, SECRET), region="cn-beijing").get_object("clip")


@pytest.mark.parametrize("provider_auth", [oss2.ProviderAuth, oss2.ProviderAuthV4], ids=["V1", "V4"])
def test_a_session_needs_its_token(server: OssServer, client: Open, provider_auth: type) -> None:
    server.keys["STS.1"] = Key("session-secret", "session-token")
    server.put("videos", "clip", b"1")

    def got(token: str) -> bytes:
        keys = oss2.StaticCredentialsProvider("STS.1", "session-secret", token)
        return client(provider_auth(keys)).get_object("clip").read()

    assert got("session-token") == b"1"
    for wrong in ("", "other-token"):
        with pytest.raises(oss2.exceptions.ServerError, match="InvalidSecurityToken"):
            got(wrong)


# ── damage that the SDK does not notice ──────────────────────────────────────────────────────────────────────────────


def test_the_sdk_does_not_notice_a_flipped_bit_in_a_download(bucket: oss2.Bucket, server: OssServer) -> None:
    server.put("videos", "clip", b"0000")
    server.faults.add(Rule(WireFault("flip")))
    got = bucket.get_object("clip")
    assert got.read() == b"0010"
    assert got.client_crc != got.server_crc


def test_the_answer_to_an_upload_shows_a_flipped_bit(bucket: oss2.Bucket, server: OssServer) -> None:
    server.faults.add(Rule(WireFault("flip_upload")))
    with pytest.raises(oss2.exceptions.InconsistentError):
        bucket.put_object("clip", b"0000")
    assert server.objects() == {("videos", "clip"): b"0010"}
