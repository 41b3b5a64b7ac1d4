"""Grades, uses, residual value and groups of measured packs, from rules as data."""
