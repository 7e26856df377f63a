"""The architecture is a test: who may import whom, who reads the environment, which processes load torch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.imports import (
    PACKAGES,
    ROOT,
    bound_names,
    cycle,
    file_graph,
    folder_graphs,
    imports,
    module_name,
    nodes_of,
    source_files,
    taken_names,
    tree_of,
)

TOP_LEVEL = {"tasks", "inference", "storage", "beat", "deploy", "tests", "docs", "bench"}

# What a package must never import: the arrows of the picture in README.md, read backwards.
FORBIDDEN = {
    "storage": {"celery", "kombu", "torch", "transformers", "ultralytics", "inference", "tasks", "beat"},
    "inference": {"celery", "kombu", "storage", "tasks", "beat", "redis", "oss2", "odps"},
    "beat": {"torch", "transformers", "ultralytics", "inference", "storage"},
    "tasks": {"torch", "transformers", "ultralytics", "decord", "oss2", "odps"},
}
ONLY_IMPORTER = {"ultralytics": "inference/models/detector.py", "decord": "inference/decode/decoders/decord.py"}


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_follow_the_arrows(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in source_files(package)
        for name, line in imports(path)
        if name.split(".")[0] in FORBIDDEN[package]
    ]
    assert not wrong


def test_beat_knows_of_tasks_only_the_names() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in source_files("beat")
        for name, line in imports(path)
        if name.split(".")[0] == "tasks" and not name.startswith("tasks.queues")
    ]
    assert not wrong


def test_every_name_that_a_test_or_bench_takes_from_another_is_there() -> None:
    """mypy does not read these folders: a name that was moved would be missed only when the whole suite collects."""
    files = {module_name(path): path for folder in ("tests", "bench") for path in source_files(folder)}
    modules = set(files) | {name.removesuffix(".__init__") for name in files}
    bound = {name.removesuffix(".__init__"): bound_names(path) for name, path in files.items()}
    missing = [
        f"{path.relative_to(ROOT)} takes {name} from {module}"
        for path in files.values()
        for module, name in taken_names(path)
        if module.split(".")[0] in {"tests", "bench"}
        and f"{module}.{name}" not in modules
        and name not in bound.get(module, set())
    ]
    assert not missing


@pytest.mark.parametrize(("library", "adapter"), ONLY_IMPORTER.items())
def test_a_library_behind_an_adapter_is_imported_there_alone(library: str, adapter: str) -> None:
    importers = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in source_files(package)
        for name, _ in imports(path)
        if name.split(".")[0] == library
    }
    assert importers == {adapter}


def readme_arrows() -> dict[str, tuple[set[str], set[str]]]:
    """The README's picture of the imports: for each package what it may import, and what it never does."""
    lines = re.findall(r"^(\w+) +─► +(.+)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    arrows = {}
    for package, text in lines:
        allowed, _, never = text.partition("never ")
        arrows[package] = (set(re.findall(r"\w+", allowed)), set(re.findall(r"\w+", never)) - {"or"})
    return arrows


@pytest.mark.parametrize("package", [*PACKAGES, "celeryconfig"])
def test_the_arrows_of_the_readme_are_those_of_the_code(package: str) -> None:
    files = [ROOT / "celeryconfig.py"] if package == "celeryconfig" else source_files(package)
    code = {name.split(".")[0] for path in files for name, _ in imports(path)} - {package}
    drawn, never = readme_arrows()[package]
    assert drawn & set(PACKAGES) == code & set(PACKAGES)
    assert drawn <= code, "the README draws an arrow that no file has"
    assert not never & code, "the README says never"


OURS = [path for package in PACKAGES for path in source_files(package)]


def test_no_file_imports_itself_by_way_of_others() -> None:
    assert cycle(file_graph(OURS)) == []


def test_no_folder_imports_itself_by_way_of_its_neighbours() -> None:
    circles = {folder: cycle(graph) for folder, graph in folder_graphs(file_graph(OURS)).items()}
    assert {folder: found for folder, found in circles.items() if found} == {}


def test_a_circle_is_found_where_there_is_one() -> None:
    graph = {"a.x": {"b.y"}, "b.z": {"a.w"}, "a.w": set(), "b.y": {"b.z"}}
    assert cycle(graph) == []
    assert cycle(folder_graphs(graph)["the top level"]) == ["a", "b", "a"]


def test_no_two_public_classes_have_one_name() -> None:
    places = defaultdict(list)
    for path in OURS:
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


QUESTION = re.compile(r"(What|Whether|How|Where|Who|Whose|Which|When|Why|That|Whoever|Whatever)\b")


def test_every_module_docstring_starts_with_the_thing_or_a_verb() -> None:
    opened = {str(path.relative_to(ROOT)): ast.get_docstring(tree_of(path)) for path in OURS}
    assert {path: text for path, text in opened.items() if text and QUESTION.match(text)} == {}


def reads_environment(path: Path) -> Iterator[int]:
    """Yield the lines that *read* ``os.environ`` or call ``os.getenv``; setting one is no reading."""
    nodes = nodes_of(path)
    written = {id(node.value) for node in nodes if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)}
    for node in nodes:
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"}:
            is_setdefault = any(
                isinstance(parent, ast.Attribute) and parent.value is node and parent.attr in {"setdefault", "update"}
                for parent in nodes
            )
            if id(node) not in written and not is_setdefault:
                yield node.lineno
        elif (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and {alias.name for alias in node.names} & {"environ", "environb", "getenv"}
        ):
            yield node.lineno


def test_only_the_settings_read_the_environment() -> None:
    readers = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in [*(path for package in PACKAGES for path in source_files(package)), ROOT / "celeryconfig.py"]
        if path != ROOT / "tasks" / "settings" / "environment.py"
        for line in reads_environment(path)
    }
    assert not readers


def test_the_top_level_holds_no_other_package() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    folders = {name.split("/")[0] for name in tracked if "/" in name and not name.startswith(".")}
    assert folders <= TOP_LEVEL


# ── which processes load torch ───────────────────────────────────────────────────────────────────────────────────────

START_OF = {
    # what each process imports before its first task
    "worker for io, results or control": "from tasks.celery import app; app.loader.import_default_modules()",
    "beat": "from tasks.celery import app; app.conf.beat_schedule; import celery.apps.beat",
    "flower": "from tasks.celery import app; app.conf; import flower.command",
    "command line": (
        "from tasks.cli import doctor, retry, runs, sift, up\n"
        "from tasks.cli.profiling import profile\n"
        "from tasks.cli.videos import annotate\n"
    ),
    "io runtime": (
        "import tasks, tasks.resources.runtime as r, tasks.settings as s, pathlib, tempfile\n"
        "d = pathlib.Path(tempfile.mkdtemp())\n"
        "settings = s.Settings.of(state_dir=d, spool_dir=d / 'spool', object_root=d)\n"
        "r.open_runtime(settings, ['io', 'results', 'control']).close()"
    ),
    "decoder child": "import inference.decode.processes.child",
}


@pytest.mark.parametrize("process", START_OF)
def test_torch_is_loaded_only_where_videos_are_judged(process: str) -> None:
    heavy = "{'torch', 'transformers', 'ultralytics'}"
    program = f"{START_OF[process]}\nimport sys\nprint(sorted({heavy} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == "[]"


# ── names that travel ────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_scheduled_and_routed_task_name_is_a_registered_task() -> None:
    program = (
        "from tasks.celery import app\n"
        "from tasks.queues import TaskName, QUEUE_OF, route\n"
        "from beat.schedule import SCHEDULE\n"
        "app.loader.import_default_modules()\n"
        "ours = {name for name in app.tasks if name.startswith('tasks.')}\n"
        "assert ours == {name.value for name in TaskName}, ours ^ {name.value for name in TaskName}\n"
        "assert set(QUEUE_OF) == set(TaskName)\n"
        "assert {entry['task'] for entry in SCHEDULE.values()} <= ours\n"
        "assert all(route(name, [], {}, {})['queue'] for name in ours)\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_every_command_of_the_package_metadata_can_be_loaded() -> None:
    from importlib.metadata import entry_points

    ours = [entry for entry in entry_points(group="celery.commands") if entry.value.startswith("tasks.")]
    assert {entry.name for entry in ours} >= {"up", "sift", "runs", "retry", "compact", "doctor"}
    for entry in ours:
        assert entry.load().name == entry.name
