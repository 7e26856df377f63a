from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import UsageError
from storage.objects.directory import DirectoryStore
from storage.spool import Spool
from storage.uri import ObjectUri
from tasks.resources.stores import open_origin, open_tiers, oss_region
from tasks.settings import Settings, SettingsError
from tests.servers.oss.server import KEY_ID, REGION, SECRET, OssServer

KEYS = {"TAMIS_ALIYUN_ACCESS_KEY_ID": KEY_ID, "TAMIS_ALIYUN_ACCESS_KEY_SECRET": SECRET}


def settings(**values: str) -> Settings:
    return Settings.from_env({f"TAMIS_{name}": value for name, value in values.items()} | KEYS)


def test_a_video_comes_from_oss_and_a_crop_goes_there(tmp_path: Path) -> None:
    with OssServer(tmp_path / "oss") as server, Spool(tmp_path / "spool", limit_bytes=1 << 20) as spool:
        tiers = open_tiers(settings(OSS_ENDPOINT=server.endpoint, OSS_REGION=REGION))
        server.put("videos", "clip.mp4", b"clip")
        video = tiers.download(ObjectUri("videos", "clip.mp4"), use_alluxio=False, spool=spool, holder="row")
        assert (video.path.read_bytes(), video.tier, video.is_verified) == (b"clip", "oss", True)
        tiers.origin.put(video.path, ObjectUri("videos", "crop.mp4"))
        assert server.objects()["videos", "crop.mp4"] == b"clip"


def test_a_directory_can_replace_oss_but_not_be_set_beside_it(tmp_path: Path) -> None:
    assert isinstance(open_origin(settings(OBJECT_ROOT=str(tmp_path))), DirectoryStore)
    assert open_origin(settings()) is None
    with pytest.raises(UsageError, match="both name the object store"):
        open_origin(settings(OBJECT_ROOT=str(tmp_path), OSS_ENDPOINT="http://127.0.0.1:1", OSS_REGION=REGION))


@pytest.mark.parametrize(
    ("endpoint", "region"),
    [
        ("https://oss-cn-hangzhou.aliyuncs.com", "cn-hangzhou"),
        ("https://oss-cn-hangzhou-internal.aliyuncs.com/", "cn-hangzhou"),
        ("http://oss-ap-southeast-1-internal.aliyuncs.com", "ap-southeast-1"),
        ("https://oss-us-west-1.aliyuncs.com", "us-west-1"),
    ],
)
def test_the_region_is_read_from_the_endpoint(endpoint: str, region: str) -> None:
    given = settings(OSS_ENDPOINT=endpoint)
    assert oss_region(given, str(given.oss.endpoint)) == region
    assert oss_region(settings(OSS_ENDPOINT=endpoint, OSS_REGION="cn-x"), endpoint) == "cn-x"


def test_an_endpoint_that_names_no_region_needs_the_setting() -> None:
    with pytest.raises(UsageError, match="set TAMIS_OSS_REGION"):
        open_origin(settings(OSS_ENDPOINT="https://oss.example.com"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OSS_ENDPOINT", "oss-cn-hangzhou.aliyuncs.com"),
        ("OSS_ENDPOINT", "https://key:secret@host"),
        ("OSS_ENDPOINT", "https://host/bucket"),
        ("OSS_REGION", "oss-cn-hangzhou"),
        ("OSS_SIGNATURE", "v2"),
    ],
)
def test_a_malformed_setting_of_oss_is_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"TAMIS_{name}") as caught:
        settings(**{name: value})
    assert "secret" not in str(caught.value)
