"""A foreign Modbus client, mbpoll (libmodbus), agrees with our simulated devices."""

import asyncio
import re
import shutil

import pytest

from tests.drivers.bench import Bench, bench, demo_site, modbus_only

pytestmark = pytest.mark.sockets


async def mbpoll(b: Bench, name: str, kind: str, first: int, *rest: str) -> list[int]:
    """Values that mbpoll reads (or nothing, when ``rest`` ends with values to write).

    Args:
        b: The running bench.
        name: Device.
        kind: mbpoll's type: ``3`` input, ``4`` holding, ``:int`` for 32 bit.
        first: PDU address.
        rest: Further arguments.
    """
    program = shutil.which("mbpoll")
    assert program is not None, "mbpoll is not installed; `make test` installs it"
    spec = b.site.devices[name]
    fixed = ["-m", "tcp", "-0", "-1", "-p", str(spec.port), "-a", str(spec.unit_id)]
    call = [program, *fixed, "-t", kind, "-B", "-r", str(first)]
    options = [r for r in rest if r.startswith("-c")]
    values = [r for r in rest if not r.startswith("-c")]
    process = await asyncio.create_subprocess_exec(
        *call, *options, spec.host, *values,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), 20.0)
    text = out.decode()
    assert process.returncode == 0, text
    return [int(v) for v in re.findall(r"^\[\d+\]:\s+(-?\d+)", text, re.MULTILINE)]


def test_mbpoll_reads_what_the_plant_says_and_its_writes_count():
    async def scene() -> None:
        async with bench(modbus_only(demo_site())) as b:
            await b.close_contactors()
            voltage = await mbpoll(b, "bms1", "4", 0x2100, "-c1")
            assert voltage == [round(b.plant.bms[0].voltage_v * 10)]
            cells = await mbpoll(b, "bms1", "4", 0x2800, "-c48")
            assert cells == [round(v * 1000) for v in b.plant.bms[0].cell_voltage_v]
            extremes = await mbpoll(b, "bms2", "3", 1033, "-c2")
            assert extremes == [round(v * 1000) for v in b.plant.bms[1].cell_voltage_v]
            assert await mbpoll(b, "meter", "4:int", 36, "-c1") == [round(b.plant.meter.power_w)]
            assert await mbpoll(b, "pcs1", "4", 40000, "-c4") == [0x5375, 0x6E53, 1, 66]
            await mbpoll(b, "bms1", "4", 0x2010, "0")
            await b.advance(3.0)
            assert b.plant.bms[0].contactor == 0, "written by mbpoll"

    asyncio.run(scene())
