"""What measured numbers say about a device: pure, so that every verdict can be tested."""

from dataclasses import dataclass
from typing import Final

from ems.commission.record import Check, Name, Verdict

GRACE_S: Final = 1.0
"""A device may be this much later than its promise: polls and ramps take their time."""
SHARE_OF_INVERSION: Final = 0.3
"""A change this large the wrong way is a wrong sign, a smaller one is no answer."""


@dataclass(frozen=True, slots=True)
class Moved:
    """One quantity before and during a small discharge."""

    what: str
    unit: str
    before: float | None
    during: float | None
    expected: float
    """Change that the discharge must cause, with its sign."""
    tolerance: float

    @property
    def change(self) -> float | None:
        if self.before is None or self.during is None:
            return None
        return self.during - self.before

    def problem(self) -> str:
        """What is wrong, as one clause; empty when it moved as it must."""
        change, wanted = self.change, f"{self.expected:+.4g} {self.unit}"
        if change is None:
            return f"{self.what} could not be read"
        if abs(change - self.expected) <= self.tolerance:
            return ""
        if change / self.expected <= -SHARE_OF_INVERSION:
            return (
                f"{self.what} moved {change:+.4g} {self.unit} where {wanted} was expected: its "
                "sign is turned, or the device is wired the other way round"
            )
        return f"{self.what} moved {change:+.4g} {self.unit} where {wanted} was expected"


def sign(moved: list[Moved], setpoint_w: float, shown_w: float | None) -> Check:
    """Whether everybody means the same by a discharge."""
    problems = [found for m in moved if (found := m.problem())]
    if shown_w is not None and abs(shown_w - setpoint_w) > max(10.0, 0.02 * abs(setpoint_w)):
        problems.insert(0, f"the device shows a set-point of {shown_w:.0f} W")
    measured: dict[str, object] = {"setpoint_w": setpoint_w, "setpoint_shown_w": shown_w}
    for m in moved:
        measured[m.what] = {
            "before": m.before, "during": m.during, "expected_change": m.expected, "unit": m.unit,
        }  # fmt: skip
    if problems:
        text = f"discharge of {setpoint_w:.0f} W: {'; '.join(problems)}"
        return Check(Name.SIGN, Verdict.FAILED, text, measured)
    told = ", ".join(f"{m.what} {m.change:+.4g} {m.unit}" for m in moved if m.change is not None)
    text = f"discharge of {setpoint_w:.0f} W: {told}"
    return Check(Name.SIGN, Verdict.PASSED, text, measured)


def timeout(promised_s: float, last_power_s: float | None, first_still_s: float | None) -> Check:
    """Whether a device went to its safe value by itself in time.

    Args:
        promised_s: What the site file says, s.
        last_power_s: Age of the last command it took when power was seen last, s;
            ``None`` when it was never seen.
        first_still_s: The same when it was first seen at rest; ``None`` when it never was.
    """
    measured = {
        "promised_s": promised_s,
        "power_until_s": last_power_s,
        "at_rest_from_s": first_still_s,
    }
    limit_s = promised_s + GRACE_S
    if last_power_s is None:
        text = "it was not seen carrying power, so nothing could be measured"
        return Check(Name.TIMEOUT, Verdict.FAILED, text, measured)
    if first_still_s is None:
        text = f"still carried power {last_power_s:.1f} s after the last command"
        return Check(Name.TIMEOUT, Verdict.FAILED, text, measured)
    text = (
        f"at rest between {last_power_s:.1f} s and {first_still_s:.1f} s after the last command, "
        f"promised within {promised_s:g} s"
    )
    late = last_power_s > limit_s
    return Check(Name.TIMEOUT, Verdict.FAILED if late else Verdict.PASSED, text, measured)


def order(
    stop_v: float, trip_v: float, lvd_v: float | None, bms_v: float | None, stated: bool
) -> Check:
    """Who acts first when the weakest cell runs down: we before the LVD, and the BMS last.

    Args:
        stop_v: Cell voltage of our stop (L3): no more discharge, V.
        trip_v: Cell voltage of our trip (L4): the contactor opens, V.
        lvd_v: Cell voltage of the low-voltage disconnect, V; ``None`` without one.
        bms_v: Cell voltage at which the BMS opens, V; ``None`` when nobody knows.
        stated: A person said so; else it was read from the device.
    """
    who = [("EMS stop (L3)", stop_v), ("EMS trip (L4)", trip_v), ("LVD", lvd_v), ("BMS", bms_v)]
    known = sorted(((v, -k, n) for k, (n, v) in enumerate(who) if v is not None), reverse=True)
    text = ", then ".join(f"{name} at {volts:.3g} V a cell" for volts, _, name in known)
    measured = {
        "ems_stop_v": stop_v, "ems_trip_v": trip_v, "lvd_v": lvd_v,
        "bms_v": bms_v, "bms_stated": stated,
    }  # fmt: skip
    wrong = []
    if lvd_v is not None and lvd_v >= stop_v:
        wrong.append("the LVD must come after the EMS stop (L3), or it takes the load unannounced")
    if bms_v is not None and (
        early := [name for name, volts in who[:3] if volts is not None and volts <= bms_v]
    ):
        wrong.append(f"the BMS must come after the {' and the '.join(early)}")
    if wrong:
        return Check(Name.ORDER, Verdict.FAILED, f"{text}: {'; '.join(wrong)}", measured)
    if bms_v is None:
        return Check(Name.ORDER, Verdict.SKIPPED, f"{text}; the BMS's is not known", measured)
    return Check(Name.ORDER, Verdict.STATED if stated else Verdict.PASSED, text, measured)


def contactor(opened_s: float | None, closed_s: float | None) -> Check:
    """Whether the feedback of a contactor follows its command."""
    measured = {"opened_s": opened_s, "closed_s": closed_s}
    took = [
        f"{word} {'did not arrive' if seconds is None else f'after {seconds:.1f} s'}"
        for word, seconds in (("open", opened_s), ("closed", closed_s))
    ]
    fine = opened_s is not None and closed_s is not None
    verdict = Verdict.PASSED if fine else Verdict.FAILED
    return Check(Name.CONTACTOR, verdict, f"feedback: {', '.join(took)}", measured)
