"""Strict YAML: every mistake is reported at once, with its place and what would be right."""

from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from ems import yamltext
from ems.yamlfile import FileError, FileErrors, load_model, nearest, parse, read


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Cell(Strict):
    limit_kw: float = Field(ge=0, description="Largest power.")
    kind: Literal["soft", "hard"] = "soft"


class Plan(Strict):
    name: str
    on: bool = False
    cells: tuple[Cell, ...] = ()
    by_name: dict[str, Cell] = {}
    note: str | None = None


@pytest.fixture
def write(tmp_path):
    def _write(text: str | bytes) -> Path:
        path = tmp_path / "file.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return _write


def errors_of(action, *arguments) -> list[str]:
    """``line:col: path: message`` of every error."""
    with pytest.raises(FileErrors) as caught:
        action(*arguments)
    first = caught.value.errors[0]
    assert str(caught.value) == "\n".join(str(error) for error in caught.value.errors)
    return [str(error).removeprefix(f"{first.file}:") for error in caught.value.errors]


def test_plain_data_comes_back_with_positions(write):
    document = read(write("a: 1\nb:\n  - x: 2.5\n    y: true\n  - 'on'\nc:\nd: 2026-03-01\n"))
    assert document.data == {
        "a": 1, "b": [{"x": 2.5, "y": True}, "on"], "c": None, "d": "2026-03-01",
    }  # fmt: skip
    error = document.error(("b", 0, "y"), "is wrong")
    assert str(error) == f"{document.file}:4:8: b[0].y: is wrong"
    assert document.error(("b", 0, "y"), "", at_key=True).col == 5


def test_an_absent_place_is_shown_at_the_nearest_thing_around_it(write):
    document = read(write("a:\n  b: 1\n"))
    assert document.error(("a", "missing", 3), "x").position()[:2] == (1, 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("7", 7, id="whole number"),
        pytest.param("-7", -7, id="negative"),
        pytest.param("0", 0, id="zero is not octal"),
        pytest.param("0x2800", 0x2800, id="hexadecimal register"),
        pytest.param("1.50", 1.5, id="decimal"),
        pytest.param("1e3", 1000.0, id="exponent without a point, text for YAML 1.1"),
        pytest.param("999999999999999999", 999999999999999999, id="18 digits"),
        pytest.param("true", True, id="true"),
        pytest.param("~", None, id="null"),
        pytest.param("", None, id="nothing"),
        pytest.param("2026-01-15", "2026-01-15", id="a date stays text"),
        pytest.param("'12:30'", "12:30", id="quoted time"),
        pytest.param('"yes"', "yes", id="quoted yes"),
        pytest.param("192.168.1.1", "192.168.1.1", id="address"),
        pytest.param("_private", "_private", id="underscore in a word"),
        pytest.param("需量", "需量", id="Chinese"),
    ],
)
def test_what_all_readers_agree_about_is_accepted(write, text, value):
    found = read(write(f"key: {text}\n")).data["key"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *(
            pytest.param(word, f"{word} is ambiguous; write {meaning}", id=word)
            for word, meaning in [
                ("on", "true"), ("off", "false"), ("yes", "true"), ("no", "false"),
                ("ON", "true"), ("No", "false"), ("True", "true"), ("FALSE", "false"),
            ]
        ),
        pytest.param("12:30", "may be read as the number 750; write '12:30'", id="sexagesimal"),
        pytest.param("1:30:05", "may be read as the number 5405", id="with seconds"),
        pytest.param("0123", "may be read as octal", id="octal"),
        pytest.param("0o17", "may be read as octal", id="octal of YAML 1.2"),
        pytest.param("1_000", "without underscores", id="underscores"),
        pytest.param(".inf", "not a finite number", id="infinite"),
        pytest.param("-.INF", "not a finite number", id="minus infinite"),
        pytest.param(".nan", "not a finite number", id="not a number"),
        pytest.param("1e999", "too large", id="overflow"),
        pytest.param("1000000000000000000", "too many digits", id="19 digits"),
        pytest.param("!!python/name:os.system x", "tag", id="Python object"),
        pytest.param("!secret x", "tag", id="unknown tag"),
        pytest.param("&a [*a]", "alias of itself", id="endless alias"),
        pytest.param("*a", "alias *a has no anchor", id="unknown alias"),
        pytest.param("{<<: {b: 1}}", "merge key", id="merge key"),
        pytest.param("{[1, 2]: 1}", "key must be a word", id="list as key"),
        pytest.param("{1.5: 1}", "must be a word or a whole number", id="decimal as key"),
        pytest.param("{on: 1}", "on is ambiguous", id="boolean as key"),
        pytest.param('"\\ud800"', "not a character", id="lone surrogate"),
        pytest.param('"\\U00110000"', "not a character", id="beyond Unicode"),
        pytest.param("1\n---\nb: 2", "second document", id="two documents"),
        pytest.param("[" * 40 + "]" * 40, "deeper than 32", id="too deep"),
    ],
)  # fmt: skip
def test_what_readers_disagree_about_is_refused(write, text, message):
    found = errors_of(read, write(f"key: {text}\n"))
    assert len(found) == 1
    assert message in found[0]


def test_duplicate_keys_name_the_first_place(write):
    found = errors_of(read, write("a: 1\nb: {c: 1, c: 2}\na: 3\n"))
    assert found == [
        "2:11: b.c: duplicate key; first at line 2 column 5",
        "3:1: a: duplicate key; first at line 1 column 1",
    ]


def test_an_alias_means_what_its_anchor_means(write):
    assert read(write("a: &x {b: 1}\nc: *x\n")).data == {"a": {"b": 1}, "c": {"b": 1}}


def test_nested_aliases_cannot_explode(write):
    text = "a0: &a0 [x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
    )
    found = errors_of(read, write(text))
    assert [f"more than {yamltext.MAX_VALUES} values" in line for line in found] == [True]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "1:1: is empty", id="empty"),
        pytest.param(b"# only a comment\n", "1:1: is empty", id="only a comment"),
        pytest.param(b"a: 1\nb: \xff\n", "2:4: is not UTF-8 text (byte 0xff)", id="Latin-1"),
        pytest.param("a: 需\n".encode("gbk"), "1:4: is not UTF-8 text", id="GBK"),
        pytest.param(b"a: \x00\n", "1:4: character", id="binary"),
        pytest.param(b"a: 1\n  b:\t2\n", "2:5: tab character", id="tab"),
        pytest.param(b"a:\n\tb: 2\n", "2:1: tab character", id="tab as indentation"),
        pytest.param(b"a: [1, 2\nb: 3\n", "2:2: YAML syntax", id="open bracket"),
        pytest.param(b"a: 'x\n", "YAML syntax", id="open quote"),
        pytest.param(b"#" * (yamltext.MAX_BYTES + 1), "larger than", id="too large"),
    ],
)
def test_an_unreadable_file_gives_one_clear_error(write, content, message):
    found = errors_of(read, write(content))
    assert len(found) == 1
    assert message in found[0]


def test_a_byte_order_mark_is_no_part_of_the_first_key(write):
    assert read(write(b"\xef\xbb\xbfa: 1\n")).data == {"a": 1}


def test_a_missing_file_is_one_error(tmp_path):
    found = errors_of(load_model, tmp_path / "absent.yaml", Plan)
    assert found == ["1:1: cannot be read: no such file or directory"]
    assert "is a directory" in errors_of(read, tmp_path)[0]


def test_text_and_values_are_judged_together(write):
    path = write(
        "name: 12\n"
        "on: true\n"
        "note: yes\n"
        "cells:\n"
        "  - {limit_kw: -1}\n"
        "  - {limitkw: 1}\n"
        "  - {limit_kw: '5', kind: medium}\n"
        "by_name:\n"
        "  north: {limit_kw: 1, limt_kw: 2}\n"
    )
    assert errors_of(load_model, path, Plan) == [
        "1:7: name: must be text; put quotes around it, found 12",
        "2:1: on is ambiguous; write true, or 'on' for the text",
        "3:7: note: yes is ambiguous; write true, or 'yes' for the text",
        "5:16: cells[0].limit_kw: must be greater than or equal to 0, found -1",
        "6:5: cells[1].limit_kw: is missing: Largest power.",
        "6:6: cells[1].limitkw: unknown key; did you mean 'limit_kw'?",
        '7:16: cells[2].limit_kw: must be a number, found "5"',
        "7:27: cells[2].kind: must be one of 'soft' or 'hard', found \"medium\"",
        "9:24: by_name.north.limt_kw: unknown key; did you mean 'limit_kw'?",
    ]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("name: true", id="a boolean is not text"),
        pytest.param("name: x\n'on': 1", id="1 is not true"),
        pytest.param("name: x\ncells: {}", id="a section is not a list"),
        pytest.param("name: x\ncells: [{limit_kw: true}]", id="true is not a number"),
        pytest.param("[name]", id="a list is not a section"),
        pytest.param("just words", id="text is not a section"),
    ],
)
def test_types_are_never_bent(write, text):
    assert len(errors_of(load_model, write(text), Plan)) >= 1


def test_a_syntax_error_does_not_hide_what_stands_before_it(write):
    path = write("name: 5\ncells:\n  - {limit_kw: x}\n  - {limit_kw: [1, 2}\n")
    found = errors_of(load_model, path, Plan)
    assert found[0].startswith("1:7: name: must be text")
    assert found[1].startswith("3:16: cells[0].limit_kw: must be a number")
    assert "YAML syntax" in found[2]
    assert len(found) == 3


def test_behind_a_syntax_error_nothing_is_called_missing(write):
    found = errors_of(load_model, write("cells: [\n"), Plan)
    assert len(found) == 1
    assert "YAML syntax" in found[0]


def test_the_nearest_choice_is_suggested_and_all_when_none_is_near():
    assert nearest("limit_wk", ["limit_kw", "name"]) == "; did you mean 'limit_kw'?"
    assert nearest("zzz", ["b", "a"]) == "; known here: a, b"
    assert nearest("zzz", []) == ""


def test_an_error_reads_file_line_column_path_message():
    error = FileError(Path("site.yaml"), 3, 7, "grid.tariff", "cannot be read")
    assert str(error) == "site.yaml:3:7: grid.tariff: cannot be read"
    assert str(FileError(Path("site.yaml"), 1, 1, "", "is empty")) == "site.yaml:1:1: is empty"


@settings(max_examples=200, deadline=None)
@given(
    content=st.one_of(st.binary(max_size=60), st.text("ab:-[]{}&*!<>|'\"#\n\t ,1?%@", max_size=40))
)
def test_no_content_makes_the_reader_stumble(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "file.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    document = parse(path)
    assert document.problems or document.data is not None or document.complete
    for error in document.problems:
        assert error.line >= 1
        assert error.col >= 1
        assert error.message
