"""The project's Python files as syntax trees, and how a broken rule is reported."""

import ast
import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOADERS = {"import_module", "__import__", "require"}  # calls whose first argument names a module


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One file: its path from the root, its text as lines, its tree."""

    path: str
    lines: tuple[str, ...]
    tree: ast.Module

    @property
    def module(self) -> str:
        """The dotted name it is imported by."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def at(self, node: ast.AST) -> str:
        """`file:line` of `node`."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}"

    def walk(self, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
        """Every node of these kinds."""
        return (node for node in ast.walk(self.tree) if isinstance(node, kinds))


@functools.cache
def sources(*folders: str) -> tuple[Source, ...]:
    """The Python files below `folders`, in order."""
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return tuple(parse(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in paths)


def parse(path: str, text: str) -> Source:
    """The source `text` as the file at `path`."""
    return Source(path=path, lines=tuple(text.splitlines()), tree=ast.parse(text, filename=path))


def imports(source: Source, *, only_top: bool = False) -> Iterator[tuple[str, ast.AST]]:
    """Each dotted name that `source` imports, wherever in the file: at the top, in a function, by name."""
    package = source.module if source.path.endswith("__init__.py") else source.module.rpartition(".")[0]
    for node in ast.iter_child_nodes(source.tree) if only_top else ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            origin = ".".join(part for part in (base, node.module) if part)
            yield from ((f"{origin}.{alias.name}", node) for alias in node.names)
        elif isinstance(node, ast.Call) and called(node).rpartition(".")[2] in LOADERS and node.args:
            name = getattr(node.args[0], "value", None)
            yield from [(name, node)] if isinstance(name, str) else []


def called(node: ast.Call) -> str:
    """The dotted name that is called, as it is written: `torch.load`; `?` stands for what is no name."""
    parts, target = [], node.func
    while isinstance(target, ast.Attribute):
        parts.append(target.attr)
        target = target.value
    parts.append(target.id if isinstance(target, ast.Name) else "?")
    return ".".join(reversed(parts))


def calls(source: Source) -> Iterator[tuple[str, ast.Call]]:
    """Every call with its name, where a name imported from a module is written in full: `load` as `torch.load`."""
    full = {}
    for node in source.walk(ast.ImportFrom, ast.Import):
        for alias in node.names:
            prefix = f"{node.module}." if isinstance(node, ast.ImportFrom) and node.module else ""
            if prefix or alias.asname:
                full[alias.asname or alias.name] = prefix + alias.name
    for node in source.walk(ast.Call):
        first, dot, rest = called(node).partition(".")
        yield full.get(first, first) + dot + rest, node


def hold(rule: str, violations: list[str]) -> None:
    """Fails with the rule and every place that breaks it."""
    assert not violations, "\n  ".join([rule, *violations])
