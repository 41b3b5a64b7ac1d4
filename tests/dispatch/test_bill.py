"""Bills worked out by hand."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from ems.dispatch.bill import Bill, bill, monthly_peaks_w, wear_per_kwh, window_means
from ems.dispatch.tariff import Tariff
from ems.dispatch.tariff_file import load_tariff

SHANGHAI = ZoneInfo("Asia/Shanghai")
BEIJING = Path(__file__).parents[2] / "configs" / "tariffs" / "beijing-two-part-10kv.yaml"


@pytest.fixture(scope="module")
def tariff() -> Tariff:
    return load_tariff(BEIJING)


def local(month: int, day: int, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=SHANGHAI).astimezone(UTC)


def test_energy_by_the_hour_and_demand_by_the_largest_quarter(tariff: Tariff) -> None:
    # 06:30 to 07:30: half an hour of valley at 0.288, half an hour of flat at 0.72.
    import_w = np.array([100_000.0, 100_000.0, 100_000.0, 40_000.0])
    result = bill(
        tariff, SHANGHAI, local(3, 2, 6) + timedelta(minutes=30), 900.0, import_w, wear=1.5
    )
    assert result.energy == pytest.approx(50 * 0.288 + 25 * 0.72 + 10 * 0.72)
    assert result.demand == pytest.approx(100 * 51.0)
    assert result.wear == 1.5
    assert result.total == pytest.approx(result.energy + result.demand + 1.5)


def test_a_minute_above_does_not_make_a_peak_but_its_quarter_does(tariff: Tariff) -> None:
    minutes_w = np.zeros(30)
    minutes_w[3] = 150_000.0
    result = bill(tariff, SHANGHAI, local(3, 2), 60.0, minutes_w)
    assert result.demand == pytest.approx(10 * 51.0), "150 kW for one of 15 min is 10 kW"


def test_the_clock_cuts_the_windows_not_the_load(tariff: Tariff) -> None:
    # Ten minutes at 90 kW across a boundary: five in each quarter, 30 kW each.
    minutes_w = np.zeros(30)
    minutes_w[10:20] = 90_000.0
    assert bill(tariff, SHANGHAI, local(3, 2), 60.0, minutes_w).demand == pytest.approx(30 * 51.0)


def test_each_calendar_month_pays_its_own_peak_in_full(tariff: Tariff) -> None:
    # Four quarters around local midnight of the 1st of April, which is 16:00 UTC.
    import_w = np.array([20e3, 70e3, 30e3, 10e3])
    start = local(4, 1) - timedelta(minutes=30)
    assert start.hour == 15
    peaks = monthly_peaks_w(tariff, SHANGHAI, start, 900.0, import_w)
    assert peaks == {(2026, 3): 70e3, (2026, 4): 30e3}
    assert bill(tariff, SHANGHAI, start, 900.0, import_w).demand == pytest.approx(100 * 51.0)


def test_export_earns_the_feed_in_price_and_makes_no_demand(tariff: Tariff) -> None:
    assert tariff.feed_in_per_kwh == 0.0
    assert bill(tariff, SHANGHAI, local(3, 2), 900.0, np.full(4, -50e3)) == Bill(0.0, 0.0, 0.0)


def test_a_window_covered_in_part_is_averaged_over_the_whole(tariff: Tariff) -> None:
    start = local(3, 2) + timedelta(minutes=10)
    means, starts = window_means(np.full(10, 30e3), start, 60.0, 900.0)
    assert means == pytest.approx([10e3, 10e3])
    assert starts[0] == local(3, 2)


def test_a_window_must_be_whole_steps() -> None:
    with pytest.raises(ValueError, match="whole number"):
        window_means(np.zeros(3), local(3, 2), 700.0, 900.0)


def test_wear_is_known_by_currency() -> None:
    assert wear_per_kwh("CNY") == 0.16
    assert wear_per_kwh("EUR") == 0.02
    with pytest.raises(KeyError):
        wear_per_kwh("XXX")
