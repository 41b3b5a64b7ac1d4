"""Energy management for storage built from repurposed EV packs of unequal health."""

SOFTWARE = "secondlife-ems 0.1.0"
