"""Cross-references, wiring and codes of a site file, one broken file a case."""

import pytest

from ems.config import load_site
from ems.site import SiteKind
from ems.yamlfile import FileErrors
from tests.config.conftest import direct_bus_text, edited


def errors_of(path):
    with pytest.raises(FileErrors) as caught:
        load_site(path)
    return [str(error).removeprefix(f"{path}:") for error in caught.value.errors]


CROSS = [
    pytest.param(
        [("device: bms2\n", "device: bms9\n")],
        "packs[1].device: unknown device 'bms9'; did you mean 'bms2'?",
        id="unknown device",
    ),
    pytest.param(
        [("{device: meter,", "{device: zzz,")],
        "grid.device: unknown device 'zzz'; known here: bms1, bms2",
        id="unknown device, none near",
    ),
    pytest.param(
        [("id: pcs2,", "id: pcs1,")],
        "converters[1].id: id 'pcs1' is already converters[0]",
        id="converter id twice",
    ),
    pytest.param(
        [("id: rest", "id: core")],
        "loads[1].id: id 'core' is already loads[0]",
        id="load id twice",
    ),
    pytest.param(
        [("packs: [p2]", "packs: [p1]")],
        "converters[1].packs[0]: pack 'p1' is already behind converters[0]",
        id="pack on two converters",
    ),
    pytest.param(
        [("packs: [p2]", "packs: [p1]")],
        "packs[1].id: pack 'p2' is behind no converter",
        id="pack on none",
    ),
    pytest.param(
        [("device: bms2\n", "device: bms1\n")],
        "packs[1].device: device 'bms1' is used twice; it is already the BMS at packs[0].device",
        id="BMS of two packs",
    ),
    pytest.param(
        [("device: pcs2,", "device: meter,")],
        "converters[1].device: device 'meter' is used twice; it is already the meter at grid",
        id="meter as converter",
    ),
    pytest.param(
        [("10.0.0.6", "10.0.0.5")],
        "devices.bms2: has the same address as device 'bms1'",
        id="same address",
    ),
    pytest.param(
        [("packs: [p1]", "packs: [p1, p2]")],
        "converters[0].packs: kind own_converters has one pack behind each converter, found 2",
        id="own converter of two packs",
    ),
    pytest.param(
        [("kind: own_converters", "kind: shared_dc_bus")],
        "converters: kind shared_dc_bus has one converter for all packs, found 2",
        id="two converters on a bus",
    ),
    pytest.param(
        [("kind: own_converters", "kind: direct_bus")],
        "converters[0]: kind direct_bus needs a rectifier shelf",
        id="direct bus without shelf",
    ),
    pytest.param(
        [("profile: bms_rack_0x2000", "profile: bms_rack_2000")],
        "devices.bms1.profile: unknown profile 'bms_rack_2000'; did you mean 'bms_rack_0x2000'?",
        id="unknown profile",
    ),
    pytest.param(
        [("profile: bms_rack_0x2000", "profile: mine.yaml")],
        "devices.bms1.profile: profile cannot be read",
        id="profile file missing",
    ),
    pytest.param(
        [("critical: true", "critical: true, sheddable: true")],
        "loads[0].sheddable: a critical load is never shed",
        id="critical and sheddable",
    ),
    pytest.param(
        [("critical: true", "critical: false")],
        "loads: no load is critical, but backup.hours promises",
        id="nothing critical",
    ),
    pytest.param(
        [
            ("nominal_kw: 2, device: loads", "nominal_kw: 2, share_pct: 60"),
            ("nominal_kw: 8, device: loads", "nominal_kw: 8, share_pct: 41"),
        ],
        "loads: share_pct of loads without a meter sum to 101",
        id="shares above 100",
    ),
    pytest.param(
        [("reported_cells: 2", "reported_cells: 12")],
        "packs[1].reported_cells: must be all 96 series cells or 2",
        id="some cells only",
    ),
    pytest.param(
        [("9ZZPE05G8C0000102RP", "9ZZPE05G8C000102RP")],
        "packs[1].code: code has 18 characters, must have 19",
        id="short code",
    ),
    pytest.param(
        [("9ZZPE05G8C0000102RP", "9zzPE05G8C0000102RP")],
        "packs[1].code: code may hold only 0-9 and A-Z",
        id="lower case code",
    ),
    pytest.param(
        [("9ZZPE05G8C0000102RP", "9ZZPH05G8C0000102RP")],
        "packs[1].code: code says battery type 'H'",
        id="no such battery type",
    ),
    pytest.param(
        [("9ZZPE05XYZ98768AC0000102", "9ZZPG05XYZ98768AC0000102")],
        "packs[1].original_codes[0]: code says LTO (position 5 is G), but the pack is NMC",
        id="original code of other chemistry",
    ),
    pytest.param(
        [("9ZZPE05XYZ98768AC0000102", "9ZZPE05G8C0000102RP")],
        "packs[1].original_codes[0]: code 9ZZPE05G8C0000102RP is already used by packs[1]",
        id="code twice",
    ),
    pytest.param(
        [("chemistry: NMC", "chemistry: NCM")],
        "packs[1].chemistry: must be one of 'LFP', 'NMC', 'LMO' or 'LTO', found \"NCM\"",
        id="unknown chemistry",
    ),
    pytest.param(
        [("devices:\n", "simulation: {packs: {p3: {soh_mean_pct: 80}}}\ndevices:\n")],
        "simulation.packs.p3: unknown pack 'p3'; known here: p1, p2",
        id="simulated pack unknown",
    ),
    pytest.param(
        [
            (
                "devices:\n",
                "simulation: {packs: {p1: {soh_mean_pct: 80, tired_group: 49}}}\ndevices:\n",
            )
        ],
        "simulation.packs.p1.tired_group: must be one of the 48 series groups, found 49",
        id="tired group outside",
    ),
    pytest.param(
        [("devices:\n", "uplink: {host: x, tls_ca: ca.pem}\ndevices:\n")],
        "uplink.tls_ca: CA file cannot be read",
        id="CA file missing",
    ),
    pytest.param(
        [("devices:\n", "safety: {not_applicable: {c01: no}}\ndevices:\n")],
        "safety.not_applicable.c01: must match pattern",
        id="cause spelled wrong",
    ),
]


@pytest.mark.parametrize(("changes", "message"), CROSS)
def test_cross_references(write, changes, message):
    found = errors_of(write(edited(*changes)))
    assert any(message in line for line in found), found


def test_a_shared_address_is_fine_when_unit_or_options_differ(write):
    loads = "loads: {profile: meter_loads_sim, transport: modbus_tcp, host: 10.0.0.2, port: 502}"
    beside = loads.replace("10.0.0.2", "10.0.0.1").replace("port: 502", "port: 502, unit_id: 2")
    assert load_site(write(edited((loads, beside)))).devices["loads"].unit_id == 2
    opcua = "transport: opcua, host: 10.0.0.9, port: 4840, options: {prefix: %s}"
    text = edited(
        ("transport: modbus_tcp, host: 10.0.0.5, port: 502", opcua % "p1"),
        ("transport: modbus_tcp, host: 10.0.0.6, port: 502", opcua % "p2"),
    )
    assert load_site(write(text)).devices["bms2"].options == {"prefix": "p2"}


def test_one_io_module_may_serve_meter_pv_and_loads(write):
    text = edited(("devices:\n", "pv: {device: loads, rated_kw: 5}\ndevices:\n"))
    site = load_site(write(text))
    assert site.pv is not None
    assert site.pv.device == site.loads[0].device == "loads"


def test_a_direct_bus_site_loads(write):
    site = load_site(write(direct_bus_text()))
    assert site.kind is SiteKind.DIRECT_BUS
    assert site.converters[0].rectifier is not None
    assert site.converters[0].rectifier.lvd_disconnect_v == 43.2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            ("lvd_reconnect_v: 49", "lvd_reconnect_v: 43.2"),
            "lvd_reconnect_v: must be above lvd_disconnect_v 43.2",
            id="LVD without hysteresis",
        ),
        pytest.param(
            ("float_v: 53.5", "float_v: 49"),
            "float_v: must be above lvd_reconnect_v 49",
            id="float at the LVD",
        ),
        pytest.param(
            ("float_v: 53.5", "float_v: 53.5, boost_v: 53.4"),
            "boost_v: must not be below float_v 53.5",
            id="boost below float",
        ),
        pytest.param(
            ("kind: direct_bus", "kind: own_converters"),
            "rectifier: kind own_converters takes no rectifier",
            id="shelf at another kind",
        ),
    ],
)
def test_rectifier_shelves(write, change, message):
    found = errors_of(write(edited(change, text=direct_bus_text())))
    assert [message in line for line in found] == [True]
