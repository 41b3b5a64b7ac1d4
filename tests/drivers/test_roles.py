"""Site file and profiles must fit; what does not is told all at once."""

from dataclasses import replace

import pytest

from ems.config import load_site
from ems.drivers.device import ProfileMisfit
from ems.drivers.roles import channels, compile_site, frequency_device
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
def test_every_shipped_site_file_fits_its_profiles(path):
    site = load_site(path)
    assert compile_site(site).keys() == site.devices.keys()
