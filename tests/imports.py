"""The import graph of tamis, read from the source: late imports, lazy ones and those for type checkers included."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("tasks", "inference", "storage", "beat")


def source_files(package: str) -> list[Path]:
    """Every Python file of a top-level package, sorted."""
    return sorted((ROOT / package).rglob("*.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    """The file's syntax tree, parsed once for all tests."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """Every node of the file's syntax tree."""
    return tuple(ast.walk(tree_of(path)))


@cache
def statements_of(path: Path) -> tuple[ast.stmt, ...]:
    """Every statement of the file, those within others too: nine times as quickly found as all nodes."""
    found: list[ast.stmt] = []
    waiting: list[ast.AST] = [tree_of(path)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.stmt):
            found.append(node)
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, field, [])
            waiting += inner if isinstance(inner, list) else []  # an expression has one node as its body
    return tuple(found)


def module_name(path: Path) -> str:
    """``tasks/node/__init__.py`` is ``tasks.node.__init__``: a package's own file is a module like any other."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Yield every imported module of the file with its line; ``from a import b`` yields ``a.b`` too."""
    for node in statements_of(path):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module, node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def file_graph(paths: Iterable[Path]) -> dict[str, set[str]]:
    """Each of our modules and those of ours that it imports; a package stands for its ``__init__`` file."""
    files = {module_name(path): path for path in paths}
    return {name: set(_targets(path, files)) - {name} for name, path in files.items()}


def _targets(path: Path, files: Mapping[str, Path]) -> Iterator[str]:
    def module(name: str) -> list[str]:
        return [found for found in (name, f"{name}.__init__") if found in files]

    for node in statements_of(path):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from module(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:  # `from tasks.node import embedded`: the submodule, no name of the package
                yield from module(f"{node.module}.{alias.name}") or module(node.module)


def taken_names(path: Path) -> Iterator[tuple[str, str]]:
    """Yield module and name of every ``from module import name`` of the file."""
    for node in statements_of(path):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from ((node.module, alias.name) for alias in node.names)


def bound_names(path: Path) -> set[str]:
    """The names that a file binds at its top level, also under an ``if`` or a ``try`` there."""
    found: set[str] = set()
    waiting: list[ast.stmt] = list(tree_of(path).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        else:
            found |= {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
            waiting += [child for child in ast.walk(node) if child is not node and isinstance(child, ast.stmt)]
    return found


def folder_graphs(graph: Mapping[str, set[str]]) -> dict[str, dict[str, set[str]]]:
    """For each folder, the imports between what lies directly in it: files, and folders taken as a whole."""
    folders: dict[str, dict[str, set[str]]] = {}
    for name, targets in graph.items():
        for target in targets:
            ours, theirs = name.split("."), target.split(".")
            shared = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
            if shared is not None:
                room = folders.setdefault(".".join(ours[:shared]) or "the top level", {})
                room.setdefault(ours[shared], set()).add(theirs[shared])
    return folders


def cycle(graph: Mapping[str, set[str]]) -> list[str]:
    """One circle of the graph as the list of its members, or an empty list."""
    finished: set[str] = set()

    def visit(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in finished:
            return []
        for target in sorted(graph.get(node, ())):
            if found := visit(target, [*path, node]):
                return found
        finished.add(node)
        return []

    return next((found for node in sorted(graph) if (found := visit(node, []))), [])
