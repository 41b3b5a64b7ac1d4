"""Fitted models as arrays of numbers, and their prediction with numpy alone.

A model is a frozen dataclass of arrays with ``mean(x)`` and ``spread(x)``; ``dump`` and
``load`` turn it into JSON and back. How one is fitted is in ``ems.health.goodsin.fitting``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
DIGITS = 7
"""Significant digits kept in a coefficient file; float32 trained weights have no more."""


class Model(Protocol):
    """A fitted model. ``x`` has shape ``(n, k)``, answers have shape ``(n,)``."""

    def mean(self, x: Floats) -> Floats:
        """Central answer."""

    def spread(self, x: Floats) -> Floats:
        """How unsure the model is of each answer, >= 0; zero when it cannot tell."""


class Recipe(Protocol):
    """How a model is made. ``groups`` names the physical cell of each row."""

    def fit(self, x: Floats, y: Floats, groups: NDArray[np.str_]) -> Model:
        """Model of ``y``, shape ``(n,)``, from ``x``, shape ``(n, k)``."""


@dataclass(frozen=True)
class Linear:
    """Weighted sum: ``((x - centre) / width) @ weights + bias``."""

    centre: Floats
    width: Floats
    weights: Floats
    bias: float

    def mean(self, x: Floats) -> Floats:
        """Central answer."""
        return ((x - self.centre) / self.width) @ self.weights + self.bias

    def spread(self, x: Floats) -> Floats:
        """A line does not know how unsure it is."""
        return np.zeros(len(x))


@dataclass(frozen=True)
class Kernel:
    """Gaussian process through inducing points, in the space ``(x - centre) / width``.

    ``points`` are centres of clusters, never rows of the training table. ``root`` is
    the matrix R with posterior variance ``prior - |k R|²``.
    """

    centre: Floats
    width: Floats
    points: Floats
    weights: Floats
    bias: float
    slope: Floats
    """Linear trend added to the kernel part, shape ``(k,)``."""
    root: Floats
    prior: float

    def _kernel(self, x: Floats) -> Floats:
        z = (x - self.centre) / self.width
        apart = (z**2).sum(axis=1)[:, None] + (self.points**2).sum(axis=1) - 2.0 * z @ self.points.T
        near: Floats = np.exp(-0.5 * np.maximum(apart, 0.0))
        return near

    def mean(self, x: Floats) -> Floats:
        """Central answer."""
        z = (x - self.centre) / self.width
        return self._kernel(x) @ self.weights + z @ self.slope + self.bias

    def spread(self, x: Floats) -> Floats:
        """Posterior standard deviation."""
        known = ((self._kernel(x) @ self.root) ** 2).sum(axis=1)
        return cast(Floats, np.sqrt(np.maximum(self.prior - known, 0.0)))


@dataclass(frozen=True)
class Mlp:
    """Neural network with tanh layers and one linear output."""

    centre: Floats
    width: Floats
    weights: tuple[Floats, ...]
    biases: tuple[Floats, ...]
    bias: float
    gain: float

    def mean(self, x: Floats) -> Floats:
        """Central answer."""
        z = (x - self.centre) / self.width
        for weights, biases in zip(self.weights[:-1], self.biases[:-1], strict=True):
            z = np.tanh(z @ weights + biases)
        last = z @ self.weights[-1] + self.biases[-1]
        return last[:, 0] * self.gain + self.bias

    def spread(self, x: Floats) -> Floats:
        """One network does not know how unsure it is."""
        return np.zeros(len(x))


@dataclass(frozen=True)
class Forest:
    """Mean of decision trees laid end to end; a leaf points to itself."""

    feature: NDArray[np.int64]
    threshold: Floats
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    value: Floats
    roots: NDArray[np.int64]
    depth: int

    def _trees(self, x: Floats) -> Floats:
        at = np.broadcast_to(self.roots, (len(x), len(self.roots))).copy()
        rows = np.arange(len(x))[:, None]
        for _ in range(self.depth):
            # Trees were grown on float32; a value on a threshold must fall to the same side.
            goes_left = x[rows, self.feature[at]].astype(np.float32) <= self.threshold[at]
            at = np.where(goes_left, self.left[at], self.right[at])
        return self.value[at]

    def mean(self, x: Floats) -> Floats:
        """Central answer."""
        return cast(Floats, self._trees(x).mean(axis=1))

    def spread(self, x: Floats) -> Floats:
        """Standard deviation over the trees."""
        return cast(Floats, self._trees(x).std(axis=1))


@dataclass(frozen=True)
class Blend:
    """Weighted mean of models; where they disagree they are unsure."""

    parts: tuple[Model, ...]
    shares: Floats

    def mean(self, x: Floats) -> Floats:
        """Central answer."""
        return np.stack([part.mean(x) for part in self.parts], axis=1) @ self.shares

    def spread(self, x: Floats) -> Floats:
        """Disagreement of the parts together with what they say themselves."""
        means = np.stack([part.mean(x) for part in self.parts], axis=1)
        own = np.stack([part.spread(x) for part in self.parts], axis=1)
        apart = (means - (means @ self.shares)[:, None]) ** 2
        return cast(Floats, np.sqrt((apart + own**2) @ self.shares))


@dataclass(frozen=True)
class Only:
    """A model that looks at some of the columns."""

    columns: NDArray[np.int64]
    part: Model

    def mean(self, x: Floats) -> Floats:
        """Central answer."""
        return self.part.mean(x[:, self.columns])

    def spread(self, x: Floats) -> Floats:
        """As the part says."""
        return self.part.spread(x[:, self.columns])


@dataclass(frozen=True)
class Switch:
    """One model per value of a column (a lot, a state of charge); the nearest value decides."""

    column: int
    values: Floats
    parts: tuple[Model, ...]

    def _nearest(self, x: Floats) -> NDArray[np.int64]:
        return cast(NDArray[np.int64], np.abs(x[:, self.column, None] - self.values).argmin(axis=1))

    def mean(self, x: Floats) -> Floats:
        """Central answer."""
        which, found = self._nearest(x), np.zeros(len(x))
        for number in np.unique(which):
            found[which == number] = self.parts[number].mean(x[which == number])
        return found

    def spread(self, x: Floats) -> Floats:
        """As the part says."""
        which, found = self._nearest(x), np.zeros(len(x))
        for number in np.unique(which):
            found[which == number] = self.parts[number].spread(x[which == number])
        return found


@dataclass(frozen=True)
class Projected:
    """A model that looks at ``((x - centre) / width) @ axes`` instead of ``x``."""

    centre: Floats
    width: Floats
    axes: Floats
    part: Model

    def _along(self, x: Floats) -> Floats:
        return ((x - self.centre) / self.width) @ self.axes

    def mean(self, x: Floats) -> Floats:
        """Central answer."""
        return self.part.mean(self._along(x))

    def spread(self, x: Floats) -> Floats:
        """As the part says."""
        return self.part.spread(self._along(x))


KINDS: dict[str, Any] = {
    kind.__name__.lower(): kind
    for kind in (Linear, Kernel, Mlp, Forest, Blend, Only, Switch, Projected)
}


def rounded(value: Any) -> Any:
    """Numbers as they stand in a coefficient file: few digits, plain lists."""
    if isinstance(value, np.ndarray):
        return rounded(value.tolist())
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def rounded_tree(value: Any) -> Any:
    """The same through nested mappings."""
    if isinstance(value, Mapping):
        return {key: rounded_tree(item) for key, item in value.items()}
    return rounded(value)


def dump(model: Model) -> dict[str, Any]:
    """The model as plain data for JSON."""

    def plain(value: Any) -> Any:
        if type(value) in KINDS.values():
            return dump(cast(Model, value))
        if isinstance(value, tuple) and value and type(value[0]) in KINDS.values():
            return [dump(part) for part in value]
        if isinstance(value, np.integer | np.floating):
            return rounded(value.item())
        return rounded(value)

    kind = type(model).__name__.lower()
    given = {each.name: plain(getattr(model, each.name)) for each in fields(cast(Any, model))}
    return {"kind": kind, **given}


def load(data: Mapping[str, Any]) -> Model:
    """The model that ``dump`` wrote.

    Raises:
        ValueError: the kind is none this version knows.
    """
    kind = KINDS.get(data["kind"])
    if kind is None:
        raise ValueError(f"model of kind {data['kind']!r} is not one of {', '.join(KINDS)}")
    given: dict[str, Any] = {}
    for name in (f.name for f in fields(kind)):
        value = data[name]
        if isinstance(value, Mapping):
            given[name] = load(value)
        elif name == "parts":
            given[name] = tuple(load(part) for part in value)
        elif isinstance(value, list) and name in ("weights", "biases") and kind is Mlp:
            given[name] = tuple(np.asarray(layer, dtype=np.float64) for layer in value)
        elif isinstance(value, list):
            whole = name in ("feature", "left", "right", "roots", "columns")
            given[name] = np.asarray(value, dtype=np.int64 if whole else np.float64)
        else:
            given[name] = value
    return cast(Model, kind(**given))
