"""Sections of ``benchmarks/health.py``."""
