"""Energy management for storage built from repurposed EV packs of unequal health."""
