"""What a scrape shows, over a real socket."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ems.clock import SystemClock
from ems.model import MISSING, Mode
from ems.telemetry.metrics import BUCKETS_S, Metrics
from ems.telemetry.metrics_table import FROM_RECORD, OWN, markdown
from ems.telemetry.outbox import Outbox
from ems.telemetry.uplink import Uplink
from tests.builders import make_snapshot
from tests.telemetry.records import CODES, cause, make_record, uplink_site

SITE = uplink_site()
EXPIRY_UTC = datetime(2031, 1, 8, 12, 0, tzinfo=UTC)
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"


@dataclass
class Timing:
    overruns: int = 0
    missed: int = 0
    last_compute_s: float = 0.002


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    served = Metrics(SITE, lambda: (("bms3", "own", EXPIRY_UTC), ("bms3", "server", EXPIRY_UTC)))
    yield served
    served.close()


def scrape(metrics: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    """Samples by name and label values, fetched and parsed as Prometheus would."""
    port = metrics.serve(0)
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_before_the_first_cycle_only_the_process_is_shown(metrics: Metrics) -> None:
    names = {name for name, _ in scrape(metrics)}
    assert "process_resident_memory_bytes" in names
    assert ("ems_mode", ("run",)) not in names


def test_a_record_is_shown_in_base_units(metrics: Metrics) -> None:
    metrics.update(make_record(SITE), Timing())
    shown = scrape(metrics)
    assert shown["ems_mode", ("run",)] == 1
    assert shown["ems_mode", ("backup",)] == 0
    assert shown["ems_load_power_watts", ()] == pytest.approx(4000)
    assert shown["ems_pack_power_watts", ("p1",)] == pytest.approx(528)
    assert shown["ems_pack_soc_ratio", ("p2",)] == pytest.approx(0.6)
    assert shown["ems_pack_allowed_charge_watts", ("p1",)] == 1400
    assert shown["ems_pack_cell_voltage_min_volts", ("p3",)] == pytest.approx(3.3)
    assert shown["ems_backup_low_seconds", ()] == pytest.approx(1.75 * 3600)
    assert shown["ems_demand_target_watts", ()] == 8000
    assert shown["ems_plan_age_seconds", ()] == 120
    assert shown["ems_pack_info", ("LFP", CODES[0], "p1")] == 1


def test_only_the_last_record_is_shown(metrics: Metrics) -> None:
    metrics.update(make_record(SITE), Timing())
    metrics.update(make_record(SITE, mode=Mode.BACKUP), Timing())
    shown = scrape(metrics)
    assert (shown["ems_mode", ("run",)], shown["ems_mode", ("backup",)]) == (0, 1)


def test_a_missing_value_has_no_sample(metrics: Metrics) -> None:
    snapshot = make_snapshot(SITE)
    snapshot = replace(snapshot, grid=replace(snapshot.grid, power_w=MISSING))
    record = make_record(SITE, snapshot=snapshot)
    record = replace(record, request=replace(record.request, plan_age_s=float("inf")))
    metrics.update(record, Timing())
    names = {name for name, _ in scrape(metrics)}
    assert "ems_grid_power_watts" not in names
    assert "ems_load_power_watts" not in names
    assert "ems_plan_age_seconds" not in names
    assert "ems_demand_window_watts" in names


def test_interlocks_by_level_and_by_cause(metrics: Metrics) -> None:
    causes = (cause(level=2), cause(level=2, pack=1), cause("C41", 1, None))
    metrics.update(make_record(SITE, causes=causes), Timing())
    shown = scrape(metrics)
    assert [shown["ems_interlocks_active", (str(i),)] for i in range(1, 6)] == [1, 2, 0, 0, 0]
    assert shown["ems_interlock_level", ("C02", "cell_voltage_low", "p2")] == 2
    assert shown["ems_interlock_level", ("C41", "cell_voltage_low", "")] == 1


def test_cycle_durations_are_cumulated_with_inclusive_bounds(metrics: Metrics) -> None:
    for duration_s in (0.001, 0.0011, 0.3, 99.0):
        metrics.update(make_record(SITE), Timing(overruns=1, missed=2, last_compute_s=duration_s))
    shown = scrape(metrics)
    buckets = [shown["ems_cycle_duration_seconds_bucket", (str(b),)] for b in BUCKETS_S]
    assert buckets == [1, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3]
    assert shown["ems_cycle_duration_seconds_bucket", ("+Inf",)] == 4
    assert shown["ems_cycle_duration_seconds_count", ()] == 4
    assert shown["ems_cycle_duration_seconds_sum", ()] == pytest.approx(99.3021)
    assert shown["ems_cycle_overruns_total", ()] == 1
    assert shown["ems_cycle_missed_total", ()] == 2


def test_the_end_of_both_certificates_is_shown_as_a_time(metrics: Metrics) -> None:
    metrics.update(make_record(SITE), Timing())
    shown = scrape(metrics)
    for whose in ("own", "server"):
        expiry = shown["ems_certificate_expiry_timestamp_seconds", ("bms3", whose)]
        assert expiry == EXPIRY_UTC.timestamp()


def test_without_certificates_there_is_no_sample() -> None:
    metrics = Metrics(SITE)
    metrics.update(make_record(SITE), Timing())
    names = {name for name, _ in scrape(metrics)}
    metrics.close()
    assert "ems_certificate_expiry_timestamp_seconds" not in names


def test_every_metric_of_the_table_appears_and_nothing_else(
    metrics: Metrics, tmp_path: Path
) -> None:
    from ems.model import Plan
    from tests.builders import NOON_UTC

    outbox = Outbox(tmp_path / "outbox.sqlite", SystemClock())
    assert SITE.uplink is not None
    uplink = Uplink(outbox, SITE.uplink, SITE.id, "b", SystemClock())
    record = make_record(SITE, causes=(cause(),))
    flat = record.estimate.soc_frac
    plan = Plan("x", NOON_UTC, NOON_UTC, 900.0, 1, "piqp", 1.0, flat, flat, flat, flat, 0.0, 0.04)
    metrics.update(record, Timing(), plan, outbox, uplink)
    names = {name for name, _ in scrape(metrics) if name.startswith("ems_")}
    outbox.close()
    families = {
        name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for name in names
    }
    assert families == {metric.name for metric in (*FROM_RECORD, *OWN)}
    assert not any(name.endswith("_created") for name in names)


def test_names_follow_prometheus_conventions() -> None:
    for metric in (*FROM_RECORD, *OWN):
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        for unit in ("_w", "_kw", "_wh", "_pct", "_ms", "_percent", "_hours"):
            assert not metric.name.endswith(unit), metric.name


def test_the_reference_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown()
