"""Grading of packs that arrive: from a laboratory table to capacity, SoH or cycle life.

Never imported by the control process.
"""
