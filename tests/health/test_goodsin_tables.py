"""Tables that cannot be used: one error that names the place, exit 2, nothing written."""

import gzip

import pandas as pd
import pytest
from typer.testing import CliRunner

from ems.cli import app
from tests.health.goodsin_tables import charge_features, early_curves, storage_cycles

TASK = "second-life-cycles"


def assess(*arguments):
    return CliRunner().invoke(app, ["health", "assess", *(str(each) for each in arguments)])


def refused(tmp_path, table, task=TASK, text=None):
    """What is said of this table; nothing may have been written."""
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    if text is None:
        table.to_csv(source, index=False)
    else:
        source.write_text(text, encoding="utf-8")
    result = assess(source, "--task", task, "--out", out)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv"]
    said = result.output.strip()
    assert "\n" not in said
    return said.replace(str(source), "in.csv")


def with_column(name, change):
    table = storage_cycles()
    table[name] = change(table[name])
    return table


def twice():
    table = storage_cycles(cycles=5)
    return pd.concat([table, table.iloc[[2]]])


@pytest.mark.parametrize(
    ("table", "said"),
    [
        pytest.param(
            with_column("mid_voltage_v", lambda v: 1000 * v),
            "in.csv:2: mid_voltage_v: found 3580 and 59 more outside "
            "(thousandths (mV, mA or mAh instead of V, A or Ah)?), would be right 3 to 4 in V",
            id="millivolts",
        ),
        pytest.param(
            with_column("energy_efficiency_frac", lambda v: 100 * v),
            "in.csv:2: energy_efficiency_frac: found 93 and 59 more outside "
            "(percent instead of a fraction?), would be right 0.5 to 1.05 in fraction",
            id="percent",
        ),
        pytest.param(
            storage_cycles().rename(
                columns={
                    "mid_voltage_v": "energy_efficiency_frac",
                    "energy_efficiency_frac": "mid_voltage_v",
                }
            ),
            "in.csv:2: energy_efficiency_frac: found 3.58 and 59 more outside "
            "(swapped with mid_voltage_v?), would be right 0.5 to 1.05 in fraction",
            id="two columns swapped",
        ),
        pytest.param(
            storage_cycles().rename(columns={"mid_voltage_v": "mid_volts_v"}),
            "in.csv:1: mid_voltage_v: found no such column but 'mid_volts_v', "
            "would be right 3 to 4 in V",
            id="a column misspelt",
        ),
        pytest.param(
            storage_cycles().drop(columns=["discharge_ah"]),
            "in.csv:1: discharge_ah: found no such column, would be right 0.1 to 60 in Ah",
            id="a column missing",
        ),
        pytest.param(
            twice(),
            "in.csv:7: cell_id, cycle: found c0, 3 again, first in line 4, "
            "would be right each once",
            id="a key twice",
        ),
        pytest.param(
            storage_cycles().assign(mid_voltage_v=""),
            "in.csv:2: mid_voltage_v: found an empty column, would be right 3 to 4 in V",
            id="a column empty",
        ),
    ],
)
def test_a_wrong_table_is_refused_with_place_cause_and_cure(tmp_path, table, said):
    assert refused(tmp_path, table) == said


HEADING = "cell_id,cycle,energy_efficiency_frac,mid_voltage_v,discharge_ah\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(
            "", "in.csv:1: -: found an empty file, would be right a heading and rows", id="empty"
        ),
        pytest.param(
            HEADING,
            "in.csv:1: -: found a heading without rows, would be right at least one row",
            id="no rows",
        ),
        pytest.param(
            HEADING + "a,1,0.93,3.5,12\n\na,2,good,3.5,\n",
            "in.csv:4: energy_efficiency_frac: found 'good', "
            "would be right 0.5 to 1.05 in fraction",
            id="text in a column of numbers; blank lines count",
        ),
        pytest.param(
            HEADING + "a,1,0.93,inf,12\n",
            "in.csv:2: mid_voltage_v: found 'inf', would be right 3 to 4 in V",
            id="infinity is no number",
        ),
        pytest.param(
            HEADING + "a,1,0.93,nan,12\n",
            "in.csv:2: mid_voltage_v: found 'nan', would be right 3 to 4 in V",
            id="nan is not how a missing value is written",
        ),
        pytest.param(
            HEADING + "a,1,0.93,3.5\n",
            "in.csv:2: -: found 4 fields, would be right 5 as in the heading",
            id="a field too few",
        ),
        pytest.param(
            HEADING.replace(",", ";"),
            "in.csv:1: -: found ';' between columns, would be right a comma",
            id="semicolons",
        ),
        pytest.param(
            HEADING.replace("cycle", "cell_id") + "a,1,0.93,3.5,12\n",
            "in.csv:1: cell_id: found this column twice, would be right once",
            id="a heading twice",
        ),
    ],
)
def test_a_wrong_text_is_refused_with_its_line(tmp_path, text, said):
    assert refused(tmp_path, None, text=text) == said


def test_a_reversed_current_is_named(tmp_path):
    train = tmp_path / "train.csv"
    charge_features().to_csv(train, index=False)
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    table = charge_features().assign(i_mean_a=lambda t: -t["i_mean_a"])
    table.to_csv(source, index=False)
    result = assess(source, "--task", "charge-features", "--out", out, "--fit", train)
    assert result.exit_code == 2
    assert "i_mean_a: found -0.2" in result.output
    assert "(the sign reversed?)" in result.output
    assert not out.exists()


def test_curves_whose_columns_are_swapped_are_named(tmp_path):
    table = early_curves().rename(
        columns={"q_3.200v_ah": "q_3.120v_ah", "q_3.120v_ah": "q_3.200v_ah"}
    )
    said = refused(tmp_path, table, "cycle-life")
    assert said.startswith("in.csv:2: q_3.1")
    assert "less than at the higher voltage before (swapped?)" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(("--task", "puls"), "--task: found 'puls', would be right one of", id="task"),
        pytest.param(
            ("--task", "charge-features"),
            "found no --fit, would be right --fit TRAIN.csv",
            id="fit",
        ),
    ],
)
def test_a_wrong_option_is_refused(tmp_path, arguments, said):
    source = tmp_path / "in.csv"
    charge_features().to_csv(source, index=False)
    result = assess(source, *arguments, "--out", tmp_path / "out.csv")
    assert result.exit_code == 2
    assert said in result.output


def test_a_file_that_is_not_there_and_a_folder_that_is_not_there(tmp_path):
    source = tmp_path / "in.csv"
    result = assess(source, "--task", TASK, "--out", tmp_path / "out.csv")
    assert (result.exit_code, result.output.strip()) == (2, f"{source}: no file there")
    storage_cycles().to_csv(source, index=False)
    out = tmp_path / "none" / "out.csv"
    result = assess(source, "--task", TASK, "--out", out)
    assert result.exit_code == 2
    assert result.output.strip() == f"{out}: cannot be written: No such file or directory"


def test_broken_gzip_and_foreign_bytes_are_named(tmp_path):
    for name, content, said in (
        ("in.csv.gz", b"cell_id,cycle", "found no whole gzip file"),
        ("in.csv.gz", gzip.compress(b"cell_id,cycle")[:-6], "found no whole gzip file"),
        ("in.csv", b"cell_id\n\xff\xfe", ":2: -: found bytes that are no UTF-8"),
    ):
        source = tmp_path / name
        source.write_bytes(content)
        result = assess(source, "--task", TASK, "--out", tmp_path / "out.csv")
        assert result.exit_code == 2
        assert said in result.output


def test_an_older_answer_survives_a_wrong_table(tmp_path):
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    out.write_text("kept", encoding="utf-8")
    source.write_text("", encoding="utf-8")
    assert assess(source, "--task", TASK, "--out", out).exit_code == 2
    assert out.read_text(encoding="utf-8") == "kept"


def test_compressed_tables_are_read_and_written_alike(tmp_path):
    plain, packed = tmp_path / "in.csv", tmp_path / "in.csv.gz"
    storage_cycles().to_csv(plain, index=False)
    storage_cycles().to_csv(packed, index=False)
    assert assess(plain, "--task", TASK, "--out", tmp_path / "a.csv").exit_code == 0
    assert assess(packed, "--task", TASK, "--out", tmp_path / "b.csv.gz").exit_code == 0
    unpacked = gzip.decompress((tmp_path / "b.csv.gz").read_bytes())
    assert unpacked == (tmp_path / "a.csv").read_bytes()
