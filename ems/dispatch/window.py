"""The running demand window: what was imported in it and what it still allows.

The bill looks at means over clock-aligned windows, so a moment above the target
costs nothing if the rest of the window makes up for it. Pure arithmetic on
imports and times; UTC seconds align the window, whatever the site's zone, because
every zone we serve is offset by whole quarters of an hour.
"""

from dataclasses import dataclass, replace
from typing import Final

from ems import units

LEAST_REMAINDER_S: Final = 5.0
"""The budget is not spread over less than this: the last seconds of a window
would otherwise ask for any power at all to correct a few Wh."""
STEP_TOLERANCE_S: Final = 10.0
"""Samples further apart than this (a stop, a stepped clock) do not vouch for the time between."""


@dataclass(frozen=True, slots=True)
class Window:
    """One demand window, partly past."""

    start_utc_s: float
    length_s: float
    at_utc_s: float
    """Until when the window is accounted for."""
    import_ws: float
    """Import so far, W s; assumed where nothing was measured."""
    missing_s: float
    """Time since the last good sample, not yet accounted for in ``import_ws``."""
    counter_wh: float | None
    """Import counter at the last good sample, Wh."""

    def mean_w(self, assumed_w: float) -> float:
        """Mean import so far, W, with missing time counted at ``assumed_w``."""
        elapsed_s = self.at_utc_s - self.start_utc_s
        if elapsed_s <= 0.0:
            return 0.0
        return (self.import_ws + self.missing_s * assumed_w) / elapsed_s

    def budget_w(self, target_w: float) -> float:
        """Import that may be kept up until the window ends with its mean at the target, W.

        Missing time counts as imported at the target. Negative when the target
        is beyond reach.
        """
        past_s = self.at_utc_s - self.start_utc_s
        left_s = max(self.length_s - past_s, LEAST_REMAINDER_S)
        past_ws = self.import_ws + self.missing_s * target_w
        return target_w + (target_w * past_s - past_ws) / left_s


def begin(utc_s: float, length_s: float) -> Window:
    """The window that contains ``utc_s``, its past part missing."""
    start_s = utc_s // length_s * length_s
    return Window(start_s, length_s, utc_s, 0.0, utc_s - start_s, None)


def advance(
    window: Window,
    utc_s: float,
    import_w: float | None,
    counter_wh: float | None,
    assumed_w: float,
) -> tuple[Window, float | None]:
    """The window after one more sample, and the mean of a window it completed, W.

    Args:
        window: State so far.
        utc_s: Time of the sample, UTC s; normally one cycle after the last.
        import_w: Import at that time, W, or ``None`` when the meter is not to be
            believed. The gap is settled when it returns: by the counter if both
            ends have it, else at ``assumed_w``.
        counter_wh: Import energy counter, Wh, or ``None``.
        assumed_w: Import assumed for time nobody measured, W: the cap in force.
    """
    end_s = window.start_utc_s + window.length_s
    if utc_s < end_s:
        return _inside(window, utc_s, import_w, counter_wh, assumed_w), None
    if utc_s - window.at_utc_s > STEP_TOLERANCE_S:
        past_ws = (end_s - window.at_utc_s + window.missing_s) * assumed_w
        mean_w = (window.import_ws + past_ws) / window.length_s
        fresh = begin(utc_s, window.length_s)
        if import_w is not None:
            # The counter does not reach back to the boundary: that part is settled now.
            seen_ws = fresh.missing_s * assumed_w
            fresh = replace(fresh, import_ws=seen_ws, missing_s=0.0, counter_wh=counter_wh)
        return fresh, mean_w
    # The sample lies just behind the boundary: it vouches for both sides of it.
    whole = _inside(window, end_s, import_w, None, assumed_w)
    mean_w = whole.mean_w(assumed_w)
    fresh = Window(end_s, window.length_s, end_s, 0.0, 0.0, window.counter_wh)
    return _inside(fresh, utc_s, import_w, counter_wh, assumed_w), mean_w


def _inside(
    window: Window,
    utc_s: float,
    import_w: float | None,
    counter_wh: float | None,
    assumed_w: float,
) -> Window:
    step_s = utc_s - window.at_utc_s
    if step_s < 0.0:
        # The clock went back inside the window: what is accounted for stays so.
        return window
    missing_s = window.missing_s
    if step_s > STEP_TOLERANCE_S:
        missing_s += step_s
        step_s = 0.0
    if import_w is None:
        return Window(
            window.start_utc_s,
            window.length_s,
            utc_s,
            window.import_ws,
            missing_s + step_s,
            window.counter_wh,
        )
    gap_ws = 0.0
    if missing_s > 0.0:
        gap_ws = missing_s * assumed_w
        if counter_wh is not None and window.counter_wh is not None:
            counted_ws = (counter_wh - window.counter_wh) * units.S_PER_H
            gap_ws = max(0.0, counted_ws - import_w * step_s)
    return Window(
        window.start_utc_s,
        window.length_s,
        utc_s,
        window.import_ws + gap_ws + import_w * step_s,
        0.0,
        counter_wh if counter_wh is not None else window.counter_wh,
    )
