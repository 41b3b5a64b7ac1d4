"""The language of device profiles: everything we know about a device's map, as data.

A profile is one YAML file. It says where each value of ``ems.model`` lies, how it
is coded, how often to read it, how the device is recognised and commanded, what its
safe state is, and where each fact comes from. It holds no code. The guide is
``docs/howto/add-a-device.md``, the language ``docs/reference/device-profiles.md``.

``python -m ems.drivers.language FILE...`` checks profiles.
"""

from ems.drivers.language.files import PROFILE_DIR, check_file, load, read, shipped
from ems.drivers.language.profile import Profile

__all__ = ["PROFILE_DIR", "Profile", "check_file", "load", "read", "shipped"]
