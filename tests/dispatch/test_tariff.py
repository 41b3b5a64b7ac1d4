"""Tariff files: hand-read prices, the last rule wins, and what is refused."""

import csv
import gzip
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from ems.dispatch.bill import WEAR_PER_KWH
from ems.dispatch.tariff import Tariff
from ems.dispatch.tariff_file import TariffFile, load_tariff
from ems.yamltext import FileErrors

TARIFFS = Path(__file__).parents[2] / "configs" / "tariffs"
SHANGHAI = ZoneInfo("Asia/Shanghai")
SHIPPED = {
    "beijing_two_part_10kv": "beijing-two-part-10kv",
    "beijing_single_part_lt1kv": "beijing-single-part-lt1kv",
    "tianjin_two_part_10kv": "tianjin-two-part-10kv",
    "jibei_two_part_10kv": "jibei-two-part-10kv",
    "hebei_south_assumed": "hebei-south-two-part-10kv",
}


def at(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=SHANGHAI)


def shipped(name: str) -> Tariff:
    return load_tariff(TARIFFS / f"{name}.yaml")


def written(tmp_path: Path, energy: str, more: str = "") -> Tariff:
    path = tmp_path / "tariff.yaml"
    path.write_text(
        f"name: t\ncurrency: CNY\ntimezone: Asia/Shanghai\n{more}energy:\n{energy}", "utf-8"
    )
    return load_tariff(path)


@pytest.mark.parametrize(
    ("local", "price", "period"),
    [
        pytest.param(at(2026, 3, 2, 6, 59), 0.288, "valley", id="last minute of the valley"),
        pytest.param(at(2026, 3, 2, 7, 0), 0.72, "flat", id="valley ends at 7"),
        pytest.param(at(2026, 3, 2, 9, 59), 0.72, "flat", id="just before the day peak"),
        pytest.param(at(2026, 3, 2, 10, 0), 1.152, "peak", id="day peak begins at 10"),
        pytest.param(at(2026, 3, 2, 13, 0), 0.72, "flat", id="day peak ends at 13"),
        pytest.param(at(2026, 7, 2, 11, 30), 1.3824, "sharp", id="July noon is sharp"),
        pytest.param(at(2026, 6, 30, 11, 30), 1.152, "peak", id="June noon is not"),
        pytest.param(at(2026, 1, 2, 20, 59), 1.3824, "sharp", id="January evening is sharp"),
        pytest.param(at(2026, 1, 2, 21, 0), 1.152, "peak", id="until 21"),
        pytest.param(at(2026, 1, 2, 23, 0), 0.288, "valley", id="valley again from 23"),
    ],
)
def test_beijing_two_part_by_hand(local: datetime, price: float, period: str) -> None:
    tariff = shipped("beijing-two-part-10kv")
    assert tariff.price_per_kwh(local) == pytest.approx(price)
    assert tariff.period(local) == period


def test_single_part_has_no_demand_charge_and_two_part_has() -> None:
    assert shipped("beijing-single-part-lt1kv").demand_rate_per_kw == 0.0
    assert shipped("beijing-two-part-10kv").demand_rate_per_kw == 51.0
    assert shipped("beijing-two-part-10kv").demand_window_s == 900.0


@pytest.mark.data
@pytest.mark.skipif(
    "SECONDLIFE_EMS_DATA" not in os.environ, reason="SECONDLIFE_EMS_DATA is not set"
)
def test_every_hour_of_every_month_against_the_reference_table() -> None:
    path = Path(os.environ["SECONDLIFE_EMS_DATA"]) / "tariff" / "tariff_hours.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    tariffs = {key: shipped(name) for key, name in SHIPPED.items()}
    assert len(rows) == len(SHIPPED) * 12 * 24
    for row in rows:
        tariff = tariffs[row["tariff_id"]]
        local = at(2026, int(row["month"]), 15, int(row["hour"]), 30)
        assert tariff.price_per_kwh(local) == pytest.approx(float(row["price_cny_per_kwh"])), row
        assert tariff.period(local) == row["period"], row


def test_prices_of_a_day_equal_single_look_ups() -> None:
    tariff = shipped("beijing-two-part-10kv")
    start = datetime(2026, 6, 30, 8, 15, tzinfo=UTC)
    many = tariff.prices(start, 200, 900.0, SHANGHAI)
    for step in (0, 1, 30, 31, 95, 96, 199):
        at = datetime.fromtimestamp(start.timestamp() + 900 * step, SHANGHAI)
        assert many[step] == tariff.price_per_kwh(at)


def test_prices_follow_summer_time(tmp_path: Path) -> None:
    # Berlin, 29 March 2026: 02:00 becomes 03:00, so local 07:00 is 05:00 UTC, not 06:00.
    tariff = written(tmp_path, "  default: 0.1\n  rules:\n    - {price: 0.2, hours: [[7, 8]]}\n")
    berlin = ZoneInfo("Europe/Berlin")
    before = tariff.prices(datetime(2026, 3, 28, tzinfo=UTC), 24, 3600.0, berlin)
    after = tariff.prices(datetime(2026, 3, 29, tzinfo=UTC), 24, 3600.0, berlin)
    assert np.flatnonzero(before == 0.2).tolist() == [6]
    assert np.flatnonzero(after == 0.2).tolist() == [5]


def test_the_last_matching_rule_wins(tmp_path: Path) -> None:
    energy = (
        "  default: 0.12\n  rules:\n"
        "    - {price: 0.22, weekdays: mon-fri, hours: [[7, 21]]}\n"
        "    - {price: 0.32, weekdays: mon-fri, hours: [[17, 21]]}\n"
    )
    tariff = written(tmp_path, energy)
    monday, sunday = at(2026, 3, 2, 18), at(2026, 3, 1, 18)
    assert tariff.price_per_kwh(monday) == 0.32
    assert tariff.price_per_kwh(monday.replace(hour=16)) == 0.22
    assert tariff.price_per_kwh(monday.replace(hour=21)) == 0.12
    assert tariff.price_per_kwh(sunday) == 0.12
    assert tariff.period(monday) == "", "a bare price belongs to no period"


def test_holidays_are_priced_like_sundays_and_makeup_days_like_workdays(tmp_path: Path) -> None:
    energy = "  default: 0.1\n  rules:\n    - {price: 0.2, weekdays: mon-fri}\n"
    more = "holidays: [2026-10-01]\nmakeup_workdays: [2026-10-10]\n"
    tariff = written(tmp_path, energy, more)
    assert tariff.price_per_kwh(at(2026, 9, 30)) == 0.2
    assert tariff.price_per_kwh(at(2026, 10, 1)) == 0.1, "a Thursday, but a holiday"
    assert tariff.price_per_kwh(at(2026, 10, 10)) == 0.2, "a Saturday that is worked"


def test_a_rule_for_holidays_alone(tmp_path: Path) -> None:
    energy = "  default: 0.1\n  rules:\n    - {price: 0.05, holidays: true, hours: [[10, 14]]}\n"
    tariff = written(tmp_path, energy, "holidays: [2026-05-01]\n")
    assert tariff.price_per_kwh(at(2026, 5, 1, 11)) == 0.05
    assert tariff.price_per_kwh(at(2026, 5, 3, 11)) == 0.1, "a Sunday is no holiday"


@pytest.mark.parametrize(
    ("energy", "complaint"),
    [
        pytest.param("  default: peak\n", "period 'peak' has no price", id="unknown default"),
        pytest.param(
            "  default: 0.1\n  rules:\n    - {hours: [[1, 2]]}\n",
            "either a price or a period",
            id="rule without a price",
        ),
        pytest.param(
            "  default: 0.1\n  rules:\n    - {price: 1.0, hours: [[22, 6]]}\n",
            "end before",
            id="hours across midnight",
        ),
        pytest.param(
            "  default: 0.1\n  rules:\n    - {price: 1.0, hours: [[1.1, 2]]}\n",
            "0.25",
            id="not a quarter of an hour",
        ),
        pytest.param(
            "  default: 0.1\n  rules:\n    - {price: 1.0, weekdays: fri-mon}\n",
            "backwards",
            id="weekdays backwards",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, energy: str, complaint: str) -> None:
    with pytest.raises(FileErrors, match=complaint):
        written(tmp_path, energy)


def test_a_currency_without_a_known_wear_cost_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tariff.yaml"
    path.write_text("name: t\ncurrency: USD\ntimezone: UTC\nenergy: {default: 0.1}\n", "utf-8")
    with pytest.raises(FileErrors, match="currency"):
        load_tariff(path)


def test_the_wear_cost_of_every_accepted_currency_is_known() -> None:
    assert set(get_args(TariffFile.model_fields["currency"].annotation)) == set(WEAR_PER_KWH)
