"""The shape of the program, read from its imports: who may know whom.

bottom <- siblings <- cycle <- top; siblings never know each other; the control
process never loads pandas, scipy or cvxpy; nobody but ``ems.clock`` asks the time.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BOTTOM = {"units", "clock", "site", "model", "yamlfile", "yamltext", "yamlscalar"}
SIBLINGS = {
    "config", "dispatch", "drivers", "health", "journal", "safety", "telemetry", "traceability",
}  # fmt: skip
SAFETY_MAY_IMPORT = {"ems.model", "ems.site", "ems.units", "ems.safety", "numpy"}
HEAVY = {"pandas", "scipy", "cvxpy", "sklearn", "matplotlib"}
PLANNER_SIDE = {
    f"ems.dispatch.{name}"
    for name in (
        *("bound", "forecast", "inputs", "optimiser", "planner", "planner_process"),
        *("summary", "target"),
    )
}
"""Run in the planner process or in a replay, never in the control process."""
LABORATORY = ("ems.health.goodsin", "ems.health.grading", "ems.health.record")
"""Run on a bench, from ``ems health``; nothing else of the program loads them."""
ENTRY_POINTS = {"ems.dispatch.planner_process"}
"""Started as processes of their own: like the command line they join parts."""
CONTROL_SIDE = ("ems.cycle", "ems.daemon", "ems.service", "ems.config", "ems.cli")
READS_FILES = {"pydantic", "pydantic_core", "yaml", "ruamel", "typer", "rich"}
"""What reads a site's files and talks to people; `ems run` leaves it behind."""
MAX_LINES = 400
LONGER = {"ems/model.py": 550}
"""The chain of one cycle belongs on one page; it is declarations only."""
MAY_ASK_THE_DATE = {
    "ems/clock.py": "this is where time comes from",
    "ems/cli.py": "ems check judges for today",
}
WALL_CLOCK = {
    ("time", "time"), ("time", "time_ns"), ("time", "localtime"), ("time", "gmtime"),
    ("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today"),
}  # fmt: skip


def sources(*packages: str) -> list[Path]:
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def imports(path: Path, *, lazy: bool = True) -> Iterator[tuple[str, int]]:
    """Imported modules with their line; relative ones resolved, submodules named in full.

    ``lazy=False`` leaves out imports inside functions.
    """

    def walk(node: ast.AST) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, child.lineno) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                yield from imported_from(child)
            elif lazy or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from walk(child)

    def imported_from(node: ast.ImportFrom) -> Iterator[tuple[str, int]]:
        base = node.module or ""
        if node.level:
            package = module_of(path).split(".")
            package = package if path.name == "__init__.py" else package[:-1]
            package = package[: len(package) - node.level + 1]
            base = ".".join([*package, base] if base else package)
        for alias in node.names:
            name = f"{base}.{alias.name}"
            file = ROOT / Path(*name.split("."))
            known = file.is_dir() or file.with_suffix(".py").is_file()
            yield (name if known else base), node.lineno

    yield from walk(ast.parse(path.read_text(encoding="utf-8"), str(path)))


def layer(module: str) -> str:
    """``bottom``, the sibling's name, ``cycle`` or ``top`` for a module of ems."""
    part = module.split(".")[1] if "." in module else ""
    if module in ENTRY_POINTS:
        return "top"
    if part in BOTTOM or not part:
        return "bottom"
    if part in SIBLINGS:
        return part
    return "cycle" if part == "cycle" else "top"


def allowed(importer: str, imported: str) -> bool:
    mine, theirs = layer(importer), layer(imported)
    if theirs == "bottom" or mine == "top":
        return True
    if mine == "bottom":
        return False
    return mine == theirs or (mine == "cycle" and theirs in SIBLINGS)


def violations(rule, *packages: str) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line}: {module_of(path)} imports {name}"
        for path in sources(*packages)
        for name, line in imports(path)
        if rule(module_of(path), name)
    ]


def test_imports_point_one_way():
    def wrong(importer: str, imported: str) -> bool:
        return imported.split(".")[0] == "ems" and not allowed(importer, imported)

    assert violations(wrong, "ems") == []


@pytest.mark.parametrize(
    ("importer", "imported", "fine"),
    [
        ("ems.health.soc", "ems.model", True),
        ("ems.health.soc", "ems.health.ocv", True),
        ("ems.health.soc", "ems.safety.table", False),
        ("ems.health.soc", "ems.cycle", False),
        ("ems.model", "ems.units", True),
        ("ems.model", "ems.health", False),
        ("ems.cycle", "ems.safety", True),
        ("ems.cycle", "ems.daemon", False),
        ("ems.daemon", "ems.cycle", True),
        ("ems.check", "ems.safety.table", True),
        ("ems.drivers.field", "ems.daemon", False),
    ],
)
def test_the_rule_itself_tells_right_from_wrong(importer, imported, fine):
    assert allowed(importer, imported) is fine


def test_safety_knows_only_the_model_the_site_units_and_numpy():
    stdlib_io = {"asyncio", "socket", "subprocess", "threading", "os", "time", "logging", "random"}

    def wrong(importer: str, imported: str) -> bool:
        if not importer.startswith("ems.safety"):
            return False
        top = imported.split(".")[0]
        if top in sys.stdlib_module_names:
            return top in stdlib_io
        own = ".".join(imported.split(".")[:2]) if top == "ems" else top
        return own not in SAFETY_MAY_IMPORT

    assert violations(wrong, "ems") == []


def test_heavy_libraries_only_on_the_planners_side():
    def wrong(importer: str, imported: str) -> bool:
        allowed = importer in PLANNER_SIDE or importer.startswith(LABORATORY)
        return imported.split(".")[0] in HEAVY and not allowed

    assert violations(wrong, "ems") == []


def test_only_the_bench_loads_the_laboratory():
    def wrong(importer: str, imported: str) -> bool:
        bench = (*LABORATORY, "ems.commands.health")
        return imported.startswith(LABORATORY) and not importer.startswith(bench)

    assert violations(wrong, "ems") == []


def test_only_the_command_line_loads_the_simulator_and_only_when_asked():
    def wrong(importer: str, imported: str) -> bool:
        return imported.split(".")[0] == "sim" and importer != "ems.cli"

    assert violations(wrong, "ems") == []
    at_once = {name.split(".")[0] for name, _ in imports(ROOT / "ems/cli.py", lazy=False)}
    assert "sim" not in at_once


def test_no_relative_imports_climb_out_of_a_package():
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources("ems", "sim")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level > 1
    ]
    assert found == []


def wall_clock_calls(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = node.func.value
        name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
        if (name, node.func.attr) in WALL_CLOCK:
            yield node.lineno


def test_nobody_but_the_clock_asks_what_time_it_is():
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sources("ems", "sim")
        if str(path.relative_to(ROOT)) not in MAY_ASK_THE_DATE
        for line in wall_clock_calls(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("time.time()", 1),
        ("datetime.datetime.now(UTC)", 1),
        ("datetime.now(tz)", 1),
        ("date.today()", 1),
        ("clock.now_utc()", 0),
        ("time.monotonic()", 0),
        ("at.time()", 0),
    ],
)
def test_wall_clock_calls_are_recognised(code, found):
    assert len(list(wall_clock_calls(ast.parse(code)))) == found


def test_pure_packages_do_not_even_measure_time():
    def wrong(importer: str, imported: str) -> bool:
        return importer.startswith(("ems.safety", "ems.health", "ems.cycle")) and imported in {
            "time",
            "ems.clock",
        }

    assert violations(wrong, "ems") == []


def test_files_stay_short_enough_to_read():
    found = {
        str(path.relative_to(ROOT)): lines
        for path in sources("ems", "sim", "tests")
        if (lines := len(path.read_text(encoding="utf-8").splitlines()))
        > LONGER.get(str(path.relative_to(ROOT)), MAX_LINES)
    }
    assert found == {}


def loaded_by(*modules: str) -> set[str]:
    """Modules a fresh interpreter holds after importing these."""
    code = f"import sys, {', '.join(modules)}\nprint(*sys.modules)\n"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


@pytest.mark.parametrize("module", CONTROL_SIDE)
def test_the_control_process_loads_no_heavy_library(module):
    loaded = {name.split(".")[0] for name in loaded_by(module)}
    assert sorted(loaded & (HEAVY | {"sim"})) == []


def test_the_control_process_in_service_reads_no_files_itself():
    """10 MB that a site's controller does not have to spare; both transports are loaded."""
    loaded = loaded_by("ems.service", "ems.drivers.opcua")
    assert sorted({name.split(".")[0] for name in loaded} & READS_FILES) == []
    assert sorted(name for name in loaded if name.startswith(("ems.config", "ems.yaml"))) == []
