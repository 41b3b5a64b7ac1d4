"""Reading a site's files for ``ems run``: everything the control process is handed."""

from dataclasses import replace
from pathlib import Path

from ems.config import load_site
from ems.dispatch.tariff_file import load_tariff
from ems.drivers.language import files
from ems.drivers.roles import compile_site, refuse_simulated
from ems.handover import Handover


def prepare(site_file: Path, data_dir: Path | None = None) -> Handover:
    """Site, tariff and device profiles, validated and compiled.

    Args:
        site_file: The site file; it names the others.
        data_dir: Where data are kept, instead of what the file says.

    Raises:
        FileErrors: everything wrong with the first file that is no good.
        ProfileMisfit: what does not fit between site file and profiles, or a profile of our
            simulator for a device that is not on this machine.
        FileNotFoundError: there is no such profile.
    """
    site = load_site(site_file)
    if data_dir is not None:
        site = replace(site, data_dir=data_dir)
    devices = compile_site(site)
    refuse_simulated(devices)
    hashes = {name: files.sha256(device.spec.profile) for name, device in devices.items()}
    return Handover(site, load_tariff(site.grid.tariff), devices, hashes)
