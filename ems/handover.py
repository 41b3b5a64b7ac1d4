"""From the command line, which reads and judges a site's files, to the process that runs it.

``ems run`` compiles site, tariff and device profiles and becomes the control process,
which inherits the result as plain data in a sealed, unnamed file in memory. So every
start judges the files anew, and the libraries that do it, some 10 MB, are gone before
the first cycle.
"""

import fcntl
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass

from ems.dispatch.tariff import Tariff
from ems.drivers.device import CompiledDevice
from ems.site import Site

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


@dataclass(frozen=True, slots=True)
class Handover:
    """Everything of the site's files that the control process needs."""

    site: Site
    tariff: Tariff
    devices: Mapping[str, CompiledDevice]
    profile_sha256: Mapping[str, str]
    """Hash of the profile of each device, which commissioning was done with."""


def write(handover: Handover) -> int:
    """Descriptor of a file in memory that a program started by ``exec`` inherits.

    Nobody can change it afterwards, this process included, and no other can open it.

    Raises:
        OSError: the system has no memory for it.
    """
    fd = os.memfd_create("ems-site", os.MFD_ALLOW_SEALING)
    with os.fdopen(os.dup(fd), "wb") as file:
        pickle.dump(handover, file, pickle.HIGHEST_PROTOCOL)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    os.lseek(fd, 0, os.SEEK_SET)
    os.set_inheritable(fd, True)
    return fd


def read(fd: int) -> Handover:
    """What :func:`write` put there; the descriptor is closed.

    Raises:
        OSError: there is no such descriptor.
        ValueError: it is not a sealed file in memory; unpickling anything that
            another process could have written would run whatever it says.
    """
    with os.fdopen(fd, "rb") as file:
        try:
            seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        except OSError:
            seals = 0
        if seals & _SEALS != _SEALS:
            raise ValueError(f"descriptor {fd} is not what `ems run` hands over")
        found = pickle.load(file)
    if not isinstance(found, Handover):
        raise ValueError(f"descriptor {fd} holds no handover")
    for array in (found.tariff.table_per_kwh, found.tariff.period_table):
        array.setflags(write=False)  # a pickle does not say so
    return found
