"""The drill's tables: a MaxCompute server in the harness, or SQLite files where nodes have networks of their own."""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

from storage.aliyun.credentials import Credentials, StaticProvider
from storage.records import INPUT_COLUMNS, OUTPUT_COLUMNS, Execution, ResultRow
from storage.tables.batch_journal import MemoryJournal
from storage.tables.odps.connection import OdpsConnection
from storage.tables.open import open_output
from tests.drill.rows import NUMBER
from tests.drill.world import DAY, DrillWorld
from tests.servers.odps.server import OdpsServer

OTHER_RUN, OTHER_ROWS = "another-run", 20
RESULTS = f"SELECT result_info, info FROM results_latest WHERE ds = '{DAY}'"

Found = list[tuple[dict[str, Any], str]]  # result_info and info of each row of the output


class DrillOutput(Protocol):
    """The output as its readers see it."""

    def results(self) -> Found:
        """Return the rows of the drill's run."""


class SqliteOutputRows:
    """The rows of an SQLite output."""

    def __init__(self, world: DrillWorld) -> None:
        self._table = sqlite3.connect(f"file:{world.root}/output.db?mode=ro", uri=True, timeout=30)

    def results(self) -> Found:
        """Return the rows of the drill's run."""
        return [
            (json.loads(result), info) for result, info in self._table.execute("SELECT result_info, info FROM results")
        ]


class OdpsTables:
    """Input and output on a MaxCompute server, and the faults that happen to them."""

    def __init__(self, server: OdpsServer) -> None:
        self.server = server
        self._other_rows = 0
        self._records: list[Mapping[str, object]] = []
        self._seen: tuple[int, Found] = 0, []

    def lay_out(self, world: DrillWorld) -> None:
        """Create the input and, with a column of numbers, the output."""
        partitions = {"ds": "string"}
        self.server.create_table("videos", dict.fromkeys((*INPUT_COLUMNS, NUMBER), "string"), partitions=partitions)
        columns = dict.fromkeys(OUTPUT_COLUMNS, "string") | {NUMBER: "bigint"}
        self.server.create_table("results", columns, partitions=partitions)
        self._records = [row.record() for row in world.plan.rows]
        self.server.insert("videos", self._records, f"ds={DAY}")

    def environment(self) -> dict[str, str]:
        """Return the settings of a worker for these tables."""
        return {
            "TAMIS_ODPS_ENDPOINT": self.server.endpoint,
            "TAMIS_ODPS_TUNNEL_ENDPOINT": self.server.endpoint,
            "TAMIS_ALIYUN_ACCESS_KEY_ID": self.server.access_id,
            "TAMIS_ALIYUN_ACCESS_KEY_SECRET": self.server.secret,
        }

    def results(self) -> Found:
        """Return the rows of the drill's run that the view shows; asked often, so kept while no row is added."""
        if "results_latest" not in self.server.tables():
            return []
        if (count := self.count_physical()) != self._seen[0]:
            found = [(json.loads(str(row["result_info"])), str(row["info"])) for row in self.server.query(RESULTS)]
            self._seen = count, [(result, info) for result, info in found if result["run_id"] != OTHER_RUN]
        return self._seen[1]

    def count_physical(self) -> int:
        """Return the number of rows in the output partition, of all runs."""
        return self.server.count("results", f"ds={DAY}")

    def rewrite_input(self, seed: int) -> None:
        """Write the input's rows in another order, and end all sessions."""
        shuffled = random.Random(seed).sample(self._records, len(self._records))
        self.server.insert("videos", shuffled, f"ds={DAY}", is_overwrite=True)
        self.server.expire_sessions()

    def restore_input(self) -> None:
        """Undo :meth:`rewrite_input`."""
        self.server.insert("videos", self._records, f"ds={DAY}", is_overwrite=True)

    def write_other_run(self, world: DrillWorld) -> None:
        """Write a batch of another run into the output partition, as a fleet with its own ledger does."""
        keys = StaticProvider(Credentials(self.server.access_id, self.server.secret))
        connection = OdpsConnection(self.server.endpoint, keys, self.server.endpoint, journal=MemoryJournal())
        start, self._other_rows = self._other_rows, self._other_rows + OTHER_ROWS
        with closing(open_output(world.outputs, connection)) as table:
            table.prepare(())
            table.write_batch(f"other/{start}", [_other_row(ordinal) for ordinal in range(start, self._other_rows)])

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the other run's rows."""
        found = (json.loads(str(row["result_info"])) for row in self.server.query(RESULTS))
        times = Counter(result["ordinal"] for result in found if result["run_id"] == OTHER_RUN)
        if times != Counter(range(self._other_rows)):
            yield f"the other run wrote {self._other_rows} rows, and the output shows {times.total()}"


def _other_row(ordinal: int) -> ResultRow:
    now = datetime.now(UTC)
    return ResultRow.succeeded(
        {"video_id": f"other{ordinal}", "oss_bucket": "drill"},
        run_id=OTHER_RUN,
        ordinal=ordinal,
        verdict_info={},
        execution=Execution(start_time=now, end_time=now, avg_cost_seconds=0.0),
    )


@contextmanager
def odps_tables() -> Iterator[OdpsTables]:
    """Serve MaxCompute tables from this process."""
    with OdpsServer() as server:
        yield OdpsTables(server)
