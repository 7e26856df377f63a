"""The place of thumbnails: a prefix of the object store, or a directory that workers and ``tamis gallery`` share.

A file's name is the digest of its bytes: stored twice it is one file, and a reader knows whether it has what it asked
for, even where another program wrote the row that names it.
"""

from __future__ import annotations

import re
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile

from storage.errors import ObjectCorrupt, ObjectMissing
from storage.objects.directory import DirectoryStore
from storage.objects.protocol import ObjectStore
from storage.uri import ObjectUri

FOLDER = "thumbnails"  # of a directory, below it
MAX_BYTES = 1 << 20  # of a strip
_FILE = re.compile(rf"(?P<root>/.*)/{FOLDER}/(?P<key>[0-9a-f]{{2}}/[0-9a-f]{{64}}\.jpg)")


def store_strip(content: bytes, place: str, origin: ObjectStore) -> str:
    """Store the bytes of a strip and return their address, ``oss://bucket/key`` or a path.

    Raises the errors of the store, as the upload of a crop does.
    """
    digest = sha256(content).hexdigest()
    name = f"{digest[:2]}/{digest}.jpg"
    address = f"{place}/{name}" if place.startswith("oss://") else f"{place}/{FOLDER}/{name}"
    store, uri = _found(address, origin)
    with NamedTemporaryFile(prefix="tamis-thumbnails-") as file:
        file.write(content)
        file.flush()
        store.put(Path(file.name), uri)
    return address


def fetch_strip(address: str, origin: ObjectStore) -> bytes:
    """Return the strip at an address that a row names. Raises ``StorageError`` when it is gone or is another file."""
    store, uri = _found(address, origin)
    stat = store.stat(uri)
    if stat.size_bytes > MAX_BYTES:
        raise ObjectCorrupt(f"{address} has {stat.size_bytes} bytes: it is no strip of frames")
    content = BytesIO()
    store.fetch(uri, stat, content)
    if sha256(content.getvalue()).hexdigest() != Path(address).stem:
        raise ObjectCorrupt(f"{address} has other bytes than its name says")
    return content.getvalue()


def _found(address: str, origin: ObjectStore) -> tuple[ObjectStore, ObjectUri]:
    if address.startswith("oss://"):
        return origin, ObjectUri.parse(address)
    if named := _FILE.fullmatch(address):
        return DirectoryStore(Path(named["root"])), ObjectUri(FOLDER, named["key"])
    raise ObjectMissing(f"{address!r} is no address of thumbnails")
