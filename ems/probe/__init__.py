"""``ems probe``: what the devices of a site say, as they say it, without writing a thing."""

from ems.probe.report import ProbeReport
from ems.probe.select import Busy, devices_of
from ems.probe.watch import look

__all__ = ["Busy", "ProbeReport", "devices_of", "look"]
