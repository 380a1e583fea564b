"""The house style that a machine can hold: lengths, docstrings, frozen dataclasses."""

import ast
import statistics

from source_tree import hold, sources

CODE = ("sr_core", "flows", "serving", "benchmarks")
FILE_CAP, TEST_FILE_CAP, FUNCTION_CAP = 400, 600, 60
FILE_MEDIAN, FUNCTION_MEDIAN = 150, 12
MUTABLE = {"TrainState"}  # owned by the training loop


def test_names_of_test_files_are_unique():
    seen = {}
    for source in sources("tests"):
        name = source.path.rpartition("/")[2]
        first = seen.setdefault(name, source.path)
        # conftest.py is what pytest itself tells apart by its folder
        assert first == source.path or name == "conftest.py", f"{source.path}:1: pytest needs another name, see {first}"


def functions(source):
    return source.walk(ast.FunctionDef, ast.AsyncFunctionDef)


def length(node):
    return node.end_lineno - node.lineno + 1


def test_files_are_short():
    caps = [(source, FILE_CAP) for source in sources(*CODE)] + [(source, TEST_FILE_CAP) for source in sources("tests")]
    hold(
        f"a file has at most {FILE_CAP} lines, in tests {TEST_FILE_CAP}",
        [f"{source.path}:{cap}: has {len(source.lines)}" for source, cap in caps if len(source.lines) > cap],
    )
    median = statistics.median(len(source.lines) for source in sources("sr_core", "flows", "serving") if source.lines)
    assert median <= FILE_MEDIAN, f"the median file has {median} lines, expected {FILE_MEDIAN} at most"


def test_functions_are_short():
    hold(
        f"a function has at most {FUNCTION_CAP} lines",
        [
            f"{source.at(node)}: {node.name} has {length(node)}"
            for source in sources(*CODE, "tests")
            for node in functions(source)
            if length(node) > FUNCTION_CAP
        ],
    )
    median = statistics.median(length(node) for source in sources("sr_core") for node in functions(source))
    assert median <= FUNCTION_MEDIAN, f"the median function has {median} lines, expected {FUNCTION_MEDIAN} at most"


def public(body):
    """The public functions, classes and methods in `body`, without what is defined inside functions."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body)


def test_everything_public_in_the_core_has_a_docstring():
    missing = [
        f"{source.at(node)}: {getattr(node, 'name', 'the module')}"
        for source in sources("sr_core")
        for node in [source.tree, *public(source.tree.body)]
        if not ast.get_docstring(node)
    ]
    hold("every module, public class, function and method in sr_core has a docstring", missing)


def test_what_passes_between_rooms_is_frozen():
    violations = []
    for source in sources("sr_core", "flows", "serving"):
        for node in source.walk(ast.ClassDef):
            for decorator in node.decorator_list:
                name = ast.unparse(decorator).partition("(")[0]
                if name.rpartition(".")[2] != "dataclass" or node.name in MUTABLE:
                    continue
                given = {keyword.arg for keyword in getattr(decorator, "keywords", ())}
                if not {"frozen", "kw_only", "slots"} <= given:
                    violations.append(f"{source.at(node)}: {node.name}")
    hold("dataclasses are frozen=True, kw_only=True, slots=True", violations)
