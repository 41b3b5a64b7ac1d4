"""Commands, heartbeats, the device's own time-out, identity, safe state."""

from typing import Annotated, Literal

from pydantic import Field

from ems.drivers.language.base import CommandValue, Strict


class StepSpec(Strict):
    """One write. Steps look alike in `on_connect`, `writes` and `safe_state`.

    All steps of a sequence are coded before the first is sent; neighbouring registers of
    successive steps travel in one request.
    """

    point: str = Field(description="a writable point")
    value: float | CommandValue | str = Field(
        description="a number, a word of the point's `enum`, a value the command brings along "
        "(see `writes`), or `device_timeout_s` of the site file"
    )
    clears_within_s: float = Field(
        0.0, ge=0, le=60, description="the device sets the point back to 0 itself within this time"
    )
    pause_s: float = Field(0.0, ge=0, le=0.5, description="pause before the next step, s")


class ReadbackSpec(Strict):
    """How the device confirms a command. Compared is the value as rounded to the device's step."""

    point: str = Field(description="point that shows what was written")
    tolerance: float = Field(ge=0, description="allowed difference, in units of the point")
    delay_s: float = Field(0.0, ge=0, le=0.5, description="time the device takes to show it, s")


class EffectSpec(Strict):
    """What the command must lead to. A failure is reported once; nothing is written again."""

    point: str = Field(description="a measurement")
    tolerance: float = Field(ge=0, description="allowed difference to the command")
    within_s: float = Field(gt=0, le=600, description="time it may take, s")


class RequireSpec(Strict):
    """A condition without which the command is refused with the reason.

    Opening a contactor and going to the safe state are never refused for it.
    """

    point: str = Field(description="a point, such as a state or a local/remote switch")
    one_of: tuple[float | str, ...] = Field(
        min_length=1, description="values, or words of the point's `enum`, that allow it"
    )


class WriteSpec(Strict):
    """How one kind of command is carried out, step by step, and how we know that it was."""

    steps: tuple[StepSpec, ...] = Field(min_length=1, description="writes in order")
    readback: ReadbackSpec | None = Field(None, description="how the device confirms it")
    effect: EffectSpec | None = Field(None, description="what must be measured afterwards")
    requires: tuple[RequireSpec, ...] = Field((), description="conditions; all must hold")
    descending: tuple[Annotated[tuple[str, ...], Field(min_length=2)], ...] = Field(
        (),
        description="lists of points whose values must never rise from one to the next, such as "
        "`[max_v, topping_v, float_v, min_v]`; a command that would break it is refused",
    )
    repeat_s: float = Field(
        0.0,
        ge=0,
        description="an unchanged value is not rewritten more often; 0 makes every write a lease. "
        "A contactor still seen closed is told to open again after 10 s at the latest",
    )
    daily_budget: int | None = Field(
        None,
        ge=1,
        description="writes allowed in any 24 h, for memory that wears out (EEPROM); when they are "
        "used up a command is refused, except opening a contactor and going to the safe state. It "
        "is kept over a restart. Endurance / (365 × years of service) is a good number",
    )


class TimeoutSpec(Strict):
    """The device's own dead-man: what makes it safe when the EMS is gone.

    Verified at every connect. While it cannot be verified, power commands are refused.
    """

    point: str = Field(description="point that holds the time, in s after scaling")
    value: float | Literal["device_timeout_s"] = Field(
        "device_timeout_s",
        description="seconds, or `device_timeout_s` of the converter in the site file; 10 s for a "
        "device that is none",
    )
    enforce: bool = Field(
        True, description="write it where it differs; else it is only compared and reported"
    )
    on_expiry: str = Field(min_length=1, description="what the device then does, in words")


class HeartbeatReadSpec(Strict):
    """A counter of the device. The point is called `heartbeat`."""

    max_age_s: float = Field(gt=0, le=600, description="longest time it may stand still, s")


class HeartbeatWriteSpec(Strict):
    """A counter of ours that the device wants to see move."""

    point: str = Field(description="point that gets the counter")
    period_s: float = Field(1.0, gt=0, le=60, description="time from one count to the next, s")
    wrap: int = Field(65_535, ge=1, description="largest count; 0 follows")


class Heartbeats(Strict):
    """Signs of life both ways."""

    read: HeartbeatReadSpec | None = Field(None, description="theirs")
    write: HeartbeatWriteSpec | None = Field(None, description="ours")


class IdentitySpec(Strict):
    """What a point must say for this to be the device the map was written for.

    Checked at every connect, and whenever the point is read again: a point in the class `once`
    is next looked at after the connection broke, so a device that is exchanged behind a gateway
    which keeps its connection is noticed only by one in a polled class. A device that fails is
    read-only and none of its values are believed: another device's map says nothing about it.
    """

    point: str = Field(description="a readable point, usually a string or a type number")
    equals: float | str | None = Field(None, description="the one right content")
    one_of: tuple[float | str, ...] = Field((), description="right contents")
    matches: str = Field("", description="regular expression for the whole text")
    at_least: float | str | None = Field(
        None,
        description="lowest right content, such as a firmware version. Of a text the numbers in it "
        "are compared from left to right: `V2.10` comes after `V2.9`",
    )
