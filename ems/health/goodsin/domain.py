"""How far a sample lies from what a model was trained on (numpy only).

One ellipsoid per stratum in standardised feature space: the root of the mean square
of the whitened coordinates inside the training plane, and of the rest outside of it.
Distance 1 is the edge calibrated on cells that were left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ems.health.goodsin.models import rounded

Floats = NDArray[np.float64]
KEPT_VARIANCE = 0.999
FLOOR = 1e-3
"""Smallest width of a whitened coordinate against the widest: numerical noise has no say."""


@dataclass(frozen=True)
class Ellipsoid:
    """Where the training samples of one stratum lie."""

    centre: Floats
    axes: Floats
    """Whitening of the plane, shape ``(k, p)``."""
    rest: Floats
    """Whitening of what is left outside, shape ``(k, r)``; ``r`` may be 0."""

    def distance(self, z: Floats) -> Floats:
        """Root mean square of the whitened coordinates, the larger of plane and rest."""
        apart = z - self.centre
        inside: Floats = np.sqrt(((apart @ self.axes) ** 2).mean(axis=1))
        if self.rest.shape[1]:
            inside = np.maximum(inside, np.sqrt(((apart @ self.rest) ** 2).mean(axis=1)))
        return inside


@dataclass(frozen=True)
class Domain:
    """Ellipsoids of all strata, their common scale and the edge."""

    centre: Floats
    width: Floats
    parts: tuple[Ellipsoid, ...]
    edge: float = 1.0

    def distance(self, x: Floats) -> Floats:
        """Distance to the nearest stratum; above 1 is outside the domain."""
        z = (x - self.centre) / self.width
        nearest: Floats = np.min([part.distance(z) for part in self.parts], axis=0)
        return nearest / self.edge

    def dump(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "centre": rounded(self.centre),
            "width": rounded(self.width),
            "edge": rounded(self.edge),
            "parts": [
                {name: rounded(getattr(part, name)) for name in ("centre", "axes", "rest")}
                for part in self.parts
            ],
        }

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> "Domain":
        """What ``dump`` wrote."""
        k = len(data["centre"])

        def matrix(value: list[Any]) -> Floats:
            return np.asarray(value, dtype=np.float64).reshape(k, -1)

        parts = tuple(
            Ellipsoid(np.asarray(p["centre"], float), matrix(p["axes"]), matrix(p["rest"]))
            for p in data["parts"]
        )
        centre, width = np.asarray(data["centre"], float), np.asarray(data["width"], float)
        return cls(centre, width, parts, float(data["edge"]))


def _ellipsoid(z: Floats, weights: Floats) -> Ellipsoid:
    weights = weights / weights.sum()
    centre = weights @ z
    values, vectors = np.linalg.eigh(((z - centre) * weights[:, None]).T @ (z - centre))
    values, vectors = values[::-1], vectors[:, ::-1]
    plane = int(np.searchsorted(np.cumsum(values) / values.sum(), KEPT_VARIANCE)) + 1
    widths = np.sqrt(np.maximum(values, (FLOOR**2) * values[0]))
    white = vectors / widths
    return Ellipsoid(centre, white[:, :plane], white[:, plane:])


def enclose(x: Floats, weights: Floats, strata: NDArray[np.str_] | None = None) -> Domain:
    """Domain of training samples ``x``, shape ``(n, k)``, with edge still 1."""
    centre = x.mean(axis=0)
    spread = x.std(axis=0)
    width = np.where(spread > 0.0, spread, 1.0)
    z = (x - centre) / width
    kinds = np.full(len(x), "") if strata is None else strata
    parts = tuple(_ellipsoid(z[kinds == kind], weights[kinds == kind]) for kind in np.unique(kinds))
    return Domain(centre, width, parts)


def edge(distances: Floats, groups: NDArray[np.str_], margin: float) -> float:
    """Edge that leaves ordinary cells inside: ``margin`` times the 97 % row of left-out cells."""
    farthest = [np.quantile(distances[groups == cell], 0.97) for cell in np.unique(groups)]
    return float(np.quantile(farthest, 0.97)) * margin
