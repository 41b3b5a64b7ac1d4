"""Sections of ``benchmarks/drivers.py``."""
