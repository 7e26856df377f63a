from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from storage.errors import UsageError
from storage.tables.open import open_input, open_output
from storage.uri import TableUrl
from tests.unit.storage.tables.table_rows import create_table, record_of

REPOSITORY = Path(__file__).parents[4]


def test_a_url_may_be_text_or_parsed(tmp_path: Path) -> None:
    create_table(tmp_path / "v.db", "videos", [record_of(0)])
    text = f"sqlite:///{tmp_path}/v.db#videos"
    for url in (text, TableUrl.parse(text)):
        with closing(open_input(url)) as source, closing(open_output(url)) as sink:
            assert source.url == sink.url == f"sqlite:///{tmp_path}/v.db#videos"


def test_relative_urls_start_at_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_table(tmp_path / "v.db", "videos", [record_of(0)])
    monkeypatch.chdir(tmp_path)
    with closing(open_input("sqlite:///v.db#videos")) as table:
        assert table.url == f"sqlite:///{tmp_path}/v.db#videos"


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.parquet", "file:///data/out.csv"])
def test_a_file_as_output_is_refused_with_the_way_to_get_one(name: str) -> None:
    with pytest.raises(UsageError, match=r"Write to sqlite:///.*then export: tamis runs RUN --export /.*/out\."):
        open_output(name)


def test_an_odps_url_without_a_connection_is_refused_with_the_settings_it_needs() -> None:
    for open_table in (open_input, open_output):
        with pytest.raises(UsageError, match=r"set TAMIS_ODPS_ENDPOINT \(and the credentials\), for example https://"):
            open_table("odps://project/videos/ds=20250115")


def test_an_odps_url_may_name_a_schema() -> None:
    url = TableUrl.parse("odps://project.lab/videos/region=cn/ds=20250115")
    assert (url.location, url.table) == ("project.lab", "videos")
    assert str(url) == "odps://project.lab/videos/ds=20250115/region=cn"
    assert TableUrl.parse(str(url)) == url


def test_a_wrong_url_is_refused() -> None:
    for open_table in (open_input, open_output):
        with pytest.raises(UsageError, match="Examples: "):
            open_table("postgres://host/db")


def test_the_package_exports_the_openers_and_loads_them_at_first_use(tmp_path: Path) -> None:
    create_table(tmp_path / "v.db", "videos", [record_of(0)])
    program = (
        "import sys, storage\n"
        "assert not [name for name in sys.modules if name.startswith('storage.')]\n"
        f"with __import__('contextlib').closing(storage.open_input('sqlite:///{tmp_path}/v.db#videos')) as table:\n"
        "    assert table.count_rows() == 1\n"
        "assert storage.open_output.__module__ == 'storage.tables.open' and not hasattr(storage, 'absent')\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)


def test_opening_other_tables_loads_neither_pyarrow_nor_an_sdk() -> None:
    imports = "import sys, storage.tables.open, storage.tables.export, storage.tables.odps.connection"
    program = f"{imports}; sys.exit(bool({{'pyarrow', 'odps'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=False).returncode == 0
