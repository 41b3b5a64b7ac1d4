"""Things that go wrong on purpose: names, descriptions, and which of them act now."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of event."""

    description: str
    target: str
    """``pack``, ``converter`` or ``site``: whose id may be the target."""
    low: float = -inf
    """Smallest and largest value that means something."""
    high: float = inf


KINDS: Final = {
    "grid_outage": Kind(
        "The grid is lost; with value 1 the site meter, fed by it, falls silent too.",
        "site",
        0.0,
        1.0,
    ),
    "pack_lost": Kind("The BMS refuses connections; the pack itself works on.", "pack"),
    "telemetry_gap": Kind("No device answers or takes a command.", "site"),
    "price_noise": Kind(
        "Prices reach the planner wrong by up to the share value; the plant is not touched.",
        "site",
        0.0,
        1.0,
    ),
    "cell_short": Kind(
        "Self-discharge of the tired group jumps by value A (0: rated Ah / 50).", "pack", 0.0, 1e4
    ),
    "sensor_stuck": Kind(
        "The BMS repeats its last frame; with value 1 its heartbeat still counts.", "pack", 0.0, 1.0
    ),
    "cell_voltage_offset": Kind(
        "The first reported cell reads value V too high (0: +0.1 V).", "pack", -5.0, 5.0
    ),
    "temp_sensor_fail": Kind(
        "Temperature sensor number value reads −273 °C.", "pack", 0.0, 1_000.0
    ),
    "bms_soc_reset": Kind("The BMS suddenly reports 100 % SoC and counts on from there.", "pack"),
    "pcs_ignore": Kind("The converter keeps its power and ignores its set-point.", "converter"),
    "pcs_wrong_sign": Kind("The PCS charges when told to discharge and back.", "converter"),
    "pcs_fault": Kind("The converter trips, delivers nothing and refuses set-points.", "converter"),
    "pcs_lost": Kind("The converter refuses connections; its own timeout acts.", "converter"),
    "meter_lost": Kind("The site meter refuses connections.", "site"),
    "contactor_weld": Kind("The contactor stays closed when told to open.", "pack"),
    "ambient_step": Kind(
        "Ambient temperature changes by value °C (cold snap: negative).", "site", -80.0, 80.0
    ),
    "overheat": Kind(
        "Each cell is heated with value W in addition (0: 20 W).", "pack", 0.0, 1_000.0
    ),
    "load_step": Kind("The site load changes by value W.", "site", -1e9, 1e9),
}
EVENTS: Final = {name: kind.description for name, kind in KINDS.items()}
"""Event name -> one-line description."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One injected event; ``index`` is the pack or converter, −1 for the site."""

    event: str
    index: int
    end_s: float
    value: float


@dataclass(slots=True)
class Effects:
    """What the active faults do to the plant now."""

    grid_out: bool = False
    silent: bool = False
    meter_lost: bool = False
    ambient_step_c: float = 0.0
    load_step_w: float = 0.0
    packs_lost: frozenset[int] = frozenset()
    stuck: dict[int, bool] = field(default_factory=dict)
    """Pack -> whether its heartbeat still counts."""
    leak_a: dict[int, float] = field(default_factory=dict)
    heat_w: dict[int, float] = field(default_factory=dict)
    cell_offset_v: dict[int, float] = field(default_factory=dict)
    sensors_failed: frozenset[tuple[int, int]] = frozenset()
    welded: frozenset[int] = frozenset()
    converters_lost: frozenset[int] = frozenset()
    converters_failed: frozenset[int] = frozenset()
    deaf: frozenset[int] = frozenset()
    reversed_sign: frozenset[int] = frozenset()


class FaultBoard:
    """Keeps the injected events and works out their joint effect.

    Args:
        packs: Pack ids in order.
        converters: Converter ids in order.
    """

    def __init__(self, packs: Sequence[str], converters: Sequence[str]) -> None:
        self._ids = {"pack": list(packs), "converter": list(converters), "site": []}
        self._active: list[Fault] = []
        self.effects = Effects()
        self.next_end_s = inf

    def inject(
        self, event: str, target: str, now_s: float, duration_s: float, value: float
    ) -> list[int]:
        """Start an event now; ``duration_s`` 0 means until the end.

        Returns:
            Indices of the packs or converters concerned; ``[-1]`` for the site.

        Raises:
            ValueError: unknown event or target, a duration or value that cannot be.
        """
        if event not in KINDS:
            near = difflib.get_close_matches(event, KINDS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(KINDS)}"
            raise ValueError(f"unknown event {event!r}{hint}")
        if not (0.0 <= duration_s < inf and abs(value) < inf):
            raise ValueError(f"{event}: duration {duration_s} s or value {value} is not usable")
        kind = KINDS[event]
        if not kind.low <= value <= kind.high:
            raise ValueError(f"{event}: value {value:g} is outside {kind.low:g} to {kind.high:g}")
        indices = self._indices(event, target)
        end_s = now_s + duration_s if duration_s > 0.0 else inf
        self._active += [Fault(event, index, end_s, value) for index in indices]
        self._refresh()
        return indices

    def expire(self, now_s: float) -> None:
        """Drop events that have ended; call when ``now_s >= next_end_s``."""
        self._active = [fault for fault in self._active if fault.end_s > now_s]
        self._refresh()

    def _indices(self, event: str, target: str) -> list[int]:
        ids = self._ids[KINDS[event].target]
        if not ids:
            if target not in ("", "*"):
                raise ValueError(f"{event} concerns the whole site: target {target!r} must be *")
            return [-1]
        if target in ("", "*"):
            return list(range(len(ids)))
        if target not in ids:
            raise ValueError(
                f"{event}: no {KINDS[event].target} {target!r}; known: {', '.join(ids)} or *"
            )
        return [ids.index(target)]

    def _refresh(self) -> None:
        def which(event: str) -> frozenset[int]:
            return frozenset(f.index for f in self._active if f.event == event)

        def values(event: str, default: float) -> dict[int, float]:
            sums: dict[int, float] = {}
            for f in self._active:
                if f.event == event:
                    sums[f.index] = sums.get(f.index, 0.0) + (f.value or default)
            return sums

        def total(event: str) -> float:
            return sum(f.value for f in self._active if f.event == event)

        self.effects = Effects(
            grid_out=bool(which("grid_outage")),
            silent=bool(which("telemetry_gap")),
            meter_lost=bool(which("meter_lost")) or total("grid_outage") > 0.0,
            ambient_step_c=total("ambient_step"),
            load_step_w=total("load_step"),
            packs_lost=which("pack_lost"),
            stuck={f.index: f.value != 0.0 for f in self._active if f.event == "sensor_stuck"},
            leak_a=values("cell_short", 0.0),
            heat_w=values("overheat", 20.0),
            cell_offset_v=values("cell_voltage_offset", 0.1),
            sensors_failed=frozenset(
                (f.index, int(f.value)) for f in self._active if f.event == "temp_sensor_fail"
            ),
            welded=which("contactor_weld"),
            converters_lost=which("pcs_lost"),
            converters_failed=which("pcs_fault"),
            deaf=which("pcs_ignore"),
            reversed_sign=which("pcs_wrong_sign"),
        )
        self.next_end_s = min((f.end_s for f in self._active), default=inf)
