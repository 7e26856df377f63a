"""The demo with wire servers: it gives the local demo's verdicts, and no file, log or page shows a key."""

from __future__ import annotations

import base64
import json
import signal
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
import redis
from celery import Celery

from bench.equality import difference
from tasks.broker.redis import redis_transport_options
from tasks.resources.credentials import aliyun_credentials
from tasks.resources.stores import open_tiers
from tasks.resources.tables import odps_connection
from tasks.settings import Settings
from tests.fleet.processes import wait_until
from tests.media import write_clip
from tests.scripts import load_script
from tests.servers.faults import Rule, WireFault
from tests.servers.odps.server import OdpsServer
from tests.servers.oss.server import OssServer
from tests.servers.oss.signing import Key
from tests.valkey import free_port, valkey_server

KEY_ID, SECRET, TOKEN, PASSWORD = "STS.NUtest", "s3cret/of+the=session", "t0ken/of+the=session", "br0ker-passw0rd"
FLOWER_PASSWORD = "fl0wer-passw0rd"
HIDDEN = [quoted for text in (SECRET, TOKEN, PASSWORD) for quoted in (text, quote(text, safe=""))]


demo, demo_cloud = load_script("demo"), load_script("demo_cloud")  # the second one imports the first


@dataclass
class CloudFleet:
    """`tamis up` with a session's keys and a broker's password, between wire servers that check them."""

    root: Path
    odps: OdpsServer
    oss: OssServer
    environ: dict[str, str]
    sent: list[bytes] = field(default_factory=list, repr=False)  # every command that the broker received
    shown: list[str] = field(default_factory=list, repr=False)  # output of commands and pages

    def tamis(self, *arguments: str, status: int = 0, **environ: str) -> str:
        """Run a command and keep its output."""
        done = subprocess.run(
            demo.tamis(*arguments),
            env=self.environ | {"COLUMNS": "200"} | environ,
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=200,
            check=False,
        )
        self.shown.append(done.stdout)
        assert done.returncode == status, done.stdout + self.log("gpu0")[-3000:] + self.log("io", "text")[-3000:]
        return done.stdout

    def sift(self, tables: str, outputs: str, **options: Any) -> str:
        """Sift table ``tables`` into table ``outputs``."""
        urls = [f"odps://{demo_cloud.PROJECT}/{table}/{demo_cloud.PARTITION}" for table in (tables, outputs)]
        return self.tamis("sift", "--tables", urls[0], "--outputs", urls[1], **options)

    def log(self, *names: str) -> str:
        """Return the logs of these processes of the fleet."""
        paths = [self.root / "state" / "log" / f"{name}.log" for name in names]
        return "".join(path.read_text() for path in paths if path.exists())

    def results(self, table: str = "results") -> list[dict[str, Any]]:
        """Return the rows of a results table."""
        return self.odps.rows(table, demo_cloud.PARTITION)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudFleet]:
    """A running fleet whose processes log at DEBUG, as JSON or as text."""
    root = tmp_path_factory.mktemp("cloud")
    (root / "state").mkdir()
    demo.lay_out(root)
    with (
        OdpsServer(project=demo_cloud.PROJECT, access_id=KEY_ID, secret=SECRET, sts_token=TOKEN) as odps,
        OssServer(root / "oss", buckets=[demo.BUCKET], keys={KEY_ID: Key(SECRET, TOKEN)}) as oss,
        valkey_server() as broker,
    ):
        with closing(broker.client()) as client:
            client.config_set("requirepass", PASSWORD)
        demo_cloud.fill(odps, oss, root)
        made = CloudFleet(root, odps, oss, environ(demo_cloud.settings(odps, oss, root), broker.port))
        with (
            closing(redis.Redis(port=broker.port, password=PASSWORD, socket_timeout=None)) as client,
            watched(client, made.sent),
        ):
            yield from up(made)


def environ(settings: dict[str, str], port: int) -> dict[str, str]:
    return demo.environment(settings) | {
        "TAMIS_MANIFEST": "tiny",
        "TAMIS_ALIYUN_ACCESS_KEY_ID": KEY_ID,
        "TAMIS_ALIYUN_ACCESS_KEY_SECRET": SECRET,
        "TAMIS_ALIYUN_SECURITY_TOKEN": TOKEN,
        "TAMIS_BROKER_URL": f"redis://:{PASSWORD}@127.0.0.1:{port}/0",
        "TAMIS_NODE": "cloud",
        "TAMIS_LOG_FORMAT": "json",
        "TAMIS_LOG_LEVEL": "DEBUG",
        "TAMIS_RETRY_BACKOFF_MAX_SECONDS": "2",
    }


@contextmanager
def watched(client: redis.Redis, sent: list[bytes]) -> Iterator[None]:
    """Keep every command that the server receives during the block."""
    with client.monitor() as monitor:

        def listen() -> None:
            with suppress(redis.ConnectionError):  # the end of the block
                while True:
                    sent.append(monitor.connection.read_response(disable_decoding=True))

        listener = threading.Thread(target=listen)
        listener.start()
        try:
            yield
        finally:
            monitor.connection._sock.shutdown(socket.SHUT_RDWR)
            listener.join()


def up(fleet: CloudFleet) -> Iterator[CloudFleet]:
    """Run a node and one more worker, which logs text."""
    worker = ["worker", "--hostname=text@cloud", "--queues=io", "--pool=threads", "--concurrency=2"]
    commands = {"up": ["up"], "text": [*worker, "--loglevel=DEBUG", "--without-mingle"]}
    logs = fleet.root / "state" / "log"
    logs.mkdir()
    processes = []
    for name, command in commands.items():
        environ = fleet.environ | ({"TAMIS_LOG_FORMAT": "text"} if name == "text" else {})
        with (logs / f"{name}.log").open("w") as log:
            processes.append(
                subprocess.Popen(
                    demo.tamis(*command), env=environ, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
            )
    try:
        yield fleet
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(90)


@pytest.fixture(scope="module")
def sifted(fleet: CloudFleet) -> str:
    return fleet.sift("videos", "results")


@pytest.fixture(scope="module")
def local_verdicts(first_verdicts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """The local demo's rows by video: those of test_journey.py, or of another demo when these tests did not run."""
    if not first_verdicts:
        root = tmp_path_factory.mktemp("local")
        demo.lay_out(root)
        environ = demo.environment(demo.settings(root)) | {"TAMIS_MANIFEST": "tiny"}  # the cloud's rows and manifest
        tables = ("--tables", f"sqlite:///{root}/input.db#videos/ds=20250115")
        outputs = ("--outputs", f"sqlite:///{root}/output.db#results/ds=20250115")
        with demo.fleet(environ, root / "up.log") as process, process.stdout:
            wait_until((root / "state" / "broker.sock").exists, "`tamis up` serves its broker")
            command = demo.tamis("sift", *tables, *outputs)
            subprocess.run(command, env=environ, check=True, capture_output=True, timeout=240)
        with closing(sqlite3.connect(root / "output.db")) as db:
            db.row_factory = sqlite3.Row
            first_verdicts.update({row["video_id"]: dict(row) for row in db.execute("SELECT * FROM results")})
    return first_verdicts


def verdict(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result row without the fields that depend on run, table, directory or time."""
    info, result = (
        json.loads(text) if isinstance(text := row[name], str) else text for name in ("info", "result_info")
    )
    error = result.get("error")
    kept = {
        name: value for name, value in result.items() if name in {"succeed", "ordinal", "tier", "models", "untrained"}
    }
    return {"info": info, "error": error and [error["code"], error["stage"]], "url": row["video_oss_url"], **kept}


def test_the_verdicts_are_those_of_the_local_demo(
    fleet: CloudFleet, sifted: str, local_verdicts: Mapping[str, Any]
) -> None:
    assert "rows 15 = ok 11 + failed 4 + in flight 0" in sifted
    rows = fleet.results()
    assert len(rows) == 15
    found = {row["video_id"]: verdict(row) for row in rows}
    expected = {name: verdict(row) for name, row in local_verdicts.items()}
    assert difference(expected, found, 1e-4) is None  # scores depend on which clips shared a batch, so slightly


def test_a_second_sift_reports_the_complete_run_and_writes_nothing(fleet: CloudFleet, sifted: str) -> None:
    before = fleet.results()
    assert "is complete" in fleet.sift("videos", "results")
    assert fleet.results() == before


def test_a_prefix_of_the_store_is_sifted_without_a_table_and_a_second_call_judges_what_was_added(
    fleet: CloudFleet, tmp_path: Path
) -> None:
    write_clip(tmp_path / "clip.mp4", 25)
    clip = (tmp_path / "clip.mp4").read_bytes()
    fleet.oss.put(demo.BUCKET, "raw/one.mp4", clip)
    fleet.oss.put(demo.BUCKET, "raw/readme.txt", b"no video")
    fleet.oss.put(demo.BUCKET, "beside/other.mp4", clip)
    address = f"oss://{demo.BUCKET}/raw/"
    said = fleet.tamis("sift", address, "--no-gallery")
    assert "left out: 1 objects" in said
    assert "rows 1 = ok 1 + failed 0 + in flight 0" in said
    assert (fleet.root / f"{demo.BUCKET}-raw-tamis" / "results.db").exists()
    fleet.oss.put(demo.BUCKET, "raw/street/two.mp4", clip)
    said = fleet.tamis("sift", address, "--no-gallery")
    assert "street/two.mp4" in said
    assert "rows 2 = ok 2 + failed 0 + in flight 0" in said


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

QUOTING = f"<Error><Code>{{}}</Code><Message>no: {KEY_ID} {SECRET} {TOKEN}</Message><RequestId>1</RequestId></Error>"


def quoting(status: int, code: str) -> WireFault:
    """A refusal that quotes every key, as a proxy may do."""
    body = QUOTING.format(code).encode()
    return WireFault("status", status=status, body=body, headers={"x-oss-err": base64.b64encode(body).decode()})


@pytest.fixture(scope="module")
def failed(fleet: CloudFleet, sifted: str) -> str:
    """Output of `tamis sift` for a run in which every use of a key fails once."""
    fleet.odps.create_table("refused", demo_cloud.COLUMNS, partitions={"ds": "string"})
    rows = [dict(zip(demo_cloud.COLUMNS, demo.record(row), strict=False)) for row in demo.ROWS]
    chosen = [row for row in rows if row["video_id"] in {"phone-blurred", "really-text", "path-escape"}]
    fleet.odps.insert("refused", chosen, demo_cloud.PARTITION)
    fleet.oss.faults.add(Rule(quoting(403, "AccessDenied"), "notes.mp4"))
    fleet.oss.faults.add(Rule(quoting(403, "SignatureDoesNotMatch"), "carphone_bad.mp4", times=1))
    fleet.oss.faults.add(Rule(quoting(403, "SecurityTokenExpired"), "carphone_bad.mp4", times=1))
    fleet.odps.faults.add(Rule(quoting(401, "SignatureNotMatch"), "^POST .*uploads=", times=1))
    return fleet.sift("refused", "failed")


def test_failures_are_reported_without_the_keys_that_they_quote(fleet: CloudFleet, failed: str) -> None:
    rows = {row["video_id"]: json.loads(str(row["result_info"])) for row in fleet.results("failed")}
    assert rows["really-text"]["error"]["code"] == "forbidden_path"
    assert "AccessDenied" in rows["really-text"]["error"]["message"]
    assert rows["phone-blurred"]["succeed"] == "true"  # it was tried again
    assert fleet.oss.faults.injected() >= 3
    logged = fleet.log("io", "results", "text")
    assert "refuses these credentials" in logged
    assert "SignatureDoesNotMatch" in logged
    assert hidden_in(failed, logged, *map(str, rows.values())) == set()


def test_a_wrong_key_is_reported_in_one_line_that_does_not_show_it(fleet: CloudFleet) -> None:
    wrong = "wr0ng/but+secret="
    said = fleet.sift("videos", "results", status=2, TAMIS_ALIYUN_ACCESS_KEY_SECRET=wrong)
    assert "MaxCompute refuses these credentials" in said
    assert "Traceback" not in said
    examined = fleet.tamis("doctor", "--no-models", status=1, TAMIS_ALIYUN_SECURITY_TOKEN=wrong)
    assert "InvalidSecurityToken" in examined
    assert "wr0ng" not in said + examined


def hidden_in(*texts: str | bytes) -> set[str]:
    """Return the secrets that any of the texts contains, plain or encoded."""
    blob = b"\0".join(text.encode() if isinstance(text, str) else text for text in texts)
    return {secret for secret in HIDDEN if any(form in blob for form in (secret.encode(), *base64_of(secret)))}


def base64_of(secret: str) -> list[bytes]:
    """Return the forms of the secret inside a longer text in base64, such as a message body."""
    shifted = (base64.b64encode(b"\0" * shift + secret.encode()) for shift in range(3))
    return [text[4 * (shift > 0) : -4].rstrip(b"=") for shift, text in enumerate(shifted)]


def inspected(fleet: CloudFleet) -> list[str]:
    """Return the workers' answers to `tamis inspect stats`, `conf` and `report`."""
    app = Celery(broker=fleet.environ["TAMIS_BROKER_URL"], set_as_current=False)
    app.conf.broker_transport_options = redis_transport_options(10.0, "tamis:")
    questions: list[tuple[str, dict[str, object]]] = [("stats", {}), ("conf", {"with_defaults": True}), ("report", {})]
    try:
        return [
            repr(app.control.broadcast(question, arguments, reply=True, timeout=10.0, limit=4))
            for question, arguments in questions
        ]
    finally:
        app.close()


def flower_pages(fleet: CloudFleet) -> Iterator[str]:
    """Yield Flower's pages and its API's answers."""
    port = free_port()
    command = demo.tamis("flower", "--address=127.0.0.1", f"--port={port}")
    log = fleet.root / "flower.log"
    with log.open("w") as output:
        environ = fleet.environ | {"FLOWER_BASIC_AUTH": f"operator:{FLOWER_PASSWORD}"}
        flower = subprocess.Popen(command, env=environ, stdout=output, stderr=output)

    def page(path: str) -> str:
        asked = Request(f"http://127.0.0.1:{port}{path}")
        asked.add_header("Authorization", f"Basic {base64.b64encode(f'operator:{FLOWER_PASSWORD}'.encode()).decode()}")
        with suppress(OSError), urlopen(asked, timeout=10) as answer:
            return str(answer.read().decode())
        return ""

    try:
        wait_until(lambda: page("/healthcheck"), "flower answers", story=log.read_text)
        wait_until(
            lambda: "io@cloud" in page("/api/workers?refresh=1"), "flower knows the workers", story=log.read_text
        )
        yield from map(page, ("/api/workers", "/", "/workers", "/broker", "/tasks", "/worker/io@cloud", "/metrics"))
    finally:
        flower.terminate()
        flower.wait(30)


def test_no_file_row_message_answer_or_page_of_the_fleet_holds_a_secret(fleet: CloudFleet, failed: str) -> None:
    run_id = json.loads(fleet.results()[0]["result_info"])["run_id"]
    fleet.tamis("runs", run_id, "--export", str(fleet.root / "exported.jsonl"))
    answers, pages = inspected(fleet), list(flower_pages(fleet))
    assert all("io@cloud" in answer for answer in answers)
    assert all(pages)
    files = [path.read_bytes() for path in fleet.root.rglob("*") if path.is_file()]
    rows = [repr(fleet.results(table)) for table in ("results", "failed")]
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert b"write_shard" in b"".join(fleet.sent)  # the broker's commands were kept
    assert all(json.loads(line) for line in fleet.log("io").splitlines() if line.startswith("{"))
    assert fleet.log("gpu0").count('"level": "DEBUG"') > 10
    assert ": DEBUG/" in fleet.log("text")
    left = {"files": files, "rows": rows, "commands": fleet.sent, "command lines": commands}
    shown = {"answers": answers, "pages": pages, "output": fleet.shown}
    assert {kind: secrets for kind, texts in (left | shown).items() if (secrets := hidden_in(*texts))} == {}


def test_no_object_shows_its_secret_in_repr_or_str(fleet: CloudFleet) -> None:
    settings = Settings.from_env(fleet.environ)
    connection, tiers = odps_connection(settings), open_tiers(settings)
    groups = [getattr(settings, field.name) for field in fields(settings)]
    shown = [settings, *groups, aliyun_credentials(settings), connection, connection.journal, tiers]
    assert hidden_in(*map(repr, shown), *map(str, shown)) == set()
