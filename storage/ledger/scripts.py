"""The ledger's Lua scripts, one file each, and reads without a script."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any, Self

import redis
from redis import exceptions
from redis.commands.core import Script

from storage.errors import Unavailable

_TRANSIENT = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.OutOfMemoryError,
    exceptions.ReadOnlyError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
    exceptions.NoScriptError,  # flushed again between loading and calling
)
# A full disk, a missing replica and a running script answer with a plain ResponseError that starts so.
_TRANSIENT_REPLIES = ("MISCONF", "NOREPLICAS", "BUSY ")


@dataclass(frozen=True, slots=True)
class Scripts:
    """Every change of state is one of these scripts, hence atomic. A script unknown to the server is loaded again."""

    submit: Script
    claim: Script
    give_back: Script
    settle: Script
    amend: Script
    record: Script
    close: Script
    refeed: Script
    refuse_write: Script
    begin_attempt: Script
    end_attempt: Script
    forget_attempts: Script
    retry: Script
    forget: Script
    note_trouble: Script
    open_shards: Script
    beat_node: Script
    nodes: Script
    defer: Script
    take_due: Script
    forget_sent: Script
    remember_batch: Script
    give_order: Script
    note_refed: Script
    cut_shard: Script

    @classmethod
    def registered_with(cls, client: redis.Redis) -> Self:
        """Bind each field's ``<field>.lua`` to the client. Sends nothing."""
        return cls(**{field.name: client.register_script(_source(field.name)) for field in fields(cls)})


@cache
def _source(name: str) -> str:
    folder = files(__package__)
    return folder.joinpath("prelude.lua").read_text() + folder.joinpath(f"{name}.lua").read_text()


def address(client: redis.Redis) -> str:
    """Return ``host:port`` or the socket's path, for error messages. Never a password."""
    connection = client.connection_pool.connection_kwargs
    if "path" in connection:
        return str(connection["path"])
    return f"{connection.get('host', 'localhost')}:{connection.get('port', 6379)}"


@contextmanager
def answering(client: redis.Redis) -> Iterator[None]:
    """Convert the client's temporary errors into ``Unavailable``."""
    try:
        yield
    except exceptions.RedisError as error:
        if not isinstance(error, _TRANSIENT) and not str(error).startswith(_TRANSIENT_REPLIES):
            raise
        raise Unavailable(f"the ledger at {address(client)} cannot serve now: {error}") from error


def read_at_once(client: redis.Redis, *commands: tuple[str, ...]) -> list[Any]:
    """Return the replies to the commands, all of one instant, in one round trip."""
    pipeline: Any  # its execute_command has no annotations
    if len(commands) == 1:  # a transaction of one command costs three
        with answering(client):
            return [client.execute_command(*commands[0])]  # type: ignore[no-untyped-call]  # likewise
    with answering(client), client.pipeline(transaction=True) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        return list(pipeline.execute())
