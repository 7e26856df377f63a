from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import UsageError
from storage.objects.alluxio import AlluxioHttpStore
from storage.objects.directory import DirectoryStore
from tasks.cli.doctor import Finding, check_tiers
from tasks.resources.stores import open_tiers
from tasks.settings import Settings, SettingsError
from tests.servers.alluxio.server import serving_alluxio
from tests.servers.faults import Rule, WireFault


def configured(tmp_path: Path, **environ: object) -> Settings:
    named = {f"TAMIS_{name.upper()}": str(value) for name, value in environ.items()}
    return Settings.from_env({"TAMIS_STATE_DIR": str(tmp_path), **named})


def findings(settings: Settings) -> dict[str, Finding]:
    return {finding.subject: finding for finding in check_tiers(settings)}


@pytest.fixture
def roots(tmp_path: Path) -> dict[str, Path]:
    named = {name: tmp_path / name for name in ("cpfs_root", "alluxio_root", "object_root")}
    for root in named.values():
        root.mkdir()
    return named


def test_the_tiers_are_in_the_order_cpfs_alluxio_oss(tmp_path: Path, roots: dict[str, Path]) -> None:
    tiers = open_tiers(configured(tmp_path, **roots, cpfs_timeout_seconds=3, tier_failures=7, check_origin="false"))
    assert list(tiers.counters()) == ["cpfs", "alluxio", "oss"]
    assert isinstance(tiers.origin, DirectoryStore)
    assert tiers.origin.root == roots["object_root"]


def test_alluxio_by_mount_and_by_http_together_is_refused(tmp_path: Path, roots: dict[str, Path]) -> None:
    url = "http://worker:29998"
    settings = configured(tmp_path, object_root=roots["object_root"], alluxio_url=url)
    assert list(open_tiers(settings).counters()) == ["alluxio", "oss"]
    with pytest.raises(SettingsError, match=r"TAMIS_ALLUXIO_URL=.*by its mount or by HTTP, not both"):
        configured(tmp_path, **roots, alluxio_url=url)


@pytest.mark.parametrize(
    "url", ["worker:29998", "ftp://worker", "http://", "http://user:hunter2@worker", "http://w/?a", "http://w/#a"]
)
def test_a_malformed_alluxio_url_is_refused_and_its_password_not_shown(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match=r"TAMIS_ALLUXIO_URL=.*takes http://host:port") as caught:
        configured(tmp_path, alluxio_url=url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://worker:29998", "https://proxy/api/v1/s3", "http://10.0.0.1:39999/api/v1/s3/"])
def test_the_store_accepts_every_alluxio_url_that_the_settings_accept(tmp_path: Path, url: str) -> None:
    chosen = configured(tmp_path, alluxio_url=url).tiers.alluxio_url
    assert chosen is not None
    assert AlluxioHttpStore(chosen).url == url.rstrip("/")


def test_no_tier_at_all_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="TAMIS_OBJECT_ROOT"):
        open_tiers(configured(tmp_path))


def test_doctor_shows_for_each_tier_its_address_and_its_answer_time(tmp_path: Path, roots: dict[str, Path]) -> None:
    found = findings(configured(tmp_path, **roots))
    assert list(found) == ["tier cpfs", "tier alluxio", "tier oss"]
    for subject, root in zip(found, roots.values(), strict=True):
        assert found[subject].is_well
        assert f"{root} answers in" in found[subject].found


def test_doctor_names_a_lost_mount_and_its_remedy(tmp_path: Path, roots: dict[str, Path]) -> None:
    roots["cpfs_root"].rmdir()
    cpfs = findings(configured(tmp_path, **roots))["tier cpfs"]
    assert not cpfs.is_well
    assert "is not mounted" in cpfs.found
    assert cpfs.remedy == f"mount {roots['cpfs_root']} or make it readable"


def test_doctor_checks_alluxio_over_http_within_the_time_limit_of_a_download(
    tmp_path: Path, roots: dict[str, Path]
) -> None:
    with serving_alluxio() as server:
        settings = configured(
            tmp_path, object_root=roots["object_root"], alluxio_url=server.url, alluxio_timeout_seconds=0.3
        )
        assert findings(settings)["tier alluxio"].is_well
        server.wire.faults.add(Rule(WireFault("hang", seconds=60)))
        alluxio = findings(settings)["tier alluxio"]
    assert not alluxio.is_well
    assert server.url in alluxio.remedy


def test_doctor_reports_that_cpfs_can_be_filled(tmp_path: Path, roots: dict[str, Path]) -> None:
    settings = configured(tmp_path, **roots, cpfs_fill="true", cpfs_fill_floor_bytes=1)
    assert findings(settings)["fill cpfs"].is_well
