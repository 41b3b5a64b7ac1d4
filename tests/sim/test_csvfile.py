"""What a CSV file may look like, and the one error for what it may not."""

import gzip
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from sim import csvfile
from sim.csvfile import InputError, read_number, read_table, read_time

BERLIN = ZoneInfo("Europe/Berlin")  # 2026: forward on 29 March at 2 h, back on 25 October at 3 h
TEXT = "a,b\n1,2\n\n3,4\n"
PACKED = gzip.compress(TEXT.encode() * 100)


def table_of(tmp_path, content, name="f.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    table = read_table(path)
    return table, [(line, row) for line, row in table.rows if table.check(line, row)]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        pytest.param(TEXT, "f.csv", id="plain"),
        pytest.param("\ufeff" + TEXT, "f.csv", id="byte order mark"),
        pytest.param(" A , B\n1,2\n\n3,4\n", "f.csv", id="spaces and capitals in the header"),
        pytest.param(TEXT.replace("\n", "\r\n"), "f.csv", id="Windows line ends"),
        pytest.param('"a","b"\n"1","2"\n,\n3,4\n', "f.csv", id="quotes, a row of empty fields"),
        pytest.param(gzip.compress(TEXT.encode()), "f.csv.gz", id="packed"),
    ],
)
def test_what_spreadsheets_write_is_read(tmp_path, content, name):
    table, rows = table_of(tmp_path, content, name)
    assert table.names == ("a", "b")
    assert rows == [(2, ["1", "2"]), (4, ["3", "4"])]


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        pytest.param("", "f.csv", r"f\.csv:1: the file is empty", id="empty"),
        pytest.param("\n\n", "f.csv", r"f\.csv:1: the file is empty", id="blank lines only"),
        pytest.param("a;b\n1;2\n", "f.csv", r":1: .*separated by commas.*'a;b'", id="semicolons"),
        pytest.param("a,b, A\n", "f.csv", r":1: column a is there twice", id="twice"),
        pytest.param("a,b\n1,2\n3\n", "f.csv", r":3: 1 fields, the header has 2$", id="short row"),
        pytest.param("a,b\n1,2,5\n", "f.csv", r":2: 3 fields.*decimal comma", id="long row"),
        pytest.param("a,b\n1,2\n3,\0\n", "f.csv", r":3: zero byte", id="zero byte"),
        pytest.param('a,b\n1,"2\n3,4\n', "f.csv", r":2: .*quote left open", id="quote to the end"),
        pytest.param('a,b\n1,"2\n3,4"\n', "f.csv", r":2: a quote is not closed", id="quote later"),
        pytest.param(b"a,b\n1,2\n\xb0C,1\n", "f.csv", r":3: is not UTF-8 text \(byte 0xb0", id="8"),
        pytest.param(TEXT.encode("utf-16"), "f.csv", r":1: is not UTF-8 text", id="UTF-16"),
        pytest.param(TEXT, "f.csv.gz", r"f\.csv\.gz: is damaged or not gzip", id="not packed"),
        pytest.param(PACKED[:-9], "f.csv.gz", r"is damaged or not gzip", id="cut off"),
        pytest.param(
            PACKED[:20] + b"\0\xff" + PACKED[22:],
            "f.csv.gz",
            r"is damaged or not gzip",
            id="flipped",
        ),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(tmp_path, content, name, message):
    with pytest.raises(InputError, match=message):
        table_of(tmp_path, content, name)


def test_a_folder_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot be read: is a directory"):
        read_table(tmp_path)
    with pytest.raises(InputError, match=r"none\.csv: cannot be read: no such file"):
        read_table(tmp_path / "none.csv")


@pytest.mark.parametrize(("size", "accepted"), [(len(TEXT), True), (len(TEXT) - 1, False)])
def test_a_file_that_unpacks_without_end_is_refused(tmp_path, monkeypatch, size, accepted):
    monkeypatch.setattr(csvfile, "MAX_BYTES", size)
    packed = gzip.compress(TEXT.encode())
    if accepted:
        table_of(tmp_path, packed, "f.csv.gz")
    else:
        with pytest.raises(InputError, match="is larger than"):
            table_of(tmp_path, packed, "f.csv.gz")


def test_a_missing_column_names_the_nearest_that_is_there(tmp_path):
    table, _ = table_of(tmp_path, "local_time,load_kwh\n")
    assert "is 'load_kwh' meant?" in str(table.lacks(["load_kw"]))
    assert str(table.lacks(["zzz"])).endswith("no column zzz; found: local_time, load_kwh")


class TestTime:
    def test_a_wall_clock_is_read_in_its_zone_and_an_offset_counts(self):
        assert read_time(" 2026-01-01T01:00", BERLIN) == datetime(2026, 1, 1, tzinfo=UTC)
        assert read_time("2026-01-01T01:00Z", BERLIN) == datetime(2026, 1, 1, 1, tzinfo=UTC)

    def test_the_hour_that_comes_twice_is_later_the_second_time(self):
        first = read_time("2026-10-25T02:45", BERLIN)
        assert first == datetime(2026, 10, 25, 0, 45, tzinfo=UTC)
        second = read_time("2026-10-25T02:00", BERLIN, after=first)
        assert second == datetime(2026, 10, 25, 1, 0, tzinfo=UTC)

    def test_the_hour_that_never_comes_is_no_time(self):
        read_time("2026-03-29T01:59:59", BERLIN)
        read_time("2026-03-29T03:00:00", BERLIN)
        for gone in ("2026-03-29T02:00:00", "2026-03-29T02:59:59"):
            with pytest.raises(ValueError, match="does not exist in Europe/Berlin"):
                read_time(gone, BERLIN)
        # 03:00 as the end of a step of 15 min, moved to its start without a thought.
        before = read_time("2026-03-29T01:30", BERLIN)
        moved = read_time("2026-03-29T02:45", BERLIN, after=before)
        assert moved == datetime(2026, 3, 29, 0, 45, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("text", "message"),
        [("noon", "'noon' is no time"), ("", "'' is no time"), ("0001-01-01", "out of range")],
    )
    def test_anything_else_is_refused(self, text, message):
        with pytest.raises(ValueError, match=message):
            read_time(text, ZoneInfo("Asia/Shanghai"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("x", "'x' is no number$", id="word"),
        pytest.param("3,5", "write a decimal point", id="decimal comma"),
        pytest.param("1_000", "leave out the underscore", id="underscore"),
        pytest.param("nan", "'nan' is not finite", id="NaN"),
        pytest.param("1e999", "is not finite", id="overflow"),
        pytest.param("9" * 500 + "x", "9…' is no number", id="long text is cut"),
    ],
)
def test_numbers_are_finite_and_plain(text, message):
    assert read_number(" 2.5e3 ") == 2_500.0
    with pytest.raises(ValueError, match=message):
        read_number(text)
