"""A site file becomes a site in SI units, or every mistake in it is named with its place."""

import hashlib
from datetime import date
from pathlib import Path

import pytest

from ems.config import load, load_site
from ems.site import Chemistry, SiteKind
from ems.yamlfile import FileErrors
from tests.config.conftest import SITE, direct_bus_text, edited

SHIPPED = sorted((Path(__file__).parents[2] / "configs" / "sites").glob("*.yaml"))


def errors_of(path: Path) -> list[str]:
    with pytest.raises(FileErrors) as caught:
        load_site(path)
    return [str(error).removeprefix(f"{path}:") for error in caught.value.errors]


def test_numbers_arrive_in_si_units_and_packs_as_indices(write):
    path = write(SITE)
    site = load_site(path)
    assert (site.id, site.name_zh, site.kind) == ("small", "小", SiteKind.OWN_CONVERTERS)
    assert site.grid.import_limit_w == 50_000
    assert site.grid.demand_window_s == 900
    assert site.grid.tariff == path.parent / "tariff.yaml"
    assert [c.packs for c in site.converters] == [(0,), (1,)]
    assert site.converters[1].rated_charge_w == 8_000
    assert site.converters[1].ramp_w_per_s == 2_000
    assert site.converters[1].efficiency_frac == pytest.approx(0.95)
    pack = site.packs[0]
    assert (pack.chemistry, pack.intake_date) == (Chemistry.LFP, date(2026, 1, 15))
    assert pack.soh_frac == pytest.approx(0.80)
    assert pack.soh_sigma_frac == pytest.approx(0.01)
    assert pack.group_resistance_ohm == pytest.approx(0.001)
    assert site.packs[1].resistance_ratio is None
    assert site.backup.confidence == pytest.approx(0.95)
    assert site.backup.soc_ceiling_frac is None
    assert site.devices["bms1"].host == "10.0.0.5"
    assert site.source_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_bms_reports_all_cells_unless_the_file_says_extremes_only(write):
    site = load_site(write(SITE))
    assert [p.reported_cells for p in site.packs] == [48, 2]
    assert site.layout.n_cells == 50


def test_without_a_truth_of_its_own_a_simulated_pack_is_as_measured(write):
    sim = load_site(write(SITE)).sim
    assert sim.load_w == 10_000
    assert sim.packs[0].soh_mean_frac == pytest.approx(0.80)
    assert sim.packs[0].tired_group is None


def test_tired_groups_are_counted_from_one_in_the_file(write):
    text = SITE + "simulation:\n  packs:\n    p1: {soh_mean_pct: 82, tired_group: 1}\n"
    assert load_site(write(text)).sim.packs[0].tired_group == 0


def test_what_only_check_needs_is_handed_over_separately(write):
    text = edited(("{float_v: 53.5,", "{float_v: 53.5, boost_v: 54,"), text=direct_bus_text())
    _, declared = load(write(text))
    assert declared.safety_report_sha256 == "a" * 63 + "1"
    assert declared.maker_authorisation == "letter 1"
    assert declared.boost_v == 54


def test_a_profile_file_is_found_beside_the_site_file(write, tmp_path):
    (tmp_path / "mine.yaml").write_text("schema: 1\n")
    site = load_site(write(edited(("profile: bms_rack_0x2000", "profile: mine.yaml"))))
    assert site.devices["bms1"].profile == str(tmp_path / "mine.yaml")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_site_files_load(path):
    site = load_site(path)
    assert site.id == path.stem
    assert site.grid.tariff.is_file()


def test_there_are_the_three_promised_site_files():
    assert [path.stem for path in SHIPPED] == ["base-station-48v", "demo", "peak-shaving"]


def test_ten_mistakes_give_ten_errors_each_with_its_place(write):
    path = write(
        edited(
            ("timezone: Asia/Shanghai", "timezone: Asia/Shanghia"),
            ("import_limit_kw: 50", "import_limit_kw: fifty"),
            ("tariff: tariff.yaml", "tariff: tarif.yaml"),
            ("sheddable: true", "sheddable: yes"),
            ("{hours: 1, critical_kw: 2}", "{hours: 100, critical_kw: 2}"),
            ("device: pcs2,", "device: psc2,"),
            ("    series_cells: 48\n", "    series_cells: 48\n    serial_cells: 48\n"),
            ("9ZZPE05G8C0000102RP", "9ZZPB05G8C0000102RP"),
            ("rated_ah: 60", "rated_ah: 60\n    rated_ah: 66"),
            ("    air_zone: room\n    device: bms2", "    device: bms2"),
        )
    )
    found = errors_of(path)
    assert found == [
        "4:13: site.timezone: unknown time zone 'Asia/Shanghia'; did you mean 'Asia/Shanghai'?",
        '9:40: grid.import_limit_kw: must be a number, found "fifty"',
        f"9:55: grid.tariff: tariff cannot be read: {path.parent}/tarif.yaml: "
        "No such file or directory",
        "12:39: loads[1].sheddable: yes is ambiguous; write true, or 'yes' for the text",
        "13:17: backup.hours: must be less than or equal to 72, found 100",
        "17:24: converters[1].device: unknown device 'psc2'; did you mean 'pcs2'?",
        "25:5: packs[0].serial_cells: unknown key; did you mean 'series_cells'?",
        "33:5: packs[1].air_zone: is missing: Packs that share air: room, duct or trench.",
        "34:11: packs[1].code: code says LFP (position 5 is B), but the pack is NMC (must be E)",
        "41:5: packs[1].rated_ah: duplicate key; first at line 40 column 5",
    ]


def test_mistakes_before_a_syntax_error_are_still_reported(write):
    found = errors_of(write(edited(("id: small", "id: Small Site"), ("packs: [p2]", "packs: [p2"))))
    assert len(found) == 2
    assert "site.id: must match pattern" in found[0]
    assert "YAML syntax" in found[1]


def test_a_missing_site_file_is_one_error(tmp_path):
    assert errors_of(tmp_path / "none.yaml") == ["1:1: cannot be read: no such file or directory"]
