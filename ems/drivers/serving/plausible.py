"""Changes too fast to be true: one wild sample is not believed, a lasting change is."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ems.model import FloatArray, Quality

BELIEVED_AFTER: Final = 3
"""Samples in a row that agree among themselves and so prove the change."""


@dataclass(slots=True)
class Rate:
    """Rate of change of one number.

    Args:
        limit_per_s: Largest believable change, units of the value per s.
        period_s: How often the value is read. Devices renew their registers no faster,
            so two samples closer than this count as this far apart.
    """

    limit_per_s: float
    period_s: float
    _good: float | None = None
    _good_s: float = 0.0
    _other: float | None = None
    """A value too far away, which the next samples may confirm."""
    _other_s: float = 0.0
    _times: int = 0

    def judged(self, value: float | None, now_s: float) -> float | None:
        """The value, or ``None`` when it is not to be believed (yet)."""
        if value is None:
            return None
        if self._good is None or self._near(value, self._good, now_s - self._good_s):
            return self._believe(value, now_s)
        if self._other is not None and self._near(value, self._other, now_s - self._other_s):
            self._times += 1
        else:
            self._times = 1
        self._other, self._other_s = value, now_s
        return self._believe(value, now_s) if self._times >= BELIEVED_AFTER else None

    def _believe(self, value: float, now_s: float) -> float:
        self._good, self._good_s, self._other, self._times = value, now_s, None, 0
        return value

    def _near(self, value: float, other: float, apart_s: float) -> bool:
        return abs(value - other) <= self.limit_per_s * max(apart_s, self.period_s)


class ArrayRate:
    """The same for all elements of an array at once."""

    def __init__(self, limit_per_s: float, period_s: float) -> None:
        self.limit_per_s, self.period_s = limit_per_s, period_s
        self._good: FloatArray
        self._good_s: FloatArray
        self._other: FloatArray
        self._other_s: FloatArray
        self._times: NDArray[np.int64]
        self._start(0)

    def judged(
        self, values: FloatArray, quality: NDArray[np.uint8], now_s: float
    ) -> NDArray[np.uint8]:
        """Qualities, with ``BAD`` for elements that jumped and are not believed (yet)."""
        known = quality <= Quality.UNCERTAIN
        if len(self._good) != len(values):
            self._start(len(values))
        near_good = self._near(values, self._good, now_s - self._good_s)
        near_other = self._near(values, self._other, now_s - self._other_s)
        self._times = np.where(
            known & ~near_good, np.where(near_other, self._times + 1, 1), self._times
        )
        believed = known & (near_good | (self._times >= BELIEVED_AFTER))
        doubted = known & ~believed
        self._good[believed], self._good_s[believed] = values[believed], now_s
        self._other[doubted], self._other_s[doubted] = values[doubted], now_s
        self._other[believed], self._times[believed] = np.nan, 0
        return np.where(doubted, np.uint8(Quality.BAD), quality)

    def _start(self, size: int) -> None:
        # An element not yet known is infinitely far in the past: anything is near it.
        self._good, self._good_s = np.zeros(size), np.full(size, -np.inf)
        self._other, self._other_s = np.full(size, np.nan), np.zeros(size)
        self._times = np.zeros(size, np.int64)

    def _near(
        self, values: FloatArray, others: FloatArray, apart_s: FloatArray
    ) -> NDArray[np.bool_]:
        near: NDArray[np.bool_] = np.abs(values - others) <= self.limit_per_s * np.maximum(
            apart_s, self.period_s
        )
        return near
