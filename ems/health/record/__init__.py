"""Estimates from a laboratory or field record of one cell: voltage, current, temperature."""
