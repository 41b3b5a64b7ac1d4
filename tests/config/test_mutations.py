"""However a site file is broken, the answer is a list of errors and never a traceback."""

import copy
from datetime import date
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ems.check import judge
from ems.config import load
from ems.yamlfile import FileErrors, read

SITES = Path(__file__).parents[2] / "configs" / "sites"
NAMES = ["base-station-48v", "demo", "peak-shaving"]
TODAY = date(2026, 11, 22)
TEXTS = {name: (SITES / f"{name}.yaml").read_text(encoding="utf-8") for name in NAMES}
DATA = {name: read(SITES / f"{name}.yaml").data for name in NAMES}

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**6), 10**6),
    st.floats(-1e6, 1e6),
    st.sampled_from(["", "p1", "x y", "9ZZPB02G8C0000101RP", "direct_bus", "LTO", "需", "a\u0000"]),
    st.just([]),
    st.just({}),
    st.lists(st.integers(0, 3), max_size=3),
    st.dictionaries(st.sampled_from(["id", "packs", "device"]), st.integers(0, 3), max_size=2),
)


def places(node, here=()):
    """Every place below the root."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        yield (*here, key)
        if isinstance(value, dict | list):
            yield from places(value, (*here, key))


def at(data, place):
    for token in place:
        data = data[token]
    return data


def load_and_judge(path: Path) -> bool:
    """True when the file loads; whatever loads can be judged."""
    try:
        site, declared = load(path)
    except FileErrors as failure:
        errors = failure.errors
    else:
        assert all(finding.text for finding in judge(site, declared, None, TODAY))
        return True
    assert errors
    assert all(error.line >= 1 and error.col >= 1 and error.message for error in errors)
    return False


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A directory from which the tariffs of the shipped files are found."""
    root = tmp_path_factory.mktemp("mutations")
    (root / "tariffs").symlink_to(SITES.parent / "tariffs")
    (root / "sites").mkdir()
    return root / "sites"


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=st.sampled_from(NAMES), choice=st.data())
def test_a_changed_value_never_makes_the_loader_stumble(folder, name, choice):
    data = copy.deepcopy(DATA[name])
    for _ in range(choice.draw(st.integers(1, 3), label="changes")):
        every = sorted(places(data), key=repr)
        place = choice.draw(st.sampled_from(every), label="place")
        parent, key = at(data, place[:-1]), place[-1]
        action = choice.draw(st.sampled_from(["delete", "replace", "add", "repeat"]), label="how")
        if action == "delete":
            del parent[key]
        elif action == "replace":
            parent[key] = choice.draw(VALUES, label="value")
        elif isinstance(parent, dict):
            parent[f"{key}x"] = copy.deepcopy(parent[key])
        else:
            parent.append(copy.deepcopy(parent[key]))
        if not data:
            break
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    load_and_judge(path)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(NAMES),
    where=st.floats(0, 1),
    removed=st.integers(0, 40),
    inserted=st.text("ab:-[]{}&*!|>'\"#\n\t ,09%@on\u0000é", max_size=6),
)
def test_a_changed_character_never_makes_the_loader_stumble(folder, name, where, removed, inserted):
    text = TEXTS[name]
    start = int(where * len(text))
    path = folder / "site.yaml"
    path.write_bytes((text[:start] + inserted + text[start + removed :]).encode("utf-8"))
    load_and_judge(path)


@pytest.mark.parametrize("name", NAMES)
def test_the_unbroken_files_load_so_the_changes_above_mean_something(folder, name):
    path = folder / "site.yaml"
    path.write_text(yaml.safe_dump(DATA[name], allow_unicode=True), encoding="utf-8")
    assert load_and_judge(path)
