"""Transports of a site file: what each needs, and what devices on one line must share."""

import pytest

from ems.config import load_site
from ems.yamlfile import FileErrors
from tests.config.conftest import edited

METER = "transport: modbus_tcp, host: 10.0.0.1, port: 502"
LOADS = "transport: modbus_tcp, host: 10.0.0.2, port: 502"
PORT = "transport: modbus_rtu, path: /dev/ttyUSB0"


def errors_of(path):
    with pytest.raises(FileErrors) as caught:
        load_site(path)
    return [str(error).removeprefix(f"{path}:") for error in caught.value.errors]


def test_a_serial_line_with_two_devices(write):
    settings = "options: {baud: '19200', parity: E}"
    text = edited(
        (METER, f"{PORT}, unit_id: 1, {settings}"), (LOADS, f"{PORT}, unit_id: 2, {settings}")
    )
    meter = load_site(write(text)).devices["meter"]
    assert (meter.transport, meter.path, meter.host) == ("modbus_rtu", "/dev/ttyUSB0", "")
    assert meter.options == {"baud": "19200", "parity": "E"}


def test_files_of_tls_are_relative_to_the_site_file(write, tmp_path):
    for name in ("ca.pem", "ems.pem", "ems.key"):
        (tmp_path / name).touch()
    files = "options: {ca: ca.pem, certificate: ems.pem, key: ems.key}"
    path = write(edited((METER, f"transport: modbus_tls, host: 10.0.0.1, port: 802, {files}")))
    assert load_site(path).devices["meter"].options["ca"] == str(path.parent / "ca.pem")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            [(METER, f"{PORT}, unit_id: 3"), (LOADS, f"{PORT}, unit_id: 3")],
            "devices.loads: has the same address as device 'meter'",
            id="one unit twice on a line",
        ),
        pytest.param(
            [
                (METER, f"{PORT}, unit_id: 1"),
                (LOADS, f"{PORT}, unit_id: 2, options: {{baud: '19200'}}"),
            ],
            "devices.loads: is on one line with 'meter', which has 9600 N 1; here it is 19200 N 1",
            id="two speeds on a line",
        ),
        pytest.param(
            [
                (METER, METER.replace("modbus_tcp", "modbus_rtu_tcp")),
                (
                    LOADS,
                    METER.replace("modbus_tcp", "modbus_rtu_tcp")
                    + ", unit_id: 2, options: {parity: O}",
                ),
            ],
            "devices.loads: is on one line with 'meter', which has 9600 N 1; here it is 9600 O 1",
            id="two parities behind a serial server",
        ),
        pytest.param(
            [(METER, f"{PORT}, options: {{stop_bits: '3'}}")],
            "devices.meter.options.stop_bits: stop_bits is '3'; possible are 1, 2",
            id="no such setting",
        ),
        pytest.param(
            [(METER, f"{PORT}, host: 10.0.0.1")],
            "devices.meter.host: a serial port has no host",
            id="a host for a serial port",
        ),
        pytest.param(
            [(METER, "transport: modbus_rtu")],
            "devices.meter: path is missing; modbus_rtu needs one",
            id="a serial line without a port",
        ),
        pytest.param(
            [(METER, "transport: modbus_tcp, host: 10.0.0.1")],
            "devices.meter: port is missing; transport modbus_tcp needs it",
            id="TCP without a port",
        ),
        pytest.param(
            [(METER, "transport: opcua, port: 4840")],
            "devices.meter: host is missing; transport opcua needs it",
            id="no host",
        ),
        pytest.param(
            [(METER, METER.replace("modbus_tcp", "modbus_tls"))],
            "devices.meter: option ca is missing; modbus_tls needs a file",
            id="TLS without files",
        ),
        pytest.param(
            [
                (
                    METER,
                    METER.replace("modbus_tcp", "modbus_tls")
                    + ", options: {ca: nowhere.pem, certificate: c, key: k}",
                )
            ],
            "devices.meter.options.ca",
            id="a file that is not there",
        ),
    ],
)
def test_what_is_wrong_with_a_transport(write, changes, message):
    found = errors_of(write(edited(*changes)))
    assert any(message in line for line in found), found
