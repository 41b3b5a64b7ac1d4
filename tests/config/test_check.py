"""What `ems check` says about the numbers of a site, at both sides of each threshold."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from ems.check import Severity, judge, judge_file, report
from ems.config import Declared, load
from ems.dispatch.tariff_file import load_tariff
from ems.judge.aged import aged
from ems.site import Chemistry, SiteKind
from ems.yamlfile import FileErrors
from tests.builders import make_site
from tests.config.conftest import SITE, direct_bus_text, edited

SITES = Path(__file__).parents[2] / "configs" / "sites"
TODAY = date(2026, 3, 1)
PAPERS = Declared("a" * 64, "b" * 64, "letter", None)
SHIPPED_ON = date(2026, 11, 22)
HERE = ("host: 10.0.0.2", "host: 127.0.0.1")
"""The one device of our simulator at home."""


def findings(site, declared=PAPERS, tariff=None, today=TODAY):
    """Findings by rule."""
    return {finding.rule: finding for finding in judge(site, declared, tariff, today)}


def severity(site, rule, **arguments):
    found = findings(site, **arguments).get(rule)
    return None if found is None else found.severity


def aged_site(months: float, **arguments):
    """A test site whose intake tests are this old on ``TODAY``."""
    site = make_site(**arguments)
    day = TODAY - timedelta(days=round(months * 30.44))
    return replace(site, packs=tuple(replace(p, intake_date=day) for p in site.packs))


@pytest.mark.parametrize("path", sorted(SITES.glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("today", [SHIPPED_ON, SHIPPED_ON + timedelta(days=365)])
def test_shipped_sites_have_no_errors_now_or_in_a_year(path, today):
    assert [f.text for f in judge_file(path, today) if f.severity is Severity.ERROR] == []


@pytest.mark.parametrize("path", sorted(SITES.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_sites_have_no_warnings_while_their_tests_are_fresh(path):
    assert [f.text for f in judge_file(path, SHIPPED_ON) if f.severity is Severity.WARNING] == []


def test_the_base_station_carries_its_load_even_if_all_packs_were_its_weakest():
    """The calculation in the comments of the file: 11.5 kWh in the cold against 9.6 kWh."""
    site, _ = load(SITES / "base-station-48v.yaml")
    weakest = aged(site.packs[3], site.backup.soc_ceiling_frac, site.packs[3].intake_date)
    assert weakest.health == pytest.approx(2 / 3, abs=0.01)
    assert weakest.soc_low_frac == pytest.approx(0.173, abs=0.001)
    assert weakest.soc_high_frac == pytest.approx(0.877, abs=0.001)
    assert 4 * weakest.cold_energy_wh == pytest.approx(11_500, rel=0.03)
    assert 4 * weakest.cold_energy_wh > site.backup.hours * site.backup.critical_w


def test_the_plant_may_use_ternary_packs_at_its_size():
    site, _ = load(SITES / "peak-shaving.yaml")
    assert {p.chemistry for p in site.packs} == set(Chemistry)
    assert sum(p.series_cells for p in site.packs) == site.layout.n_cells == 800
    assert 200_000 <= sum(c.rated_discharge_w for c in site.converters) < 500_000


class TestBackup:
    def test_hours_that_hold_even_cold_are_told_with_their_numbers(self):
        found = findings(make_site())["backup_hours"]
        assert found.severity is Severity.INFO
        assert "1 h of 2 kW need 2.0 kWh" in found.why
        assert "at -10 °C" in found.why
        assert "Weakest is p1" in found.why

    @pytest.mark.parametrize(
        ("factor", "expected"),
        [
            pytest.param(0.74, Severity.INFO, id="below the cold energy"),
            pytest.param(0.76, Severity.WARNING, id="only when warm: LFP keeps 75 % in the cold"),
            pytest.param(0.99, Severity.WARNING, id="just below the warm energy"),
            pytest.param(1.01, Severity.ERROR, id="above the warm energy"),
        ],
    )
    def test_both_sides_of_warm_and_cold(self, factor, expected):
        site = make_site()
        pack = aged(site.packs[0], None, TODAY)
        energy_wh = 3 * pack.energy_wh * 0.95
        backup = replace(site.backup, hours=energy_wh * factor / site.backup.critical_w)
        assert severity(replace(site, backup=backup), "backup_hours") is expected

    def test_a_lower_ceiling_costs_hours(self):
        site = make_site(backup_hours=3.0)
        assert severity(site, "backup_hours") is Severity.INFO
        lower = replace(site, backup=replace(site.backup, soc_ceiling_frac=0.3))
        assert severity(lower, "backup_hours") is Severity.ERROR

    def test_packs_on_a_bus_rest_where_the_float_voltage_leaves_them(self, write):
        """53.5 V on 16S LFP is 3.344 V a cell, about 88 %; 52.8 V is 3.30 V, about 38 %."""
        site, declared = load(write(edited(("float_v: 53.5", "float_v: 52.8"),
                                           text=direct_bus_text())))  # fmt: skip
        assert "SoC 15% to 38%" in findings(site, declared)["backup_hours"].why
        site, declared = load(write(direct_bus_text()))
        assert "SoC 15% to 88%" in findings(site, declared)["backup_hours"].why

    def test_packs_in_parallel_are_counted_by_the_weakest(self):
        site = make_site(kind=SiteKind.DIRECT_BUS, backup_hours=2.6, critical_w=2_000.0)
        assert severity(site, "backup_hours") is Severity.INFO
        tired = (replace(site.packs[0], soh_frac=0.55), *site.packs[1:])
        assert severity(replace(site, packs=tired), "backup_hours") is Severity.ERROR

    def test_packs_that_hold_the_energy_may_still_be_too_weak(self):
        site = make_site(backup_hours=0.1, critical_w=6_000.0)
        assert severity(site, "backup_hours") is Severity.INFO
        assert severity(site, "backup_power") is Severity.ERROR

    def test_a_promise_smaller_than_the_critical_loads_is_noticed(self):
        site = make_site()
        assert "backup_load" not in findings(site)
        smaller = replace(site, backup=replace(site.backup, critical_w=1_900.0))
        assert severity(smaller, "backup_load") is Severity.WARNING

    def test_no_promise_is_no_fault(self):
        found = findings(make_site(backup_hours=0.0))["backup_hours"]
        assert (found.severity, found.why) == (Severity.INFO, "no backup is promised")


class TestVoltages:
    """One 16S LFP pack, h = 0.867 on the day of its test: highest 16 x 3.4867 = 55.79 V,
    trip at 16 x 2.61 = 41.76 V."""

    def site(self, write, *changes):
        text = edited(("soh_sigma_pct: 1,", "soh_sigma_pct: 1,"), *changes, text=direct_bus_text())
        return load(write(text.replace("soh_pct: 80", "soh_pct: 78")))

    @pytest.mark.parametrize(
        ("change", "rule", "expected"),
        [
            (("float_v: 53.5", "float_v: 55.7"), "float_voltage", None),
            (("float_v: 53.5", "float_v: 55.9"), "float_voltage", Severity.ERROR),
            (("float_v: 53.5", "float_v: 53.5, boost_v: 55.7"), "boost_voltage", None),
            (("float_v: 53.5", "float_v: 53.5, boost_v: 56.4"), "boost_voltage", Severity.ERROR),
            (("lvd_disconnect_v: 43.2", "lvd_disconnect_v: 41.8"), "lvd_voltage", None),
            (("lvd_disconnect_v: 43.2", "lvd_disconnect_v: 41.7"), "lvd_voltage", Severity.ERROR),
        ],
    )
    def test_float_boost_and_lvd_against_the_cells(self, write, change, rule, expected):
        site, declared = self.site(write, change)
        assert severity(site, rule, declared=declared, today=date(2026, 1, 15)) is expected

    def test_ageing_of_the_test_lowers_the_highest_float(self, write):
        site, declared = self.site(write, ("float_v: 53.5", "float_v: 55.7"))
        later = date(2026, 12, 15)
        assert severity(site, "float_voltage", declared=declared, today=later) is Severity.ERROR

    def test_the_error_names_the_volts_a_cell(self, write):
        site, declared = self.site(write, ("float_v: 53.5", "float_v: 56.4"))
        why = findings(site, declared, today=date(2026, 1, 15))["float_voltage"].text
        assert "56.4 V is 3.525 V a cell" in why
        assert "at most 55.8 V" in why


class TestPlant:
    @pytest.mark.parametrize(
        ("chemistry", "power_w", "expected"),
        [
            (Chemistry.NMC, 499_999.0, Severity.INFO),
            (Chemistry.NMC, 500_000.0, Severity.ERROR),
            (Chemistry.LMO, 500_000.0, Severity.ERROR),
            (Chemistry.LFP, 500_000.0, Severity.INFO),
            (Chemistry.LTO, 500_000.0, Severity.INFO),
        ],
    )
    def test_ternary_and_manganese_only_below_500_kw(self, chemistry, power_w, expected):
        site = make_site(n_packs=1, chemistry=chemistry)
        converter = replace(site.converters[0], rated_discharge_w=power_w)
        assert severity(replace(site, converters=(converter,)), "chemistry_size") is expected

    @pytest.mark.parametrize(
        ("rated_ah", "expected"), [(8_400.0, Severity.INFO), (8_600.0, Severity.ERROR)]
    )
    def test_and_only_below_500_kwh(self, rated_ah, expected):
        site = make_site(n_packs=1, chemistry=Chemistry.NMC)
        pack = replace(site.packs[0], rated_ah=rated_ah)  # 16S at 3.67 V: 8 510 Ah are 500 kWh
        assert severity(replace(site, packs=(pack,)), "chemistry_size") is expected

    def test_packs_of_different_voltage_do_not_share_a_bus(self):
        site = make_site(kind=SiteKind.SHARED_DC_BUS)
        assert "parallel_packs" not in findings(site)
        odd = (replace(site.packs[0], series_cells=15), *site.packs[1:])
        found = findings(replace(site, packs=odd))["parallel_packs"]
        assert found.severity is Severity.ERROR
        assert "15S LFP, 16S LFP" in found.why

    @pytest.mark.parametrize(
        ("months", "expected"), [(11.9, None), (12.1, Severity.WARNING), (24.0, Severity.WARNING)]
    )
    def test_a_capacity_test_is_valid_for_twelve_months(self, months, expected):
        assert severity(aged_site(months), "intake_age") is expected

    @pytest.mark.parametrize(("days", "expected"), [(0, None), (1, Severity.ERROR)])
    def test_a_test_cannot_be_of_tomorrow(self, days, expected):
        site = make_site(n_packs=1)
        pack = replace(site.packs[0], intake_date=TODAY + timedelta(days=days))
        assert severity(replace(site, packs=(pack,)), "intake_date") is expected

    @pytest.mark.parametrize(
        ("soh", "ratio", "expected"),
        [
            pytest.param(0.55, 1.2, None, id="tired but alive"),
            pytest.param(0.51, 1.2, Severity.WARNING, id="only the bound is below"),
            pytest.param(0.50, 1.2, Severity.ERROR, id="at its end"),
            pytest.param(0.80, 2.5, Severity.ERROR, id="resistance at its end"),
        ],
    )
    def test_packs_at_the_end_of_their_second_life(self, soh, ratio, expected):
        site = make_site(n_packs=1)
        pack = replace(site.packs[0], soh_frac=soh, resistance_ratio=ratio, intake_date=TODAY)
        assert severity(replace(site, packs=(pack,)), "intake_health") is expected

    @pytest.mark.parametrize(("window_s", "expected"), [(900.0, None), (1800.0, Severity.ERROR)])
    def test_the_demand_window_is_the_tariffs(self, window_s, expected):
        tariff = load_tariff(SITES.parent / "tariffs" / "beijing-two-part-10kv.yaml")
        site = make_site(demand_window_s=window_s)
        assert severity(site, "demand_window", tariff=tariff) is expected

    def test_without_demand_charge_the_window_does_not_matter(self):
        tariff = load_tariff(SITES.parent / "tariffs" / "beijing-single-part-lt1kv.yaml")
        assert "demand_window" not in findings(make_site(demand_window_s=1800.0), tariff=tariff)

    def test_a_tariff_of_another_zone_is_noticed(self):
        tariff = load_tariff(SITES.parent / "tariffs" / "beijing-two-part-10kv.yaml")
        site = replace(make_site(), timezone="Europe/Berlin")
        assert severity(site, "tariff_timezone", tariff=tariff) is Severity.WARNING

    @pytest.mark.parametrize(
        ("declared", "rule", "expected"),
        [
            (replace(PAPERS, safety_report_sha256=None), "safety_report", Severity.ERROR),
            (replace(PAPERS, screening_report_sha256=None), "screening_report", Severity.ERROR),
            (replace(PAPERS, maker_authorisation=None), "maker_authorisation", Severity.WARNING),
            (PAPERS, "safety_report", None),
        ],
    )
    def test_missing_papers(self, declared, rule, expected):
        assert severity(make_site(), rule, declared=declared) is expected


class TestDevicesAndSafety:
    def test_a_well_wired_site_has_nothing_to_answer_for(self, write):
        site, declared = load(write(edited(HERE)))
        bad = [f.text for f in judge(site, declared, None, TODAY) if f.severity is Severity.ERROR]
        assert bad == []
        site, declared = load(write(SITE))
        bad = [f.rule for f in judge(site, declared, None, TODAY) if f.severity is Severity.ERROR]
        assert bad == ["simulated_profile"], "the simulator is on this machine, or nowhere"

    @pytest.mark.parametrize(
        ("change", "rule"),
        [
            pytest.param(
                ("profile: bms_rack_0x2000", "profile: pcs_sunspec_704"), "profile_kind",
                id="converter as BMS",
            ),
            pytest.param(
                ("profile: pcs_sunspec_704", "profile: rectifier_48v_sim"), "profile_writes",
                id="rectifier as PCS",
            ),
            pytest.param(
                ("profile: bms_rack_0x2000, transport: modbus_tcp",
                 "profile: bms_opcua_sim, transport: modbus_tcp"), "transport",
                id="OPC UA profile over Modbus",
            ),
            pytest.param(
                ("    reported_cells: 2\n", ""), "reported_counts",
                id="all cells from a BMS of extremes",
            ),
            pytest.param(
                ("profile: meter_acrel_adw300", "profile: meter_loads_sim"), "profile_point",
                id="I/O module as grid meter",
            ),
            pytest.param(
                ("devices:\n", "safety: {not_applicable: {C01: no use}}\ndevices:\n"),
                "safety_section", id="a row that always applies",
            ),
            pytest.param(
                ("devices:\n", "safety: {overrides: [{cause: C04, level: 3, value: 90, reason: r}]}"
                 "\ndevices:\n"), "safety_section", id="a looser number",
            ),
        ],
    )  # fmt: skip
    def test_errors(self, write, change, rule):
        site, declared = load(write(edited(change)))
        assert severity(site, rule, declared=declared) is Severity.ERROR

    def test_a_tighter_number_is_fine(self, write):
        override = "safety: {overrides: [{cause: C04, level: 3, value: 42, reason: hot room}]}\n"
        site, declared = load(write(edited(("devices:\n", f"{override}devices:\n"))))
        assert "safety_section" not in findings(site, declared)

    @pytest.mark.parametrize(
        ("change", "rule"),
        [
            pytest.param(
                ("nominal_kw: 8, device: loads", "nominal_kw: 8, share_pct: 80"), "sheddable_load",
                id="no device switches it",
            ),
            pytest.param(
                ("nominal_kw: 8, device: loads", "nominal_kw: 8, device: meter"), "sheddable_load",
                id="a meter cannot switch",
            ),
            pytest.param(
                ("nominal_kw: 2, device: loads", "nominal_kw: 2, share_pct: 20"), None,
                id="a critical load needs no switch",
            ),
            pytest.param(
                ("devices:\n", "devices:\n  spare: {profile: meter_loads_sim, "
                 "transport: modbus_tcp, host: 10.0.0.9, port: 502}\n"), "unused_device",
                id="a device nobody uses",
            ),
        ],
    )  # fmt: skip
    def test_warnings(self, write, change, rule):
        site, declared = load(write(edited(change)))
        warned = {f.rule for f in judge(site, declared, None, TODAY) if f.severity == "warning"}
        assert warned == ({rule} if rule else set())

    def test_a_broken_profile_file_is_an_error_with_its_place(self, write, tmp_path):
        (tmp_path / "mine.yaml").write_text("schema: 1\nkind: pump\n")
        site, declared = load(write(edited(("profile: bms_rack_0x2000", "profile: mine.yaml"))))
        found = findings(site, declared)["profile"]
        assert found.severity is Severity.ERROR
        assert "mine.yaml:2:7: kind: must be one of" in found.text


def test_errors_come_first_and_the_report_is_plain_data(write):
    path = write(
        edited(HERE, ("hours: 1,", "hours: 72,"), ("  maker_authorisation: letter 1\n", ""))
    )
    found = report(path, TODAY)["findings"]
    assert [f["severity"] for f in found] == sorted(
        (f["severity"] for f in found), key=["error", "warning", "info"].index
    )
    assert found[0]["rule"] == "backup_hours"
    told = f"{path}:12:17: backup.hours: 72 h of 2 kW need 144.0 kWh"
    assert found[0]["text"].startswith(told), "an editor can jump there"
    assert (found[0]["file"], found[0]["line"], found[0]["col"]) == (str(path), 12, 17)
    assert {"severity", "rule", "where", "file", "line", "col", "text"} == set(found[0])
    missing = next(f for f in found if f["where"] == "site.maker_authorisation")
    assert (missing["line"], missing["col"]) == (1, 1), "what is not there: its section"


def test_a_site_file_that_does_not_load_is_not_judged(write):
    with pytest.raises(FileErrors):
        judge_file(write(edited(("id: small", "id: 5"))), TODAY)


def test_a_broken_tariff_is_told_with_its_own_place(write, tmp_path):
    path = write(SITE)
    (tmp_path / "tariff.yaml").write_text("name: 5\n")
    with pytest.raises(FileErrors, match=r"tariff\.yaml:1:7: name"):
        judge_file(path, TODAY)
