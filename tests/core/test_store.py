"""The state file: replaced whole or not at all."""

import pytest

from ems import store


def test_what_is_written_is_read_back(tmp_path):
    store.write(tmp_path / "state.json", {"peak_w": 120.5, "latches": ["C01"]})
    assert store.read(tmp_path / "state.json") == {"peak_w": 120.5, "latches": ["C01"]}


def test_absent_file_is_none(tmp_path):
    assert store.read(tmp_path / "state.json") is None


@pytest.mark.parametrize("content", [b'{"peak_w": 12', b"", b"[1]", b"\xff\x00"])
def test_damaged_file_is_an_error_and_never_taken_for_absent(tmp_path, content):
    path = tmp_path / "state.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        store.read(path)


def test_file_that_is_no_good_is_kept_for_whoever_asks_why(tmp_path):
    path = tmp_path / "state.json"
    path.write_text('{"peak_w": 12')
    store.set_aside(path)
    assert (tmp_path / "state.bad").read_text() == '{"peak_w": 12'
    assert store.read(path) is None


def test_crash_between_writing_and_replacing_leaves_the_old_state(tmp_path):
    path = tmp_path / "state.json"
    store.write(path, {"n": 1})
    path.with_suffix(".tmp").write_text('{"n": 2')
    assert store.read(path) == {"n": 1}
