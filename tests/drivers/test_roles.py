"""Site file and profiles must fit; what does not is told all at once."""

from dataclasses import replace
from datetime import date

import pytest

from ems.check import report
from ems.drivers.connect import on_loopback
from ems.drivers.device import ProfileMisfit
from ems.drivers.roles import channels, compile_site, frequency_device, refuse_simulated
from ems.judge.devices import judge_devices
from ems.prepare import prepare
from ems.site import Site
from tests.builders import make_site
from tests.drivers.bench import DEMO, demo_site


def with_device(site: Site, name: str, **changes: object) -> Site:
    return replace(site, devices={**site.devices, name: replace(site.devices[name], **changes)})


def test_every_device_of_the_demo_site_fits_its_profile():
    site = demo_site()
    assert compile_site(site).keys() == site.devices.keys()


def test_misfits_are_reported_together():
    site = demo_site()
    packs = (site.packs[0], replace(site.packs[1], reported_cells=96), site.packs[2])
    site = with_device(replace(site, packs=packs), "pcs1", profile="meter_acrel_adw300")
    with pytest.raises(ProfileMisfit) as misfit:
        compile_site(with_device(site, "bms3", transport="modbus_tcp"))
    assert "is for a meter, the site uses it as a converter" in str(misfit.value)
    assert "reports 2 values of cell_voltage_v, the site file says reported_cells: 96" in str(
        misfit.value
    )
    assert "speaks opcua, the site file says modbus_tcp" in str(misfit.value)


def test_an_unknown_profile_is_named():
    with pytest.raises(FileNotFoundError, match="simulated"):
        compile_site(make_site())


def test_loads_on_one_device_take_its_channels_in_site_order():
    site = demo_site()
    assert channels(site) == {0: 0, 1: 1, 2: 2}
    loads = (site.loads[0], replace(site.loads[1], device=None), site.loads[2])
    assert channels(replace(site, loads=loads)) == {0: 0, 2: 1}


def test_frequency_comes_from_the_first_meter_that_has_it():
    site = demo_site()
    devices = compile_site(site)
    assert frequency_device(site, devices) == "loads", "the Acrel map has none"
    devices.pop("loads")
    assert frequency_device(site, devices) == "meter", "then it is simply missing"


@pytest.mark.parametrize("path", sorted(DEMO.parent.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_site_file_fits_its_profiles_and_runs_on_this_machine_as_it_is(path):
    given = prepare(path)
    assert given.devices.keys() == given.site.devices.keys()
    assert all(on_loopback(device.spec) for device in given.devices.values())
    assert not given.site.data_dir.is_absolute(), "anybody may write below the working directory"


class TestAProfileOfOurSimulator:
    """It says nothing about any real device, so `ems run` takes it on this machine only."""

    @pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LOCALHOST"])
    def test_is_taken_for_the_simulator_on_this_machine(self, host):
        refuse_simulated(compile_site(with_device(demo_site(), "loads", host=host)))

    @pytest.mark.parametrize(
        "host",
        ["192.168.20.6", "126.255.255.255", "128.0.0.1", "0.0.0.0", "::2", "shelf.local", ""],
    )
    def test_is_refused_for_anything_else(self, host):
        site = with_device(demo_site(), "loads", host=host)
        with pytest.raises(ProfileMisfit, match="device loads: profile meter_loads_sim describes"):
            refuse_simulated(compile_site(site))

    def test_is_refused_on_a_serial_line(self):
        line = {"transport": "modbus_rtu", "host": "", "path": "/dev/ttyUSB0", "port": 0}
        site = with_device(demo_site(), "loads", **line)
        with pytest.raises(ProfileMisfit, match="not /dev/ttyUSB0; name the profile of the real"):
            refuse_simulated(compile_site(site))

    def test_is_refused_for_every_device_at_once(self):
        site = with_device(demo_site(), "loads", host="10.0.0.1")
        with pytest.raises(ProfileMisfit, match=r"device loads.*device bms3"):
            refuse_simulated(compile_site(with_device(site, "bms3", host="10.0.0.2")))

    def test_no_other_profile_is_bound_to_this_machine(self):
        refuse_simulated(compile_site(with_device(demo_site(), "meter", host="10.0.0.1")))

    def test_stops_ems_run_before_it_starts(self, tmp_path):
        with pytest.raises(ProfileMisfit, match="meter_loads_sim describes a simulated device"):
            prepare(elsewhere(tmp_path))

    def test_is_an_error_of_ems_check_with_its_place_in_the_file(self, tmp_path):
        path = elsewhere(tmp_path)
        found = [f for f in report(path, date(2026, 11, 22))["findings"]
                 if f["rule"] == "simulated_profile"]  # fmt: skip
        line = 1 + path.read_text().splitlines().index(MOVED)
        assert [(f["severity"], f["file"], f["line"], f["col"]) for f in found] == [
            ("error", str(path), line, 20)
        ]
        assert found[0]["text"].startswith(f"{path}:{line}:20: devices.loads.profile: device loads")
        assert not any(f.rule == "simulated_profile" for f in judge_devices(demo_site()))


MOVED = (
    "  loads: {profile: meter_loads_sim, transport: modbus_tcp, host: 10.0.0.2, port: 15021,"
    " unit_id: 2}"
)


def elsewhere(folder):
    """The demo's file with one device of the simulator at an address of a plant."""
    text = DEMO.read_text().replace("../tariffs", str(DEMO.parents[1] / "tariffs"))
    path = folder / "site.yaml"
    path.write_text(text.replace(MOVED.replace("10.0.0.2", "127.0.0.1"), MOVED))
    return path
