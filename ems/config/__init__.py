"""Site files: read, validated as a whole and compiled to ``ems.site.Site``."""

from ems.config.compile import Declared
from ems.config.load import load, load_site

__all__ = ["Declared", "load", "load_site"]
