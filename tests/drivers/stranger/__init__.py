"""A battery that the project does not ship: its vendor's manual and the device itself."""
