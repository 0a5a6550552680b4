"""The rules of docs/house.md: each is a function from a tree of files to the sentences that say
where it is broken. tests/test_house.py asks them all.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

MAY_IMPORT = {
    "files": set(),
    "streams": {"files"},
    "models": {"files"},
    "features": {"files", "streams"},
    "migrations": {"models"},
    "training": {"files", "streams", "features", "models"},
    "serving": {"files", "streams", "features", "models"},
    "rluf": {"files", "streams", "features", "models", "training", "serving", "migrations"},
    "benchmarks": {"files", "streams", "features", "models", "training", "serving", "rluf"},
    "simulator": set(),
}
"""Other rooms that a room may import, late imports and those for types alone included."""
HOUSE = tuple(room for room in MAY_IMPORT if room not in ("simulator", "benchmarks"))

HOMES = {
    "faust": ("streams/",),
    "opentelemetry": ("streams/",),
    "mode": ("streams/",),
    "kafka": ("streams/",),
    "aiokafka": ("streams/",),
    "feast": ("features/",),
    "trl": ("training/",),
    "fastapi": ("serving/",),
    "starlette": ("serving/",),
    "sqlalchemy": ("models/", "migrations/", "features/offline/sql.py"),
    "alembic": ("models/", "migrations/"),
    "pydantic_settings": ("rluf/",),
}
"""Where an engine may be imported within the house; benchmarks measure peers and may use all."""
NO_TORCH = {"files", "streams", "features"}
TORCH = {"torch", "transformers", "trl", "accelerate"}
OF_SIMULATOR = {*sys.stdlib_module_names, "httpx", "numpy", "simulator"}
HEAVY = {"torch", "transformers", "trl", "feast", "faust", "sklearn", "matplotlib"}
"""What `rluf --help` must not wait for."""

READS_ENVIRONMENT = ("rluf/", "features/lean.py", "migrations/env.py")
"""The roof; the file that takes back the variables that importing Feast sets; and the one that
Alembic runs where it is started by itself, which is a roof of its own."""
MAY_PRINT = ("rluf/cli.py", "rluf/console.py", "benchmarks/", "simulator/__main__.py")
"""The command lines; rluf/console.py is how rluf/cli.py prints."""
OUTERMOST = ("rluf/cli.py", "rluf/__main__.py", "streams/worker.py")
"""Files with a process's outermost loop: it logs any fault and exits non-zero."""
TABLES = ("training/objectives/", "training/algorithms/", "features/offline/")
RUNS_AT_IMPORT = ("migrations/env.py", "rluf/__main__.py", "rluf/cli")
"""The first two are run and never imported; the others build the tree of verbs."""
TOKENISES = ("models/tokens.py", "models/spelling.py")
TOKENIZER_CALLS = ("apply_chat_template", "batch_decode", "batch_encode_plus", "encode_plus")
BAD_NAMES = ("utils", "helpers", "helper", "manager", "common", "core", "misc")
LINES_MAX = 400
LONGER_MAX = 500
LONGER = {
    "benchmarks/gates.py",
    "benchmarks/plove.py",
    "features/offline/parquet.py",
    "rluf/turn/refresh.py",
    "serving/batcher.py",
    "serving/feedback.py",
    "serving/schemas.py",
    "streams/codec.py",
    "streams/transport.py",
    "training/evidence/online.py",
    "training/fit_reward.py",
    "training/reward_metrics.py",
}
"""Files that may have LONGER_MAX lines, as tests may: each is to be divided, and none may join."""
METAPHORS = {"clerk", "desk", "doorway", "room", "watch"}
"""Words that once stood where the field has a term: a handler, a context, a middleware."""
LOOSE = ("dict[str, Any]", "Mapping[str, Any]")
JSON_BORDERS = {
    "features/feast_repo.py",  # Feast's
    "features/snapshot.py",  # its manifest
    "files/lines.py",
    "models/pooled.py",  # keyword arguments of transformers
    "models/published.py",  # transformers' files
    "rluf/console.py",
    "rluf/demo/findings.py",
    "rluf/demo/report.py",
    "rluf/demo/run.py",
    "rluf/demo/seeds.py",  # the demo's report.json
    "rluf/guard.py",
    "rluf/options.py",
    "rluf/replay.py",
    "rluf/settings.py",
    "rluf/turn/drift.py",
    "rluf/turn/fit_signal.py",
    "rluf/turn/inputs.py",
    "rluf/turn/jobs.py",
    "rluf/turn/refresh.py",
    "rluf/turn/report.py",
    "rluf/turn/steps.py",
    "rluf/wiring.py",
    "serving/openapi_schemas.py",
    "serving/responses.py",  # OpenAI's fields of any form
    "serving/schemas.py",
    "streams/codec.py",
    "streams/kafka/security.py",  # keyword arguments of two libraries
    "streams/messages.py",
    "streams/schema.py",
    "streams/wire.py",
    "training/algorithms/crpg.py",  # TRL's
    "training/pairs.py",
}
"""Files that read or write JSON, or call a library that takes anything; none may join without a
reason beside it."""
TWICE = {
    "Unavailable",  # Of the log, and of the registry below it: neither room imports the other.
    "Turn",  # Of a conversation on the wire, and in the API's document: both are published names.
    "Asked",
    "Draw",
    "Progress",
    "Run",
    "Scorer",
    "Step",
}
"""Names of classes that two files of the house define; no other name may join them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file of the house."""

    path: str
    """Relative to the root, with slashes."""
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        return self.path.split("/")[0]

    @property
    def module(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def is_in(self, places: tuple[str, ...]) -> bool:
        return self.path.startswith(places)


@cache
def sources(root: Path) -> tuple[Source, ...]:
    """All files of the rooms under a root."""
    paths = sorted(path for room in MAY_IMPORT for path in (root / room).rglob("*.py"))
    texts = [(path, path.read_text(encoding="utf-8")) for path in paths]
    return tuple(
        Source(path=path.relative_to(root).as_posix(), text=text, tree=ast.parse(text))
        for path, text in texts
    )


def imports_of(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every imported name in full (`a.b.c` for `from a.b import c`), with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def run_at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module that run when it is imported, functions' bodies not."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or is_for_types(node):
            continue
        if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test):
            continue
        yield node
        for name in ("body", "orelse", "finalbody"):
            yield from run_at_import(getattr(node, name, []))


def early_imports(source: Source) -> Iterator[str]:
    """The names that a module imports when it is imported itself."""
    for node in run_at_import(source.tree.body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (name for name, _ in imports_of(node))


def module_graph(root: Path) -> dict[str, set[str]]:
    """Each module with the modules of the house that it imports at once."""
    known = {source.module for source in sources(root)}
    graph: dict[str, set[str]] = {}
    for source in sources(root):
        targets = set()
        for name in early_imports(source):
            owner = name if name in known else name.rpartition(".")[0]
            if owner in known and owner != source.module:
                targets.add(owner)
        graph[source.module] = targets
    return graph


def rooms_import_downwards(root: Path) -> Iterator[str]:
    for source in sources(root):
        for name, line in imports_of(source.tree):
            other = name.split(".")[0]
            if other in MAY_IMPORT and other not in {*MAY_IMPORT[source.room], source.room}:
                yield f"{source.path}:{line}: {source.room} may not import {other}"


def no_circles(root: Path) -> Iterator[str]:
    try:
        TopologicalSorter(module_graph(root)).prepare()
    except CycleError as circle:
        yield "modules import each other: " + " -> ".join(circle.args[1])


def evidence_stands_alone(root: Path) -> Iterator[str]:
    for source in sources(root):
        if not source.is_in(("training/evidence/",)):
            continue
        for name, line in imports_of(source.tree):
            if name.startswith("training") and not name.startswith("training.evidence"):
                yield f"{source.path}:{line}: evidence imports {name}"


def engines_stay_at_home(root: Path) -> Iterator[str]:
    for source in sources(root):
        for name, line in imports_of(source.tree):
            homes = HOMES.get(name.split(".")[0])
            if homes and source.room in HOUSE and not source.is_in(homes):
                yield f"{source.path}:{line}: {name} belongs in {' or '.join(homes)}"


def ground_has_no_torch(root: Path) -> Iterator[str]:
    for source in sources(root):
        for name, line in imports_of(source.tree):
            if source.room in NO_TORCH and name.split(".")[0] in TORCH:
                yield f"{source.path}:{line}: {source.room} imports {name}"


def simulator_stands_alone(root: Path) -> Iterator[str]:
    for source in sources(root):
        for name, line in imports_of(source.tree):
            if source.room == "simulator" and name.split(".")[0] not in OF_SIMULATOR:
                yield f"{source.path}:{line}: the simulator imports {name}"


def only_the_roof_reads_the_environment(root: Path) -> Iterator[str]:
    names = {"environ", "environb", "getenv", "getenvb"}
    for source in sources(root):
        if source.is_in(READS_ENVIRONMENT):
            continue
        for node in ast.walk(source.tree):
            is_read = isinstance(node, ast.Attribute) and node.attr in names
            if isinstance(node, ast.ImportFrom) and node.module == "os":
                is_read = any(alias.name in names for alias in node.names)
            if is_read:
                yield f"{source.path}:{node.lineno}: reads the environment"


def files_are_short(root: Path) -> Iterator[str]:
    others = [*(root / "tests").rglob("*.py"), *(root / "scripts").rglob("*.py")]
    for path in [*(root / source.path for source in sources(root)), *others]:
        num_lines = len(path.read_text(encoding="utf-8").splitlines())
        name = path.relative_to(root).as_posix()
        allowed = LONGER_MAX if name in LONGER or name.startswith("tests/") else LINES_MAX
        if num_lines > allowed:
            yield f"{name} has {num_lines} lines, allowed are {allowed}"


def loose_json_stays_at_the_borders(root: Path) -> Iterator[str]:
    """A dict of anything has no names that a reader or mypy could look up."""
    for source in sources(root):
        if source.room not in HOUSE or source.path in JSON_BORDERS:
            continue
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Subscript) and ast.unparse(node) in LOOSE:
                yield f"{source.path}:{node.lineno}: {ast.unparse(node)} away from the borders"


def classes_of(source: Source) -> Iterator[ast.ClassDef]:
    """The public classes of a file."""
    for node in source.tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node


def a_name_means_one_class(root: Path) -> Iterator[str]:
    seen: dict[str, str] = {}
    for source in sources(root):
        for node in classes_of(source) if source.room in HOUSE else ():
            first = seen.setdefault(node.name, source.path)
            if first != source.path and node.name not in TWICE:
                yield f"{source.path}:{node.lineno}: {node.name} is a class of {first} already"


def words_of(name: str) -> set[str]:
    """The words of an identifier, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def names_are_the_fields_terms(root: Path) -> Iterator[str]:
    for source in sources(root):
        named = [(source.module.rpartition(".")[2], 1)]
        named += [(node.name, node.lineno) for node in classes_of(source)]
        for name, line in named if source.room in HOUSE else ():
            for word in sorted(words_of(name) & METAPHORS):
                yield f"{source.path}:{line}: {name} says {word}, which is a metaphor"


def faults_are_caught_narrowly(root: Path) -> Iterator[str]:
    for source in sources(root):
        if source.is_in(OUTERMOST):
            continue
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.ExceptHandler):
                continue
            caught = "BaseException" if node.type is None else ast.unparse(node.type)
            is_broad = any(
                word in ("Exception", "BaseException")
                for word in caught.replace("(", " ").replace(")", " ").replace(",", " ").split()
            )
            last = node.body[-1]
            raises_again = isinstance(last, ast.Raise) and last.exc is None
            if is_broad and not raises_again:
                yield f"{source.path}:{node.lineno}: except {caught} outside an outermost loop"


def only_the_command_line_prints(root: Path) -> Iterator[str]:
    for source in sources(root):
        for node in ast.walk(source.tree):
            is_print = isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
            if is_print and not source.is_in(MAY_PRINT):
                yield f"{source.path}:{node.lineno}: prints"


def imports_are_absolute_and_named(root: Path) -> Iterator[str]:
    for source in sources(root):
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ImportFrom):
                if node.level:
                    yield f"{source.path}:{node.lineno}: relative import"
                if any(alias.name == "*" for alias in node.names):
                    yield f"{source.path}:{node.lineno}: imports *"


def packages_are_empty_but_the_tables(root: Path) -> Iterator[str]:
    for source in sources(root):
        body = [node for node in source.tree.body if not is_text(node)]
        if source.path.endswith("__init__.py") and body and not source.is_in(TABLES):
            yield f"{source.path}: not empty"


def nothing_works_at_import(root: Path) -> Iterator[str]:
    for source in sources(root):
        if source.is_in(RUNS_AT_IMPORT):
            continue
        for node in run_at_import(source.tree.body):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                yield f"{source.path}:{node.lineno}: {ast.unparse(node)[:60]} runs at import"


def is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def texts_are_tokenised_in_one_place(root: Path) -> Iterator[str]:
    """Elsewhere what a user wrote would become control tokens (models/tokens.py)."""
    for source in sources(root):
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.Call) or source.is_in(TOKENISES):
                continue
            called = ast.unparse(node.func)
            owner, _, verb = called.rpartition(".")
            is_tokenizer = verb.endswith(("tokenizer", "processing_class"))
            is_method = verb in TOKENIZER_CALLS or (
                verb in ("encode", "decode") and owner.endswith("tokenizer")
            )
            if (is_tokenizer and not verb.startswith("train_")) or is_method:
                yield f"{source.path}:{node.lineno}: {called} outside {' and '.join(TOKENISES)}"


def files_are_named_for_what_they_hold(root: Path) -> Iterator[str]:
    for source in sources(root):
        if any(part in BAD_NAMES for part in source.module.split(".")):
            yield f"{source.path}: a name that says nothing"


def nothing_is_left_undone(root: Path) -> Iterator[str]:
    for source in sources(root):
        for number, line in enumerate(source.text.splitlines(), 1):
            if "TODO" in line or "FIXME" in line or "NotImplementedError" in line:
                yield f"{source.path}:{number}: left undone"


def help_does_not_wait_for_engines(root: Path) -> Iterator[str]:
    graph = module_graph(root)
    by_module = {source.module: source for source in sources(root)}
    seen, next_ones = set(), ["rluf.__main__", "rluf.cli"]
    while next_ones:
        module = next_ones.pop()
        if module in seen or module not in by_module:
            continue
        seen.add(module)
        parents = {module.rpartition(".")[0]} - {""}
        next_ones.extend(graph[module] | parents)
        for name in early_imports(by_module[module]):
            if name.split(".")[0] in HEAVY:
                yield f"{by_module[module].path}: imports {name} at once, and rluf.cli waits for it"


def annotations_hold_no_class_of_duckdb(root: Path) -> Iterator[str]:
    """A function that outlives its module (in a table of pydantic, in a callback) would hold the
    class; DuckDB's binding then prints a hundred lines about leaks when the process ends."""
    for source in sources(root):
        if "duckdb.DuckDBPy" in source.text and "import annotations" not in source.text:
            yield f"{source.path}: lacks `from __future__ import annotations`"
