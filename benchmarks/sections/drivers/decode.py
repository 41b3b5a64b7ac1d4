"""Decoding a block of 92 mixed points against pymodbus's decoder, point by point."""

import struct
from typing import Any

import numpy as np
from pymodbus.client import ModbusTcpClient

from benchmarks.sections import Figure, interleaved_us
from ems.drivers.coding.block import Block
from ems.drivers.compiling.compile import codec_of
from ems.drivers.language.points import PointSpec

TITLE = "decoding 92 mixed points"
KINDS = ("int16",) * 40 + ("uint16",) * 24 + ("int32",) * 10 + ("uint32",) * 6 + ("float32",) * 12
SWAPPED = 5
"""Every so-manieth value of two registers has its words swapped."""
GOAL = 20.0


def _mixture() -> tuple[Block, bytes, list[tuple[str, list[int], Any, str, str]]]:
    """The block, a payload, and for each point what the other decoder needs."""
    rng = np.random.Generator(np.random.PCG64(92))
    kinds = [str(kind) for kind in rng.permutation(np.array(KINDS))]
    placed, theirs, registers = [], [], list[int]()
    for number, kind in enumerate(kinds):
        wide = kind not in ("int16", "uint16")
        words = [int(w) for w in rng.integers(1, 0x4000, 2 if wide else 1)]
        order = "little" if wide and number % SWAPPED == 0 else "big"
        if kind == "float32":
            words = list(struct.unpack(">2H", struct.pack(">f", rng.uniform(-500.0, 500.0))))
            words = words[::-1] if order == "little" else words
        scale = "1" if wide else "0.1"
        spec = PointSpec.model_validate(
            {"at": 0, "type": kind, "word_order": order, "scale": scale, "range": (-1e10, 1e10)}
        )
        name = f"p{number}"
        placed.append((codec_of(name, spec, {}), 2 * len(registers)))
        theirs.append((name, words, ModbusTcpClient.DATATYPE[kind.upper()], order, scale))
        registers += words
    payload = struct.pack(f">{len(registers)}H", *registers)
    block = Block("b", "holding", None, ((0, len(registers)),), 1.0, 3.0, tuple(placed))
    return block, payload, theirs


def run() -> list[Figure]:
    """Time of one block both ways, the ratio, and how many values differ."""
    block, payload, theirs = _mixture()
    convert = ModbusTcpClient.convert_from_registers

    def point_by_point() -> list[Any]:
        return [convert(words, kind, word_order=order) for _, words, kind, order, _ in theirs]

    ours = {name: value for name, (value, _) in block.decode(payload).scalars.items()}
    differing = sum(
        ours[name] != (raw / 10 if scale == "0.1" else float(raw))
        for raw, (name, _, _, _, scale) in zip(point_by_point(), theirs, strict=True)
    )
    best = interleaved_us({"ours": lambda: block.decode(payload), "theirs": point_by_point})
    return [
        Figure("convert_from_registers, raw contents only", best["theirs"], "µs"),
        Figure("our block, scaled and held against its ranges", best["ours"], "µs"),
        Figure("times faster", best["theirs"] / best["ours"], "×", at_least=GOAL),
        Figure("values that differ", differing, "of 92", at_most=0),
    ]
