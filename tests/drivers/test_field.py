"""FieldIO against the simulated devices over real sockets."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

import numpy as np
import pytest

from ems.drivers.serving.owner import COMMAND_LIFE_S
from ems.model import (
    Contactor,
    ConverterState,
    Link,
    Quality,
    SetContactor,
    SetLoad,
    SetPower,
    SetRectifier,
)
from ems.site import SiteKind
from tests.builders import make_site
from tests.drivers.bench import Bench, bench, demo_site, device, free_port, modbus_only

pytestmark = pytest.mark.sockets


def play(scene: Callable[[Bench], Awaitable[None]], site=None, observe: bool = False) -> None:
    """Run a scene on a bench with all devices up."""

    async def run() -> None:
        async with bench(site or modbus_only(demo_site()), observe) as made:
            await scene(made)

    asyncio.run(run())


def test_every_value_equals_the_plants_within_the_resolution_of_its_map():
    async def scene(b: Bench) -> None:
        await b.close_contactors()
        powers = (SetPower(0, 2000.0), SetPower(1, -3000.0), SetPower(2, 1500.0))
        assert all(result.ok for result in await b.carry_out(*powers))
        await b.advance(5.0)
        found = await b.polled()
        for pack, bms in zip(found.packs, b.plant.bms, strict=True):
            assert pack.voltage_v.value == pytest.approx(bms.voltage_v, abs=0.051)
            assert pack.current_a.value == pytest.approx(bms.current_a, abs=0.051)
            assert pack.soc_frac.value == pytest.approx(bms.soc_frac, abs=0.0051)
            assert pack.soh_frac.value == pytest.approx(bms.soh_frac, abs=0.0051)
            assert pack.charge_limit_a.value == pytest.approx(bms.charge_limit_a, abs=0.051)
            assert pack.discharge_limit_a.value == pytest.approx(bms.discharge_limit_a, abs=0.051)
            assert pack.contactor.value == bms.contactor == Contactor.CLOSED
            assert pack.alarm_level.value == bms.alarm_level == 0
        assert {p.heartbeat.quality for p in found.packs} == {Quality.MISSING}, "no counter"
        assert found.packs[0].current_a.value > 5.0, "discharge is positive"
        assert found.packs[1].current_a.value < -5.0, "charge is negative"
        cells_v = np.concatenate([bms.cell_voltage_v for bms in b.plant.bms])
        temps_c = np.concatenate([bms.cell_temp_c for bms in b.plant.bms])
        assert np.abs(found.cells.voltage_v - cells_v).max() <= 0.00051
        assert np.abs(found.cells.temp_c - temps_c).max() <= 0.051
        assert (found.cells.voltage_quality == Quality.GOOD).all()
        for reading, output in zip(found.converters, b.plant.converters, strict=True):
            assert reading.power_w.value == pytest.approx(output.power_w, abs=0.51)
            assert reading.setpoint_w.value == pytest.approx(output.setpoint_w, abs=0.51)
            assert reading.state.value == output.state == ConverterState.RUN
            assert reading.dc_voltage_v.value == pytest.approx(output.dc_voltage_v, abs=0.051)
            assert reading.dc_current_a.value == pytest.approx(output.dc_current_a, abs=0.051)
        meter = b.plant.meter
        assert found.grid.power_w.value == pytest.approx(meter.power_w, abs=0.51)
        assert found.grid.voltage_v.value == pytest.approx(meter.voltage_v, abs=0.051)
        assert found.grid.frequency_hz.value == pytest.approx(meter.frequency_hz, abs=0.0051)
        assert found.grid.import_wh.value == pytest.approx(meter.import_wh, abs=5.1)
        assert [r.value for r in found.load_power_w] == pytest.approx(meter.load_power_w, abs=0.51)
        assert found.load_on == meter.load_on
        assert found.pv_power_w.value == pytest.approx(meter.pv_power_w, abs=0.51)

    play(scene)


def test_commands_are_followed_and_confirmed():
    async def scene(b: Bench) -> None:
        await b.close_contactors()
        await b.until(
            lambda s: all(c.state.value == ConverterState.RUN for c in s.converters), "PCS run"
        )
        wanted = (SetPower(0, 2000.9), SetPower(1, -3000.9), SetPower(2, 0.0), SetLoad(1, False))
        results = await b.carry_out(*wanted)
        assert {r.command: r.reason for r in results} == dict.fromkeys(wanted, "")
        await b.advance(3.0)
        assert [c.setpoint_w for c in b.plant.converters] == [2000.0, -3000.0, 0.0]
        assert b.plant.meter.load_on == (True, False, True)
        assert b.snapshot().converters[1].setpoint_w.value == -3000.0, "read back already"
        assert (await b.carry_out(SetContactor(0, close=False)))[0].ok
        await b.advance(3.0)
        assert b.plant.bms[0].contactor is Contactor.OPEN

    play(scene)


def test_what_cannot_be_done_is_reported_with_the_reason():
    async def scene(b: Bench) -> None:
        # Contactors are open: a PCS without DC voltage refuses to run.
        results = await b.carry_out(
            SetPower(0, 1000.0), SetPower(1, 2e7), SetRectifier(2, 1.0, 1.0)
        )
        reasons = {r.command.converter: r.reason for r in results}
        assert "exception" in reasons[0]
        assert "outside" in reasons[1], "refused, never clamped"
        assert "has no write 'rectifier'" in reasons[2]
        assert not any(r.ok for r in results)

    play(scene)


def test_a_device_that_does_not_follow_is_found_out_by_reading_back():
    async def scene(b: Bench) -> None:
        await b.close_contactors()
        face = b.servers.faces["pcs1"]
        # A PCS that takes the write and keeps its own idea of the set-point.
        face.write = lambda point, element, value: ""  # type: ignore[method-assign]
        (result,) = await b.carry_out(SetPower(0, 2000.0))
        assert result.reason == "setpoint_w reads back 0 where 2000 was written"

    play(scene)


def test_only_the_newest_command_for_an_actuator_is_sent():
    async def scene(b: Bench) -> None:
        await b.close_contactors()
        results = await b.carry_out(*(SetPower(0, 100.0 * k) for k in range(1, 6)))
        assert [r.command.power_w for r in results if r.ok] == [500.0]
        dropped = [r for r in results if not r.ok]
        assert [r.command.power_w for r in dropped] == [100.0, 200.0, 300.0, 400.0]
        assert {r.reason for r in dropped} == {"replaced by a newer command before it was sent"}

    play(scene)


def test_a_lost_device_is_refused_at_once_and_comes_back(caplog):
    caplog.set_level(logging.WARNING, "ems.drivers")

    async def scene(b: Bench) -> None:
        await b.close_contactors()
        b.plant.inject("pack_lost", "p1", 20.0)
        b.plant.inject("pcs_lost", "pcs2", 20.0)
        await b.advance(1.0)
        found = await b.until(
            lambda s: s.packs[0].link is Link.REFUSED and s.converters[1].link is Link.REFUSED,
            "both refused",
        )
        assert found.packs[0].voltage_v.quality is Quality.MISSING
        assert (found.cells.voltage_quality[b.site.layout.cell_slices[0]] == Quality.MISSING).all()
        assert (found.cells.voltage_quality[b.site.layout.cell_slices[1]] == Quality.GOOD).all()
        (result,) = await b.carry_out(SetContactor(0, close=False))
        assert result.reason == "the device is not connected"
        (result,) = await b.carry_out(SetPower(1, 1000.0))
        assert not result.ok
        await b.advance(30.0)
        await b.all_up()
        await asyncio.sleep(COMMAND_LIFE_S)
        await b.advance(1.0)
        assert b.plant.bms[0].contactor is Contactor.CLOSED, "never delivered late"
        assert b.plant.converters[1].setpoint_w == 0.0, "never delivered late"

    play(scene)
    mine = [r.getMessage() for r in caplog.records if r.getMessage().startswith("bms1")]
    assert len(mine) == 2, f"once when it fails, once when it is back: {mine}"
    assert mine[1] == "bms1: answers again"


def test_silence_is_told_from_refusal_and_ends():
    async def scene(b: Bench) -> None:
        await b.close_contactors()
        b.plant.inject("telemetry_gap", "*", 20.0)
        await b.advance(1.0)
        found = await b.until(
            lambda s: all(p.link is Link.SILENT for p in s.packs), "every BMS silent"
        )
        assert all(p.current_a.good is None for p in found.packs)
        (result,) = await b.carry_out(SetPower(0, 1000.0))
        assert not result.ok
        await b.advance(30.0)
        found = await b.all_up()
        assert b.plant.converters[0].setpoint_w == 0.0

    play(scene)


def test_a_device_that_is_not_there_is_refused_and_later_found():
    async def scene() -> None:
        b = Bench(modbus_only(demo_site()))
        await b.io.start()
        try:
            await b.until(
                lambda s: (
                    all(p.link is Link.REFUSED for p in s.packs)
                    and all(c.link is Link.REFUSED for c in s.converters)
                    and s.grid.link is Link.REFUSED
                ),
                "everything refused",
            )
            await b.servers.start()
            await b.all_up()
        finally:
            await b.io.stop()
            await b.servers.stop()

    asyncio.run(scene())


def test_a_device_that_answers_wrongly_never_delivers_a_value():
    site = modbus_only(demo_site())

    async def lie(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(300):
            # One register too few, whatever was asked.
            count = int.from_bytes(request[10:12], "big") - 1
            body = request[6:8] + bytes([2 * count]) + b"\x0c\xf0" * count
            writer.write(request[:4] + len(body).to_bytes(2, "big") + body)
        writer.close()

    async def scene() -> None:
        liar = await asyncio.start_server(lie, "127.0.0.1", site.devices["bms1"].port)
        b = Bench(site)
        await b.io.start()
        try:
            image = b.io.images["bms1"]
            await b.until(lambda _: "current_a" in image.readings, "the lie was heard")
            for _ in range(3):
                since_s = b.clock.monotonic_s()
                await b.until(lambda _, t=since_s: image.readings["current_a"].at_s > t, "again")
                found = b.snapshot()
                assert found.packs[0].link is not Link.UP
                assert found.packs[0].current_a.value is None
                assert found.packs[0].current_a.quality is Quality.BAD
                assert (found.cells.voltage_quality[:48] >= Quality.BAD).all()
        finally:
            await b.io.stop()
            liar.close()

    asyncio.run(scene())


def test_a_connection_task_that_fails_is_reported_and_started_again(caplog):
    async def scene(b: Bench) -> None:
        _, member = b.io._served_by["bms1"]
        read = member.port.read

        async def broken(block: object) -> None:
            raise RuntimeError("a defect nobody foresaw")

        member.port.read = broken  # type: ignore[method-assign]
        found = await b.until(lambda s: s.packs[0].link is Link.SILENT, "silent")
        assert found.packs[0].current_a.quality is Quality.MISSING
        member.port.read = read  # type: ignore[method-assign]
        await b.all_up()

    play(scene)
    assert "connection task of bms1 failed" in caplog.text


def test_stopping_leaves_every_converter_at_zero():
    async def scene(b: Bench) -> None:
        await b.close_contactors()
        results = await b.carry_out(SetPower(0, 2000.0), SetPower(1, -3000.0))
        assert all(r.ok for r in results)
        await b.advance(2.0)
        assert b.plant.converters[0].setpoint_w == 2000.0
        await b.io.stop()
        await b.advance(1.0)
        assert [c.setpoint_w for c in b.plant.converters] == [0.0, 0.0, 0.0]

    play(scene)


@pytest.mark.parametrize(
    ("silence_s", "setpoint_w"),
    [
        pytest.param(9.0, 2000.0, id="just before the lease ends"),
        pytest.param(11.0, 0.0, id="after it"),
    ],
)
def test_the_pcs_reverts_by_itself_when_commands_stop(silence_s, setpoint_w):
    async def scene(b: Bench) -> None:
        await b.close_contactors()
        assert (await b.carry_out(SetPower(0, 2000.0)))[0].ok
        held = b.servers.faces["pcs1"].held
        assert held["reversion_time_s"] == b.site.converters[0].device_timeout_s == 10.0
        assert held["reversion_enable"] == 1.0, "set at connect"
        await b.advance(silence_s)
        assert b.plant.converters[0].setpoint_w == setpoint_w

    play(scene)


def test_the_bms_opens_its_contactor_when_the_ems_is_gone():
    async def scene(b: Bench) -> None:
        await b.close_contactors()
        face = b.servers.faces["bms1"]
        assert face.held["ems_timeout_s"] == 60.0, "set at connect"
        await b.advance(55.0)
        assert b.plant.bms[0].contactor is Contactor.CLOSED
        await b.io.stop()
        await b.advance(61.0)
        await b.advance(3.0)
        assert b.plant.bms[0].contactor is Contactor.OPEN

    play(scene)


def test_observing_reads_everything_and_writes_nothing():
    async def scene(b: Bench) -> None:
        results = await b.carry_out(
            SetPower(0, 0.0), SetContactor(0, close=True), SetLoad(1, False)
        )
        assert {r.reason for r in results} == {"this connection only observes"}
        # Reversion, its switch and a heartbeat of each PCS, EMS time-out of each rack.
        held_at_connect = 3 * 3 + 2
        assert b.io.refused_writes == len(results) + held_at_connect
        await b.io.stop()
        assert b.io.sent_writes == 0, "counted where the bytes leave"
        for face in b.servers.faces.values():
            assert not any(face.held.values()), f"something was written to {face.device.spec.id}"

    play(scene, observe=True)


def test_a_frozen_bms_stops_its_heartbeat():
    async def scene(b: Bench) -> None:
        await b.close_contactors()
        await b.advance(1.0)
        before = await b.polled()
        b.plant.inject("sensor_stuck", "p3", 0.0)
        await b.advance(1.0)
        frozen = await b.polled()
        assert frozen.packs[2].heartbeat.at_s >= before.packs[2].heartbeat.at_s > 0.0
        await b.advance(1.0)
        later = await b.polled()
        assert later.packs[2].heartbeat == frozen.packs[2].heartbeat, "fresh frames, same count"
        assert later.packs[2].current_a.quality is Quality.GOOD
        assert later.packs[0].heartbeat.quality is Quality.MISSING, "its map has no counter"

    play(scene, site=demo_site())


def test_units_behind_one_gateway_share_a_connection_and_a_dead_one_harms_nobody_else():
    site = modbus_only(demo_site())
    port = free_port()
    shared = {f"bms{k}": replace(site.devices[f"bms{k}"], port=port, unit_id=k) for k in (1, 2, 3)}
    site = replace(site, devices={**site.devices, **shared})

    async def scene(b: Bench) -> None:
        b.plant.inject("pack_lost", "p2", 20.0)
        await b.advance(1.0)
        await b.until(lambda s: s.packs[1].link is Link.SILENT, "unit 2 without answer")
        at_s = b.clock.monotonic_s()
        found = await b.until(
            lambda s: min(s.packs[k].current_a.at_s for k in (0, 2)) > at_s, "the others go on"
        )
        assert found.packs[1].current_a.quality is Quality.MISSING
        assert found.packs[0].link is found.packs[2].link is Link.UP
        await b.advance(30.0)
        await b.all_up()

    play(scene, site)


def test_a_rectifier_shelf_takes_limits_and_reports_with_its_sign_turned():
    built = make_site(SiteKind.DIRECT_BUS, n_packs=2)
    names = {"bms1": "bms_rack_0x2000", "bms2": "bms_rack_0x2000", "pcs1": "rectifier_48v_sim"}
    devices = {name: device(name, profile) for name, profile in names.items()}
    devices["meter"] = device("meter", "meter_acrel_adw300")
    site = replace(built, devices=devices)

    async def scene(b: Bench) -> None:
        limited = SetRectifier(0, 1000.0, 15.0)
        assert [r.reason for r in await b.carry_out(limited)] == [""]
        await b.advance(5.0)
        output = b.plant.converters[0]
        assert (output.power_limit_w, output.charge_limit_a) == (1000.0, 15.0)
        assert output.dc_current_a > 1.0, "held back below the load: the packs carry the rest"
        found = await b.until(
            lambda s: abs((s.converters[0].dc_current_a.value or 0.0) - output.dc_current_a) < 0.06,
            "the packs' current read",
        )
        assert found.converters[0].power_w.value == pytest.approx(output.power_w, abs=0.51)
        assert found.grid.frequency_hz.quality is Quality.MISSING, "nobody measures it here"
        assert found.load_on == (None, None, None), "no device says"
        (result,) = await b.carry_out(SetLoad(1, False))
        assert result.reason == "no device carries out this command"
        await b.io.stop()
        await b.advance(2.0)
        assert b.plant.converters[0].power_limit_w > 1000.0, "let forward when we leave"

    play(scene, site)
