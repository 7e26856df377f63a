"""The tunnel's Arrow format: a chunk size, then record batches divided into chunks.

``uint32`` big-endian chunk size; each full chunk is followed by its CRC32C, the short tail by the CRC32C of everything.
Only record batch messages are sent, no schema message: both sides know the schema. Columns are in the table's order.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from struct import pack, unpack

import pyarrow as pa
import pyarrow.compute as pc
from google_crc32c import value as crc32c
from odps.tunnel.io.types import odps_type_to_arrow_type
from odps.types import validate_data_type

from tests.servers.odps.refusals import Refusal
from tests.servers.odps.schema import Row, ServedColumn
from tests.servers.odps.values import bytes_of, text_of

CHUNK_BYTES = 65_536
BATCH_ROWS = 4_096


def encode(columns: Sequence[ServedColumn], rows: Sequence[Row]) -> bytes:
    """Return the stream of these rows."""
    schema = _schema(columns)
    batches = [_batch(schema, rows[start : start + BATCH_ROWS]) for start in range(0, len(rows), BATCH_ROWS)]
    return _chunked(b"".join(batch.serialize().to_pybytes() for batch in batches))


def decode(columns: Sequence[ServedColumn], stream: bytes) -> list[Row]:
    """Return the rows of a stream. ``Refusal`` if a checksum does not match, or the batches do not fit the columns."""
    schema = _schema(columns)
    try:
        messages = pa.BufferReader(schema.serialize().to_pybytes() + _unchunked(stream))
        table = pa.ipc.open_stream(messages).read_all()
        table.validate()
    except (pa.ArrowException, OSError) as error:
        raise Refusal(400, "InvalidParameter", f"The batches do not fit the table's schema: {error}") from error
    return list(zip(*map(_values, table.columns), strict=True))


def _schema(columns: Sequence[ServedColumn]) -> pa.Schema:
    return pa.schema([(column.name, odps_type_to_arrow_type(validate_data_type(column.type))) for column in columns])


def _batch(schema: pa.Schema, rows: Sequence[Row]) -> pa.RecordBatch:
    by_column = zip(*rows, strict=True)
    arrays = [_array(values, kind) for values, kind in zip(by_column, schema.types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _array(values: tuple[object, ...], kind: pa.DataType) -> pa.Array:
    if kind == pa.bool_():
        return pa.array([None if value is None else bool(value) for value in values], kind)
    if kind == pa.string():
        content = [None if value is None else bytes_of(value) for value in values]
        return pa.array(content, pa.binary()).view(kind)  # unlike a cast, a view accepts any bytes
    values = tuple(pickle.loads(value) if isinstance(value, bytes) else value for value in values)
    plain = pa.array(values, _with_bytes(kind))
    return pc.cast(plain, options=pc.CastOptions(target_type=kind, allow_invalid_utf8=True))


def _with_bytes(kind: pa.DataType) -> pa.DataType:
    """Return the type with binary values in the place of text, which may be any bytes."""
    if pa.types.is_map(kind):
        return pa.map_(_with_bytes(kind.key_type), _with_bytes(kind.item_type))
    if pa.types.is_list(kind):
        return pa.list_(_with_bytes(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _with_bytes(field.type)) for field in kind])
    return pa.binary() if pa.types.is_string(kind) else kind


def _values(column: pa.ChunkedArray) -> list[object]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    if column.type != pa.string():
        return list(column.to_pylist())
    return [None if value is None else text_of(value) for value in column.cast(pa.binary()).to_pylist()]


def _chunked(messages: bytes) -> bytes:
    parts = [pack("!I", CHUNK_BYTES)]
    whole = len(messages) // CHUNK_BYTES * CHUNK_BYTES
    for start in range(0, whole, CHUNK_BYTES):
        chunk = messages[start : start + CHUNK_BYTES]
        parts += [chunk, pack("!I", crc32c(chunk))]
    return b"".join([*parts, messages[whole:], pack("!I", crc32c(messages))])


def _unchunked(stream: bytes) -> bytes:
    if len(stream) == 4:  # without rows, the SDK omits the chunk size too
        return b""
    if len(stream) < 8:
        raise _corrupted("it is too short")
    size, place, parts = unpack("!I", stream[:4])[0], 4, []
    while len(stream) - place >= size + 8:
        chunk = stream[place : place + size]
        _check(chunk, stream[place + size : place + size + 4])
        parts.append(chunk)
        place += size + 4
    messages = b"".join([*parts, stream[place:-4]])
    _check(messages, stream[-4:])
    return messages


def _check(content: bytes, crc: bytes) -> None:
    if pack("!I", crc32c(content)) != crc:
        raise _corrupted("a chunk does not match its checksum")


def _corrupted(why: str) -> Refusal:
    return Refusal(400, "CorruptedDataStream", f"The data stream was corrupted, please try again later: {why}")
