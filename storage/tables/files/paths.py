"""Check of a table's file before it is read."""

from __future__ import annotations

import os
import stat

from storage.errors import Unavailable, UsageError
from storage.uri import TableUrl


def stat_file(url: TableUrl) -> os.stat_result:
    """Stat the file; ``UsageError`` for a missing one, with a hint if the path was written relative."""
    try:
        found = url.path.stat()
    except (FileNotFoundError, NotADirectoryError):
        fault = f"{url}: there is no file {url.location}.{_hint(url)} Create it, or correct the path"
        raise UsageError(fault) from None
    except OSError as error:
        raise Unavailable(f"{url}: {error}") from error
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{url}: {url.location} is not a regular file")
    return found


def _hint(url: TableUrl) -> str:
    if not url.is_relative:
        return ""
    slashes = "" if url.scheme == "file" else ": in an sqlite URL three slashes are relative, four are absolute"
    return f" The path was written relative to the current directory{slashes}."
