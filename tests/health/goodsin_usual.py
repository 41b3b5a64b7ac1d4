"""Usual samples of the trained lots, made from shipped coefficients rather than measurements."""

import numpy as np
import pandas as pd

from ems.health.goodsin.tasks import pulse, relaxation

LFP = ("LFP_35Ah", "LFP", 35.0)
LMO = ("LMO_10Ah", "LMO", 10.0)


def usual_test(fitted, lot=LFP, cell="new", sample=1):
    """A whole pulse test of the lot's usual cell: ten levels, no answer."""
    name, chemistry, nominal_ah = lot
    code = pulse.lot_codes(f"{name}|{chemistry}|{nominal_ah}")[0]
    ways = fitted.model.parts[list(fitted.model.values).index(code)]
    usual_v = ways.parts[list(ways.values).index(pulse.KNOWN_WHOLE)].parts[0].centre
    table = pd.DataFrame(usual_v, columns=list(pulse.VOLTAGES)).round(4)
    table.insert(0, "lot", name)
    table.insert(1, "cell_id", cell)
    table.insert(2, "sample_no", float(sample))
    table.insert(3, "chemistry", chemistry)
    table.insert(4, "nominal_ah", nominal_ah)
    table.insert(5, "soc_nominal_pct", pulse.LEVELS_PCT)
    table.insert(6, "pulse_width_s", 5.0)
    return table


def rests(cell="new", cycles=30, lost=0.0, first_cycle=2):
    """Rest voltages of a 45 °C cell that settles a little deeper every cycle, V."""
    rows = []
    for number in range(cycles):
        deeper = 1.0 + lost * number / max(cycles - 1, 1)
        at = np.arange(14)
        volts = 4.1790 - 0.0240 * deeper * (1.0 - np.exp(-at / 5.5)) / (1.0 - np.exp(-13 / 5.5))
        rows.append(
            {
                "cell_id": cell,
                "cycle": float(first_cycle + number),
                "ambient_c": 45.0,
                "charge_c_rate": 0.5,
                "discharge_c_rate": 1.0,
                **dict(zip(relaxation.SAMPLES, volts.round(5), strict=True)),
            }
        )
    return pd.DataFrame(rows)
