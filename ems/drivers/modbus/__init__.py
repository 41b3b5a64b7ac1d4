"""Modbus over TCP, TLS and serial lines, with a validating layer of our own."""
