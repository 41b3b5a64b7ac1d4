"""The reference page of the site file is written from the schema and is up to date."""

from pathlib import Path

from ems.config.document import page
from ems.config.schema import SiteFile

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "site-file.md"


def test_the_page_in_the_repository_is_the_page_of_the_schema():
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "run: python -m ems.config.document > docs/reference/site-file.md"
    )


def test_every_section_and_every_key_has_a_line_that_explains_it():
    text = page()
    for name in SiteFile.model_fields:
        assert f"| `{name}` |" in text
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) > 80
    assert not [row for row in rows if "| None |" in row or row.count("|") < 5]


def test_units_and_bounds_are_shown():
    text = page()
    assert "| `cycle_s` | Period of the control cycle. | number, s, ≥ 0.25 and ≤ 5 | `1` |" in text
    assert "| `soc_ceiling_pct` |" in text
    assert "number, %, ≥ 30 and ≤ 95 | — |" in text
