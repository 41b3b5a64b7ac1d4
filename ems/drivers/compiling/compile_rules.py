"""The rules of a profile in plain form: link, identity, commands, signs of life."""

from ems.drivers.device import (
    Effect,
    HeartbeatRead,
    HeartbeatWrite,
    IdentityCheck,
    LinkRules,
    Precondition,
    Readback,
    Step,
    TimeoutRule,
    WriteRules,
)
from ems.drivers.language.profile import Profile
from ems.drivers.language.shape import number_of
from ems.drivers.language.writes import StepSpec, WriteSpec


def link_rules(profile: Profile) -> LinkRules:
    """The plain form of ``link``."""
    link = profile.link
    return LinkRules(
        protocol=link.protocol,
        transports=link.transports,
        timeout_s=link.timeout_ms / 1000,
        retries=link.retries,
        gap_s=link.gap_ms / 1000,
        turnaround_s=link.turnaround_ms / 1000,
        latency_max_s=link.latency_max_ms / 1000,
        connect_delay_s=link.connect_delay_ms / 1000,
        garbage_on_open=link.garbage_on_open,
        max_connections=link.max_connections,
        ttl_polls=link.ttl_polls,
        max_read_registers=link.max_read_registers,
        max_write_registers=link.max_write_registers,
        write_function=link.write_function,
        sunspec_models=link.sunspec_models,
        namespace_uri=link.namespace_uri,
        opcua_mode=link.opcua_mode,
        publish_ms=link.publish_ms,
        source_age_max_s=link.source_age_max_s or 0.0,
    )


def identity(profile: Profile) -> tuple[IdentityCheck, ...]:
    """How the device is recognised."""
    found = []
    for check in profile.identity:
        given = [*check.one_of, *([] if check.equals is None else [check.equals])]
        if profile.points[check.point].type != "string":
            given = [number_of(profile, check.point, item) for item in given]
        found.append(IdentityCheck(check.point, frozenset(given), check.matches, check.at_least))
    return tuple(found)


def steps(profile: Profile, given: tuple[StepSpec, ...]) -> tuple[Step, ...]:
    """Writes in order, words replaced by their numbers."""
    return tuple(_step(profile, step) for step in given)


def _step(profile: Profile, step: StepSpec) -> Step:
    value = step.value
    spec = profile.points[step.point]
    words = {word.lower() for word in spec.enum.values()}
    if isinstance(value, str) and value.lower() in words:
        value = number_of(profile, step.point, value)
    return Step(step.point, value, step.clears_within_s, step.pause_s)


def writes(profile: Profile) -> dict[str, WriteRules]:
    """How every kind of command is carried out."""
    return {key: _write(profile, write) for key, write in profile.writes.items()}


def _write(profile: Profile, write: WriteSpec) -> WriteRules:
    readback, effect = write.readback, write.effect
    return WriteRules(
        steps=steps(profile, write.steps),
        readback=None
        if readback is None
        else Readback(readback.point, readback.tolerance, readback.delay_s),
        effect=None if effect is None else Effect(effect.point, effect.tolerance, effect.within_s),
        requires=tuple(
            Precondition(
                required.point,
                frozenset(number_of(profile, required.point, item) for item in required.one_of),
                tuple(item if isinstance(item, str) else f"{item:g}" for item in required.one_of),
            )
            for required in write.requires
        ),
        descending=write.descending,
        repeat_s=write.repeat_s,
        daily_budget=write.daily_budget,
    )


def simulator(profile: Profile) -> dict[str, float | str]:
    """What a simulated device shows, words replaced by their numbers."""
    found: dict[str, float | str] = {}
    for name, value in profile.simulator.items():
        point = profile.points.get(name)
        is_number = point is not None and point.type != "string"
        found[name] = number_of(profile, name, value) if is_number else value
    return found


def heartbeat_read(profile: Profile) -> HeartbeatRead | None:
    """Their counter."""
    read = profile.heartbeats.read
    return None if read is None else HeartbeatRead("heartbeat", read.max_age_s)


def heartbeat_write(profile: Profile) -> HeartbeatWrite | None:
    """Our counter."""
    write = profile.heartbeats.write
    return None if write is None else HeartbeatWrite(write.point, write.period_s, write.wrap)


def timeout(profile: Profile) -> TimeoutRule | None:
    """The device's own dead-man."""
    rule = profile.device_timeout
    if rule is None:
        return None
    expected_s = None if isinstance(rule.value, str) else rule.value
    return TimeoutRule(rule.point, expected_s, rule.enforce, rule.on_expiry)
