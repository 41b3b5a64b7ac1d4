"""Resistance of every series group, learned from how its voltage follows the current.

No test pulse and no settled step is needed. Voltage and current are both freed of what
changes over minutes (OCV, slow diffusion) by the same high pass; what remains obeys

    -v = f(T) * (r0 * i + r1 * i_fast + r2 * i_slow) + what counting says the OCV fell

with ``i_fast`` and ``i_slow`` the current behind time constants of 4 and 50 s. The sums
of a weighted least-squares fit are kept per pack (regressors) and per cell (response),
so memory does not grow, and every sample with current that moves adds to them. Intake
enters as a prior, which also says how the parts usually relate.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ems.health.inputs import PackInputs
from ems.health.learning import pairs
from ems.health.prepare import ARRHENIUS_K, ROOM_K, Prepared
from ems.model import BoolArray, FloatArray, SiteSnapshot

NEVER_S: Final = -1e9
ALIGNED_S: Final = 0.3
"""Voltage and current must be sampled this close: of a step only one of them may tell."""
LONGEST_S: Final = 10.5
"""After a longer silence the filters start anew."""
HIGH_PASS_S: Final = 150.0
LEAST_STEP: Final = 0.2
"""Current above the high pass from which a sample says anything, of a load step (0.1 C)."""
ACTIVATION_SIGMA_K: Final = 400.0
"""How far a cell's activation temperature may lie from ``ARRHENIUS_K``, K (1 sigma);
20 to 25 kJ/mol are usual for the resistance of aged cells."""
NOISE_V: Final = 0.001
"""Of a cell voltage (1 sigma): resolution 1 mV and noise."""
MODEL_SIGMA: Final = 0.03
"""Error of the two-pair model as a share of the drop (1 sigma)..."""
RUN: Final = 10.0
"""...which so many samples in a row have in common, while noise is new in each."""
FLOOR_SIGMA: Final = 0.05
"""No R0 is known better (1 sigma): two pairs for a spectrum move some percent of it."""
FLOOR10_SIGMA: Final = 0.03
"""Nor a 10 s resistance."""
BLUR_SIGMA: Final = 0.08
"""What the fast pair does between two samples cannot be told from R0: this share of R0
times ``1 - exp((1 s - interval) / FAST_S)`` is uncertain (1 sigma)."""
WARM_SHARE: Final = 0.4
"""Share of ``ACTIVATION_SIGMA_K`` that stays uncertain (1 sigma) after learning: a site has
one climate, and the lever between its nights and days is short."""
STEEP_V: Final = 2.0
"""Slope of the OCV from which a sample is not used, V per unit of SoC: at the ends of the
curve the fall of the OCV drowns the resistance."""
MOVED_REST: Final = 0.1
"""What of it changes from hour to hour."""
CLIP_V: Final = 0.005
"""A sample may differ from what is expected by this plus ``CLIP_DROPS`` times the drop."""
CLIP_DROPS: Final = 2.0
MEMORY_S: Final = 30.0 * 86_400.0
"""Old evidence fades with this time constant, so that ageing is followed."""
SOLVE_S: Final = 300.0
SPACING_SHARE: Final = 0.1
_MINUS_TAU_S: Final = np.array(((-pairs.FAST_S,), (-pairs.SLOW_S,), (-HIGH_PASS_S,)))
LEAST_STEPS: Final = 10
SURE_SIGMA: Final = 0.10
"""A learned resistance is good from this relative sigma (1 sigma) on..."""
PLAUSIBLE: Final = (0.2, 5.0)
"""...and within these multiples of a new group's; reversed or frozen is below."""


@dataclass(frozen=True, slots=True, eq=False)
class ResistanceState:
    """Filters and sums; ``n_packs`` first, then ``n_cells``."""

    at_s: FloatArray
    """Time stamp of the last sample used per pack."""
    current_a: FloatArray
    fast_a: FloatArray
    slow_a: FloatArray
    mean: FloatArray
    """Slow part of the currents, shape ``(N - 1, n_packs)``."""
    warmth: FloatArray
    """f(T) by ``ARRHENIUS_K`` at the mean temperature of the pack."""
    departure: FloatArray
    """``ACTIVATION_SIGMA_K * (1/T - 1/298 K)``."""
    information: FloatArray
    """Weighted sums of products of the regressors, ``(n_packs, N, N)``, 1/ohm^2."""
    steps: FloatArray
    """Load steps above 0.1 C seen, per pack."""
    spacing_s: FloatArray
    """Mean interval of the samples around load steps, s."""
    solved_s: FloatArray
    """Cycle time of the last solution per pack, s."""
    slope_v: FloatArray
    """dOCV/dSoC at the mean SoC of the pack, V."""
    steep: BoolArray
    """Packs near an end of the curve, where no sample is used."""
    moved_v: FloatArray
    """What counting says the OCV fell since a while ago, above the high pass, V."""
    mean_v: FloatArray
    """Slow part of each cell voltage, V."""
    response: FloatArray
    """Weighted sums of regressor times response, ``(N, n_cells)``."""
    parts_ohm: FloatArray
    """Solution at 25 degC, ``(N, n_cells)``; row 3 is R0 times the departure in
    units of ``ACTIVATION_SIGMA_K``, row 4 the fall of the OCV over the counted one, times
    the intake resistance."""
    sigma_frac: FloatArray
    """Relative error (1 sigma) of R0 per pack; the same for all its cells."""
    sigma10_frac: FloatArray
    """The same of the 10 s resistance."""


def initial(prepared: Prepared) -> ResistanceState:
    """State that knows what intake knows."""
    layout = prepared.layout
    n_cells, n_packs = layout.pack_of_cell.size, prepared.series.size
    prior = prepared.group_ohm.take(layout.pack_of_cell)
    ones = np.ones(n_packs)
    return ResistanceState(
        at_s=np.full(n_packs, NEVER_S),
        current_a=np.zeros(n_packs),
        fast_a=np.zeros(n_packs),
        slow_a=np.zeros(n_packs),
        mean=np.zeros((pairs.N - 1, n_packs)),
        warmth=np.ones(n_packs),
        departure=np.zeros(n_packs),
        information=np.zeros((n_packs, pairs.N, pairs.N)),
        steps=np.zeros(n_packs),
        spacing_s=np.ones(n_packs),
        solved_s=np.full(n_packs, NEVER_S),
        slope_v=np.zeros(n_packs),
        steep=np.zeros(n_packs, np.bool_),
        moved_v=np.zeros(n_packs),
        mean_v=np.zeros(n_cells),
        response=np.zeros((pairs.N, n_cells)),
        parts_ohm=np.outer(pairs.PRIOR, prior),
        sigma_frac=pairs.relative_sigma(pairs.PART0, pairs.COVARIANCE, pairs.PRIOR) * ones,
        sigma10_frac=pairs.relative_sigma(pairs.PART10, pairs.COVARIANCE, pairs.PRIOR) * ones,
    )


def warm(
    state: ResistanceState, temp_c: FloatArray, slope_v: FloatArray, steepest_v: FloatArray
) -> ResistanceState:
    """State that knows the packs' mean temperatures, degC, and slopes of the OCV, V.

    The slope is that at the SoC estimate, the steepest the larger of it and of the one
    that the voltage itself points to.
    """
    inverse = 1.0 / (temp_c + pairs.KELVIN) - 1.0 / ROOM_K
    return replace(
        state,
        warmth=np.exp(ARRHENIUS_K * inverse),
        departure=ACTIVATION_SIGMA_K * inverse,
        slope_v=slope_v,
        steep=steepest_v > STEEP_V,
    )


def learn(
    state: ResistanceState,
    snapshot: SiteSnapshot,
    inputs: PackInputs,
    usable: BoolArray,
    prepared: Prepared,
) -> ResistanceState:
    """State after this sample; a repeated, misaligned or unusable one changes nothing.

    Args:
        state: Before.
        snapshot: For cell voltages and their time stamps.
        inputs: Its packs.
        usable: Cells that may be used.
        prepared: Constants of the site.
    """
    layout = prepared.layout
    pack = layout.pack_of_cell
    late_s = snapshot.cells.voltage_at_s - inputs.current_at_s.take(pack)
    worst_s = np.maximum.reduceat(np.abs(late_s, out=late_s), layout.cell_start)
    lasted_s = inputs.current_at_s - state.at_s
    fresh = (worst_s < ALIGNED_S) & (lasted_s > 0.0)
    fresh &= inputs.current_known
    n_fresh = np.count_nonzero(fresh)
    if not n_fresh:
        return state
    whole = n_fresh == fresh.size
    now_a, at_s = inputs.current_a, inputs.current_at_s
    begun = lasted_s < LONGEST_S
    anew = None
    if not whole or np.count_nonzero(begun) < begun.size:
        anew = fresh & ~begun
        begun &= fresh
        lasted_s = np.where(begun, lasted_s, 0.0)
        at_s = np.where(fresh, at_s, state.at_s)

    fast_rate, slow_rate, rate = 1.0 - np.exp(lasted_s / _MINUS_TAU_S)
    fast_a = state.fast_a + fast_rate * (now_a - state.fast_a)
    slow_a = state.slow_a + slow_rate * (now_a - state.slow_a)
    if anew is not None and anew.any():
        # Nobody knows what flowed before: as if it had been this current for long.
        fast_a, slow_a = np.where(anew, now_a, fast_a), np.where(anew, now_a, slow_a)
    f, kept = state.warmth, 1.0 - rate
    seen = np.array((now_a, fast_a, slow_a, state.departure))
    seen *= f
    seen[pairs.N - 2] *= now_a
    fallen_v = state.slope_v * now_a
    fallen_v *= lasted_s
    fallen_v /= prepared.capacity_as
    moved_v = kept * (state.moved_v + fallen_v)
    if anew is not None:
        rate = np.where(anew, 1.0, rate)
        kept = 1.0 - rate
        moved_v = np.where(anew, 0.0, moved_v)
    mean = state.mean + rate * (seen - state.mean)

    fit = usable if whole else usable & fresh.take(pack)
    known = state.mean_v > 0.0
    mean_v = rate.take(pack)
    if np.count_nonzero(known) + np.count_nonzero(fit) == 2 * fit.size:
        known = fit
        away_v = snapshot.cells.voltage_v - state.mean_v
    else:
        away_v = np.zeros(fit.size)
        np.subtract(snapshot.cells.voltage_v, state.mean_v, out=away_v, where=fit)
        mean_v[~known] = 1.0
    mean_v *= away_v
    mean_v += state.mean_v
    stepped = np.abs(now_a - state.current_a) > prepared.step_a
    stepped &= begun
    steps, spacing_s = state.steps, state.spacing_s
    if np.count_nonzero(stepped):
        steps = steps + stepped
        spacing_s = spacing_s + SPACING_SHARE * stepped * (lasted_s - spacing_s)
    above = seen[0] - mean[0]
    excited = np.abs(above) > f * LEAST_STEP * prepared.step_a
    excited &= begun
    excited &= ~state.steep
    information, response = state.information, state.response
    if np.count_nonzero(excited):
        x = np.empty((pairs.N, now_a.size))
        np.subtract(seen, mean, out=x[: pairs.N - 1])
        np.divide(moved_v, prepared.group_ohm, out=x[pairs.N - 1])
        used = fit & known & excited.take(pack)
        high_v = away_v * (1.0 - rate.take(pack))
        information, response = _added(state, x, used, high_v, moved_v, prepared)
    return ResistanceState(
        at_s=at_s,
        current_a=now_a if whole else np.where(fresh, now_a, state.current_a),
        fast_a=fast_a,
        slow_a=slow_a,
        mean=mean,
        warmth=f,
        departure=state.departure,
        information=information,
        steps=steps,
        spacing_s=spacing_s,
        solved_s=state.solved_s,
        slope_v=state.slope_v,
        steep=state.steep,
        moved_v=moved_v,
        mean_v=mean_v,
        response=response,
        parts_ohm=state.parts_ohm,
        sigma_frac=state.sigma_frac,
        sigma10_frac=state.sigma10_frac,
    )


def _added(
    state: ResistanceState,
    x: FloatArray,
    fit: BoolArray,
    high_v: FloatArray,
    moved_v: FloatArray,
    prepared: Prepared,
) -> tuple[FloatArray, FloatArray]:
    """``information`` and ``response`` with one more sample.

    Where one cell of a pack is unusable its response is taken as expected, so that the
    regressors stay those of the pack.

    Args:
        state: Before this sample.
        x: Regressors, shape ``(N, n_packs)``.
        fit: Cells that say something.
        high_v: Their voltages above the high pass, V.
        moved_v: As ``ResistanceState.moved_v`` with this sample.
        prepared: Constants of the site.
    """
    layout = prepared.layout
    pack = layout.pack_of_cell
    drop_v = prepared.group_ohm * np.abs(x[0])
    used = np.logical_or.reduceat(fit, layout.cell_start)
    common_v2 = (MODEL_SIGMA * drop_v) ** 2 + (MOVED_REST * moved_v) ** 2
    weight = used / (NOISE_V**2 + RUN * common_v2)
    regressors = x.take(pack, axis=1)
    expected_v = np.einsum("jc,jc->c", state.parts_ohm, regressors)
    np.negative(expected_v, out=expected_v)
    bound_v = (CLIP_V + CLIP_DROPS * drop_v).take(pack)
    error_v = high_v - expected_v
    if np.count_nonzero(fit) < fit.size:
        error_v[~fit] = 0.0
    np.minimum(error_v, bound_v, out=error_v)
    np.maximum(error_v, np.negative(bound_v, out=bound_v), out=error_v)
    error_v += expected_v
    error_v *= weight.take(pack)
    regressors *= error_v
    weighted = x * weight
    return (
        state.information + np.einsum("ip,jp->pij", weighted, x),
        np.subtract(state.response, regressors, out=regressors),
    )


def due(state: ResistanceState, now_s: float) -> int | None:
    """The pack whose solution is oldest, if it is old enough to be made anew."""
    pack = int(state.solved_s.argmin())
    return pack if now_s - float(state.solved_s[pack]) >= SOLVE_S else None


def solve(state: ResistanceState, pack: int, now_s: float, prepared: Prepared) -> ResistanceState:
    """State with the resistances of one pack solved for, and its old evidence faded."""
    solved_s = state.solved_s.copy()
    solved_s[pack] = now_s
    if not state.information[pack].any():
        return replace(state, solved_s=solved_s)
    own = prepared.layout.cell_slices[pack]
    prior = float(prepared.group_ohm[pack])
    before_s = float(state.solved_s[pack])
    fade = math.exp(-min(now_s - before_s, MEMORY_S) / MEMORY_S) if before_s > NEVER_S else 1.0
    information, response = state.information.copy(), state.response.copy()
    parts_ohm = state.parts_ohm.copy()
    sigma, sigma10 = state.sigma_frac.copy(), state.sigma10_frac.copy()
    information[pack] *= fade
    response[:, own] *= fade
    # In units of the intake resistance, where the prior is the same for every pack.
    spacing_s = max(float(state.spacing_s[pack]), 1.0)
    precision = pairs.precision(spacing_s)
    covariance = np.linalg.inv(precision + information[pack] * prior**2)
    expected = precision @ pairs.PRIOR
    parts = covariance @ (expected[:, None] + response[:, own] * prior)
    parts_ohm[:, own] = parts * prior
    middle = np.median(parts, axis=1)
    blur = -BLUR_SIGMA * math.expm1((1.0 - spacing_s) / pairs.FAST_S)
    climate = WARM_SHARE * float(state.departure[pack])
    sigma[pack] = pairs.relative_sigma(
        pairs.PART0, covariance, middle, math.hypot(FLOOR_SIGMA, blur, climate)
    )
    sigma10[pack] = pairs.relative_sigma(
        pairs.PART10, covariance, middle, math.hypot(FLOOR10_SIGMA, climate)
    )
    return replace(
        state,
        information=information,
        response=response,
        parts_ohm=parts_ohm,
        sigma_frac=sigma,
        sigma10_frac=sigma10,
        solved_s=solved_s,
    )


def r0_ohm(state: ResistanceState) -> FloatArray:
    """Immediate resistance of each reported cell at 25 degC, ohm."""
    return np.asarray(state.parts_ohm[0])


def ten_s_ohm(state: ResistanceState) -> FloatArray:
    """Resistance of each reported cell 10 s after a step at 25 degC, ohm."""
    return np.asarray(pairs.PART10 @ state.parts_ohm)


def rc_ohm(state: ResistanceState) -> FloatArray:
    """What comes on top of R0 up to 60 s after a step at 25 degC, ohm."""
    return np.asarray(pairs.PART60 @ state.parts_ohm - state.parts_ohm[0])


def good(state: ResistanceState, prepared: Prepared) -> BoolArray:
    """Cells whose resistance is learned well enough to stand for itself."""
    pack = prepared.layout.pack_of_cell
    sure = (state.sigma10_frac <= SURE_SIGMA) & (state.steps >= LEAST_STEPS)
    ratio = ten_s_ohm(state) / new_ohm(prepared)
    low, high = PLAUSIBLE
    plausible = (ratio > low) & (ratio < high) & (r0_ohm(state) > 0.0)
    return np.asarray(sure.take(pack) & plausible)


def new_ohm(prepared: Prepared) -> FloatArray:
    """10 s resistance of a new group at 25 degC, per reported cell, ohm."""
    return np.asarray((prepared.group_ohm / prepared.ratio).take(prepared.layout.pack_of_cell))


def drop_v(state: ResistanceState, pack: int, own: slice) -> FloatArray:
    """By how much the cells of a pack stand below rest (discharge > 0) at the last sample, V."""
    f, departure = float(state.warmth[pack]), float(state.departure[pack])
    now_a = float(state.current_a[pack])
    x = (now_a, float(state.fast_a[pack]), float(state.slow_a[pack]), departure * now_a, 0.0)
    return np.asarray(f * (np.array(x) @ state.parts_ohm[:, own]))
