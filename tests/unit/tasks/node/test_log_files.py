from __future__ import annotations

from pathlib import Path

from tasks.node.log_files import numbered, rotate


def test_a_small_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "io.log"
    assert not rotate(path)
    path.write_text("line\n")
    assert not rotate(path, most_bytes=100)
    assert path.read_text() == "line\n"


def test_a_large_file_is_kept_under_a_number_and_its_writer_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "io.log"
    with path.open("ab", buffering=0) as writer:
        for number in range(5):
            writer.write(f"{number} {'x' * 100}\n".encode())
            assert rotate(path, most_bytes=50, kept=3)
        writer.write(b"now\n")
    assert path.read_text() == "now\n"
    assert [numbered(path, number).read_text()[0] for number in (1, 2, 3)] == ["4", "3", "2"]
    assert not numbered(path, 4).exists()
