"""Reading a site's files for ``ems run``: everything the control process is handed."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Final

from ems.config import load_site
from ems.dispatch.tariff_file import load_tariff
from ems.drivers.language import Profile, load
from ems.drivers.roles import compile_site, refuse_simulated
from ems.handover import Handover

_PROSE: Final = {"summary", "provenance", "golden"}
"""Parts of a profile that say where facts come from, and that no driver acts on."""


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
    hashes = {name: profile_sha256(load(device.spec.profile)) for name, device in devices.items()}
    return Handover(site, load_tariff(site.grid.tariff), devices, hashes)


def profile_sha256(profile: Profile) -> str:
    """Hash of what a profile tells the drivers, in one canonical form.

    Comments, blank lines and quotes are not in it, nor is the prose; nor are defaults of
    the language, so that a newer program finds the same profile again. The order of points
    and codes is: of two codes of one word the first is written.
    """
    said = profile.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude=_PROSE)
    text = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
