"""Peers that others wrote: a libmodbus server, and a serial line to reach one over."""
