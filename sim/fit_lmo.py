"""Fit of the LMO (Nissan Leaf) cell from measured records: OCV table, R0 and two RC pairs.

Prints the numbers that ``ems/health/ocv.py`` and ``sim/chemistry.py`` ship, with the
error of the fit; ``--plot FILE`` draws them. Not needed at run time: it exists so that
every shipped number can be recomputed.

    SECONDLIFE_EMS_DATA=<folder> python -m sim.fit_lmo [--plot docs/explanation/lmo-fit.png]

Records: S. Wiggins, S. Allu, H. Wang (ORNL), Nissan Leaf cell data,
doi 10.5281/zenodo.2580327, MIT. Current there is negative on discharge; it is turned
here once, so that discharge is positive as everywhere else.
"""

import argparse
import csv
import gzip
import os
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ems.health import ocv
from ems.site import Chemistry

FloatArray = NDArray[np.float64]

C15_DISCHARGE_24C: Final = 19
C15_CHARGE_24C: Final = 21
"""Segments of the C/15 record: the last full cycle at 24 degC (third of its block)."""
HPPC_PULSE_A: Final = 30.0
KNOTS_FRAC: Final = np.concatenate(
    (np.arange(0.0, 0.1, 0.0125), np.arange(0.1, 1.0, 0.025), (0.9875, 1.0))
)


@dataclass(frozen=True, slots=True)
class Segment:
    """One step of a cycler record; current is positive on discharge."""

    mode: str
    time_s: FloatArray
    current_a: FloatArray
    voltage_v: FloatArray
    charge_ah: FloatArray
    """Ah moved within the step, magnitude."""


@dataclass(frozen=True, slots=True)
class OcvFit:
    """OCV of the cell over its own SoC, and how well it agrees with the records."""

    soc_frac: FloatArray
    ocv_v: FloatArray
    capacity_ah: float
    """Between OCV 3.0 V and the rest after a full charge, Ah."""
    lead_ohm: float
    """Series resistance of the C/15 fixture, removed from both branches."""
    hysteresis_v: float
    """Mean distance between charge and discharge branch after that, V."""
    rmse_v: float
    """Knot table against the mean of both branches, V."""
    rest_soc_frac: FloatArray
    rest_v: FloatArray
    """One-hour rests of the HPPC record: an independent check."""
    rest_rmse_v: float


@dataclass(frozen=True, slots=True)
class RcFit:
    """R0 and two RC pairs, means over the pulses between 10 and 95 % SoC."""

    r0_ohm: float
    r1_ohm: float
    tau1_s: float
    r2_ohm: float
    tau2_s: float
    rmse_v: float
    r0_by_pulse_ohm: FloatArray
    r30_by_pulse_ohm: FloatArray
    """Voltage drop after 30 s over current: what a 30 s pulse sees."""
    soc_frac: FloatArray


def read_segments(path: Path) -> list[Segment]:
    """Steps of a record in order; a new one starts wherever the step number changes."""
    with gzip.open(path, "rt", newline="") as stream:
        rows = list(csv.DictReader(stream))
    step = np.array([int(r["step"]) for r in rows])
    edges = np.flatnonzero(np.diff(step)) + 1
    columns = {
        name: np.array([float(r[name]) for r in rows])
        for name in ("time_s", "current_a", "voltage_v", "step_charge_ah")
    }
    return [
        Segment(
            mode=rows[part[0]]["mode"],
            time_s=columns["time_s"][part],
            current_a=-columns["current_a"][part],
            voltage_v=columns["voltage_v"][part],
            charge_ah=np.abs(columns["step_charge_ah"][part]),
        )
        for part in np.split(np.arange(len(rows)), edges)
    ]


def fit_ocv(c15: list[Segment], hppc: list[Segment]) -> OcvFit:
    """OCV table: mean of both C/15 branches at 24 degC, low end from the HPPC record.

    The C/15 fixture reads the terminals through about 0.11 ohm (the step at every
    start and stop of current shows it), so its discharge stops at a true 3.24 V. The
    last 0.7 Ah down to 3.0 V follow the final 10 A discharge of the HPPC record,
    shifted to join. The HPPC rests are left out of the fit and used as a check.
    """
    discharge, charge = c15[C15_DISCHARGE_24C - 1], c15[C15_CHARGE_24C - 1]
    rest_v = c15[C15_DISCHARGE_24C - 2].voltage_v[-1]
    lead_ohm = float((rest_v - discharge.voltage_v[0]) / discharge.current_a[0])
    ah = float(discharge.charge_ah[-1])
    down_v = discharge.voltage_v + discharge.current_a * lead_ohm
    up_v = charge.voltage_v + charge.current_a * lead_ohm
    grid = np.linspace(0.0, 1.0, 401)
    down = np.interp(grid, 1.0 - discharge.charge_ah[::-1] / ah, down_v[::-1])
    up = np.interp(grid, charge.charge_ah / charge.charge_ah[-1], up_v)
    mean_v = (down + up) / 2

    tail = hppc[50]
    drawn_ah = _hppc_drawn_ah(hppc)[50] + tail.charge_ah
    shift_v = mean_v[0] - float(np.interp(ah, drawn_ah, tail.voltage_v))
    slope = (tail.voltage_v[-1] - tail.voltage_v[-60]) / (drawn_ah[-1] - drawn_ah[-60])
    capacity_ah = float(drawn_ah[-1] + (3.0 - tail.voltage_v[-1] - shift_v) / slope)
    beyond = drawn_ah > ah
    tail_soc = np.append(1.0 - drawn_ah[beyond] / capacity_ah, 0.0)[::-1]
    tail_v = np.append(tail.voltage_v[beyond] + shift_v, 3.0)[::-1]
    soc = np.concatenate((tail_soc, 1.0 - (1.0 - grid) * ah / capacity_ah))
    volts = np.concatenate((tail_v, mean_v))

    knots_v = np.interp(KNOTS_FRAC, soc, volts)
    table_v = ocv.pchip(KNOTS_FRAC, knots_v, soc)
    rest_soc = 1.0 - _hppc_drawn_ah(hppc)[6:50:5] / capacity_ah
    rests_v = np.array([hppc[k].voltage_v[-1] for k in range(6, 50, 5)])
    at_rest = ocv.pchip(KNOTS_FRAC, knots_v, rest_soc)
    return OcvFit(
        soc_frac=KNOTS_FRAC,
        ocv_v=knots_v,
        capacity_ah=capacity_ah,
        lead_ohm=lead_ohm,
        hysteresis_v=float(np.mean(up - down)),
        rmse_v=_rmse(table_v - volts),
        rest_soc_frac=rest_soc,
        rest_v=rests_v,
        rest_rmse_v=_rmse(at_rest - rests_v),
    )


def fit_rc(hppc: list[Segment], ocv_fit: OcvFit) -> RcFit:
    """R0, R1, R2 by linear least squares over every 30 A pulse and its 40 s of rest.

    The time constants are searched on a grid common to all pulses; the slow drift of
    the OCV during the pulse is taken from the fitted table.
    """
    drawn_ah = _hppc_drawn_ah(hppc)
    pulses = [k for k in range(7, 45, 5)]
    soc = 1.0 - drawn_ah[pulses] / ocv_fit.capacity_ah

    def attempt(tau1_s: float, tau2_s: float) -> tuple[float, FloatArray]:
        fits = [_fit_pulse(hppc, k, drawn_ah[k], ocv_fit, tau1_s, tau2_s) for k in pulses]
        return _rmse(np.concatenate([f[1] for f in fits])), np.array([f[0] for f in fits])

    taus = product((1.0, 2.0, 3.0, 4.0, 6.0, 8.0), (25.0, 35.0, 50.0, 70.0, 100.0, 140.0))
    tau1_s, tau2_s = min(taus, key=lambda pair: attempt(*pair)[0])
    error, ohms = attempt(tau1_s, tau2_s)
    drops = [hppc[k - 1].voltage_v[-1] - hppc[k].voltage_v[-1] for k in pulses]
    return RcFit(
        r0_ohm=float(ohms[:, 0].mean()),
        r1_ohm=float(ohms[:, 1].mean()),
        tau1_s=tau1_s,
        r2_ohm=float(ohms[:, 2].mean()),
        tau2_s=tau2_s,
        rmse_v=error,
        r0_by_pulse_ohm=ohms[:, 0],
        r30_by_pulse_ohm=np.array(drops) / HPPC_PULSE_A,
        soc_frac=soc,
    )


def _fit_pulse(
    hppc: list[Segment], k: int, drawn_ah: float, fit: OcvFit, tau1_s: float, tau2_s: float
) -> tuple[FloatArray, FloatArray]:
    """(R0, R1, R2) of one pulse and the residual voltages."""
    pulse, rest = hppc[k], hppc[k + 1]
    start_s = hppc[k - 1].time_s[-1]
    end_s = pulse.time_s[-1]
    t = np.concatenate((pulse.time_s, rest.time_s))
    on = np.concatenate((np.ones(pulse.time_s.size), np.zeros(rest.time_s.size)))
    moved_ah = HPPC_PULSE_A * (np.minimum(t, end_s) - start_s) / 3600.0
    v0 = hppc[k - 1].voltage_v[-1]
    reference = ocv.pchip(
        fit.soc_frac, fit.ocv_v, 1.0 - (drawn_ah + np.append(0.0, moved_ah)) / fit.capacity_ah
    )
    drop = v0 - np.concatenate((pulse.voltage_v, rest.voltage_v)) - (reference[0] - reference[1:])

    def answer(tau_s: float) -> FloatArray:
        rising = 1.0 - np.exp(-(np.minimum(t, end_s) - start_s) / tau_s)
        return np.asarray(rising * np.exp(-np.maximum(t - end_s, 0.0) / tau_s))

    basis = HPPC_PULSE_A * np.stack((on, answer(tau1_s), answer(tau2_s)), axis=1)
    ohms, *_ = np.linalg.lstsq(basis, drop, rcond=None)
    return ohms, drop - basis @ ohms


def _hppc_drawn_ah(hppc: list[Segment]) -> FloatArray:
    """Ah drawn since the full charge at the start of each segment."""
    drawn = np.zeros(len(hppc))
    total = 0.0
    for k, segment in enumerate(hppc):
        drawn[k] = total
        if k > 1 and segment.mode != "REST":
            total += float(np.sign(segment.current_a.mean()) * segment.charge_ah[-1])
    return drawn


def _rmse(error_v: FloatArray) -> float:
    return float(np.sqrt(np.mean(np.square(error_v))))


def run(data: Path) -> tuple[OcvFit, RcFit]:
    """Both fits from the folder of measured data."""
    c15 = read_segments(data / "cells" / "leaf_c15_10_24_40c.csv.gz")
    hppc = read_segments(data / "cells" / "leaf_hppc_25c.csv.gz")
    fit = fit_ocv(c15, hppc)
    return fit, fit_rc(hppc, fit)


def report(fit: OcvFit, rc: RcFit) -> str:
    """The fitted numbers as text, with the shipped table beside them."""
    shipped = ocv.ocv_v(Chemistry.LMO, fit.soc_frac)
    lines = [
        f"capacity 3.0 V .. full: {fit.capacity_ah:.2f} Ah",
        f"fixture resistance removed: {fit.lead_ohm * 1e3:.0f} mohm",
        f"charge - discharge branch: {fit.hysteresis_v * 1e3:.0f} mV (mean)",
        f"OCV table RMSE against the C/15 mean: {fit.rmse_v * 1e3:.2f} mV",
        f"OCV table RMSE against HPPC rests:    {fit.rest_rmse_v * 1e3:.2f} mV",
        f"shipped table, largest difference:    {np.max(np.abs(shipped - fit.ocv_v)) * 1e3:.2f} mV",
        f"R0 {rc.r0_ohm * 1e3:.3f} mohm, R1 {rc.r1_ohm * 1e3:.3f} mohm / {rc.tau1_s:.0f} s, "
        f"R2 {rc.r2_ohm * 1e3:.3f} mohm / {rc.tau2_s:.0f} s, pulse RMSE {rc.rmse_v * 1e3:.2f} mV",
        "soc_frac ocv_v:",
        *(f"  ({s:.4f}, {v:.4f})," for s, v in zip(fit.soc_frac, fit.ocv_v, strict=True)),
    ]
    return "\n".join(lines)


def plot(fit: OcvFit, rc: RcFit, path: Path) -> None:
    """Two panels: OCV with the independent rests, and pulse resistance over SoC."""
    import matplotlib  # noqa: PLC0415 -- only this option needs it

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    soc = np.linspace(0.0, 1.0, 501)
    left.plot(soc, ocv.ocv_v(Chemistry.LMO, soc), label="shipped table")
    left.plot(fit.rest_soc_frac, fit.rest_v, "o", label="1 h rests (HPPC, not fitted)")
    left.set(xlabel="SoC", ylabel="OCV, V", title=f"OCV; rests RMSE {fit.rest_rmse_v * 1e3:.1f} mV")
    left.legend()
    right.plot(rc.soc_frac, rc.r0_by_pulse_ohm * 1e3, "s-", label="R0 fitted")
    right.plot(rc.soc_frac, rc.r30_by_pulse_ohm * 1e3, "o-", label="30 s pulse, total")
    right.set(xlabel="SoC", ylabel="mΩ", title="Resistance at 25 °C, 30 A", ylim=(0, None))
    right.legend()
    figure.savefig(path, dpi=110)


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--plot", type=Path, help="draw the fit into this PNG file")
    arguments = parser.parse_args()
    folder = os.environ.get("SECONDLIFE_EMS_DATA")
    if not folder:
        sys.stderr.write("SECONDLIFE_EMS_DATA is not set: it names the folder of measured data\n")
        return 2
    fit, rc = run(Path(folder))
    sys.stdout.write(report(fit, rc) + "\n")
    if arguments.plot:
        plot(fit, rc, arguments.plot)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
