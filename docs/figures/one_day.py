"""Draw one local day of a simulation.

``python docs/figures/one_day.py OUT_FOLDER --date 2018-03-06 --png docs/explanation/one-day.png``

Reads ``OUT_FOLDER/timeseries.csv`` as ``ems simulate`` wrote it. Prices come from the tariff
of the site file, so that the shaded bands are the prices the planner saw.
"""

import argparse
import csv
from datetime import date, datetime, time, timedelta
from itertools import groupby
from pathlib import Path
from zoneinfo import ZoneInfo

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ems.config import load_site
from ems.dispatch.tariff import Tariff
from ems.dispatch.tariff_file import load_tariff
from ems.site import Site

ROOT = Path(__file__).resolve().parents[2]
SITE_FILE = ROOT / "configs" / "sites" / "peak-shaving.yaml"
SHADES = {
    "deep_valley": "#cfe8d5",
    "valley": "#dff0e2",
    "flat": "#ffffff",
    "peak": "#fbe7d3",
    "sharp": "#f7cfc0",
}
GREY, BLUE, RED, YELLOW, GREEN = "#4d4d4d", "#1f5fa8", "#c0392b", "#e0a100", "#1e7d45"
POWERS = (
    ("load", GREY, 1.0),
    ("PV", YELLOW, 1.0),
    ("grid", BLUE, 1.6),
    ("battery", RED, 1.6),
)
NUMERIC = (
    *("load_power_w", "pv_power_w", "grid_power_w", "battery_power_w", "soc_frac"),
    *("backup_energy_wh", "reserve_required_wh", "demand_target_w"),
)
LEGEND_ROOM = 1.25
"""Axes reach this much above the largest value, so that the legend hides nothing."""
Columns = dict[str, NDArray[np.float64]]


def read(path: Path, day: date, zone: ZoneInfo) -> Columns:
    """Rows of one local day: ``hour`` since local midnight, and the numeric columns.

    Raises:
        ValueError: the file has no row of that day.
    """
    values: dict[str, list[float]] = {name: [] for name in ("hour", *NUMERIC)}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            local = datetime.fromisoformat(row["timestamp_utc"]).astimezone(zone)
            if local.date() != day:
                continue
            values["hour"].append(local.hour + local.minute / 60 + local.second / 3600)
            for name in NUMERIC:
                values[name].append(float(row[name]))
    if not values["hour"]:
        raise ValueError(f"{path}: no row of {day}")
    return {name: np.array(column) for name, column in values.items()}


def bands(tariff: Tariff, day: date) -> list[tuple[float, float, str, float]]:
    """Price bands of a day: first hour, last hour, period, price per kWh."""
    midnight = datetime.combine(day, time())
    quarters = [midnight + timedelta(minutes=15 * i) for i in range(96)]
    found, begins = [], 0
    for period, group in groupby(quarters, tariff.period):
        ends = begins + len(list(group))
        found.append((begins / 4, ends / 4, period, tariff.price_per_kwh(quarters[begins])))
        begins = ends
    return found


def window_means(data: Columns, power_w: NDArray[np.float64], site: Site) -> NDArray[np.float64]:
    """Mean of the demand window that each row lies in, kW."""
    # A row is stamped with its end: the last row of a window belongs to that window.
    window = np.floor((data["hour"] * 3600 - 1) / site.grid.demand_window_s)
    _, index = np.unique(window, return_inverse=True)
    means_w = np.bincount(index, power_w) / np.bincount(index)
    return np.asarray(means_w[index] / 1e3)


def draw_power(axes: Axes, data: Columns) -> None:
    """Load, PV if there is any, grid and battery."""
    for name, colour, width in POWERS:
        kw = data[f"{name.lower()}_power_w"] / 1e3
        label = f"{name} (discharge +)" if name == "battery" else name
        if name != "PV" or kw.any():
            axes.plot(data["hour"], kw, color=colour, linewidth=width, label=label)
    axes.axhline(0, color="#999999", linewidth=0.8)
    axes.set_ylim(top=LEGEND_ROOM * data["load_power_w"].max() / 1e3)
    axes.set_ylabel("power, kW")
    axes.legend(loc="upper left", ncols=4, fontsize=8)


def draw_demand(axes: Axes, data: Columns, site: Site) -> None:
    """What is billed: window means without and with the battery, and the target held."""
    without = window_means(data, data["load_power_w"] - data["pv_power_w"], site)
    held = window_means(data, data["grid_power_w"], site)
    target = data["demand_target_w"] / 1e3
    axes.plot(data["hour"], without, color=GREY, linewidth=1, label="without the battery")
    axes.plot(data["hour"], held, color=BLUE, linewidth=1.6, label="as metered")
    axes.plot(data["hour"], target, color=RED, linestyle="--", linewidth=1.2, label="target")
    axes.set_ylim(0, LEGEND_ROOM * without.max())
    axes.set_ylabel(f"{site.grid.demand_window_s / 60:.0f}-min mean import, kW")
    axes.legend(loc="upper left", ncols=3, fontsize=8)


def draw_energy(axes: Axes, data: Columns) -> None:
    """Energy above the floor of the weakest cells, the reserve, and the state of charge."""
    kept, reserve = data["backup_energy_wh"] / 1e3, data["reserve_required_wh"] / 1e3
    axes.plot(data["hour"], kept, color=GREEN, linewidth=1.6, label="deliverable energy")
    axes.fill_between(
        data["hour"], reserve, color=RED, alpha=0.25, linewidth=0, label="backup reserve"
    )
    axes.set_ylim(0, LEGEND_ROOM * kept.max())
    axes.set_ylabel("energy, kWh")
    soc = axes.twinx()
    soc.plot(data["hour"], 100 * data["soc_frac"], color=GREEN, linestyle=":", linewidth=1.2)
    soc.set_ylim(0, 100)
    soc.set_ylabel("state of charge, %")
    axes.plot([], [], color=GREEN, linestyle=":", label="state of charge (right)")
    axes.legend(loc="upper left", ncols=3, fontsize=8)


def draw(data: Columns, day: date, site: Site, tariff: Tariff, png: Path) -> None:
    """Three stacked panels over one day, saved as PNG."""
    mpl.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure, panels = plt.subplots(
        3, 1, figsize=(10, 8.2), sharex=True, height_ratios=(3, 2, 2), layout="constrained"
    )
    for axes in panels:
        axes.grid(axis="y", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        for begins, ends, period, _ in bands(tariff, day):
            axes.axvspan(begins, ends, color=SHADES.get(period, "#eeeeee"), linewidth=0, zorder=0)
    draw_power(panels[0], data)
    draw_demand(panels[1], data, site)
    draw_energy(panels[2], data)
    for begins, ends, period, price in bands(tariff, day):
        panels[0].text(
            *((begins + ends) / 2, 1.01, f"{period}\n{price:.2f}"),
            transform=panels[0].get_xaxis_transform(),
            **{"ha": "center", "va": "bottom", "fontsize": 8, "color": "#555555"},
        )
    panels[2].set_xlim(0, 24)
    panels[2].set_xticks(range(0, 25, 3), [f"{hour:02}:00" for hour in range(0, 25, 3)])
    panels[2].set_xlabel(
        f"{day.day} {day:%B %Y}, {site.timezone}; prices in {tariff.currency} per kWh"
    )
    figure.savefig(png, dpi=110, metadata={"Software": None})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="folder that ems simulate wrote")
    parser.add_argument("--date", type=date.fromisoformat, required=True, help="YYYY-MM-DD")
    parser.add_argument("--png", type=Path, required=True, help="picture to write")
    parser.add_argument("--site", type=Path, default=SITE_FILE, help="site that was simulated")
    args = parser.parse_args()
    site = load_site(args.site)
    data = read(args.out / "timeseries.csv", args.date, ZoneInfo(site.timezone))
    draw(data, args.date, site, load_tariff(site.grid.tariff), args.png)


if __name__ == "__main__":
    main()
