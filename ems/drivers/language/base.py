"""What every part of the profile language shares."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

PACK_POINTS: Final = (
    "voltage_v", "current_a", "soc_frac", "soh_frac", "charge_limit_a", "discharge_limit_a",
    "alarm_level", "contactor", "heartbeat", "cell_voltage_v", "cell_temp_c",
)  # fmt: skip
CONVERTER_POINTS: Final = ("power_w", "setpoint_w", "state", "dc_voltage_v", "dc_current_a")
METER_POINTS: Final = (
    "power_w", "voltage_v", "frequency_hz", "import_wh", "load_power_w", "load_on", "pv_power_w",
)  # fmt: skip

UNIT_OF_TOKEN: Final = {
    "v": "V", "a": "A", "w": "W", "wh": "Wh", "hz": "Hz", "c": "degC", "s": "s", "frac": "1",
    "ah": "Ah", "ohm": "ohm", "var": "var", "va": "VA", "pct": "%",
}  # fmt: skip
"""Unit that a point must have after scaling, by the last token of its name."""

REGISTERS: Final = {
    "int16": 1, "uint16": 1, "bool": 1, "bcd16": 1, "int32": 2, "uint32": 2, "float32": 2,
    "bcd32": 2, "int64": 4, "uint64": 4, "float64": 4,
}  # fmt: skip
"""Registers of each numeric type."""

Table = Literal["holding", "input"]
CommandValue = Literal[
    "power_w", "power_limit_w", "charge_limit_a", "contactor", "load_on", "device_timeout_s"
]

Place = tuple[str | int, ...]
Problem = tuple[Place, str]
"""Where in the profile, and what is wrong there."""


class Strict(BaseModel):
    """Unknown keys are errors; nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)
