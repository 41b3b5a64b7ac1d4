"""From a profile and a site to a compiled device; never loaded by the control process."""
