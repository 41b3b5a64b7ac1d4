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
from ems.health.prepare import ARRHENIUS_K, ROOM_K, Prepared
from ems.model import BoolArray, FloatArray, SiteSnapshot
from ems.units import S_PER_H

KELVIN: Final = 273.15
NEVER_S: Final = -1e9
ALIGNED_S: Final = 0.3
"""Voltage and current of a sample must be this close, or it is not used: with the
blocks of a slow bus read apart, one shows a step and the other does not."""
LONGEST_S: Final = 10.5
"""After a longer silence the filters start anew."""
FAST_S: Final = 4.0
SLOW_S: Final = 50.0
"""Time constants of the two RC pairs. Cells have a spectrum; between 1 s and 2 min two
pairs describe it to some percent."""
HIGH_PASS_S: Final = 150.0
LEAST_STEP: Final = 0.2
"""Current above the high pass from which a sample says anything, of a load step (0.1 C)."""
SHARES: Final = (0.75, 0.12, 0.75)
"""R0, fast and slow pair over the 10 s resistance before anything is learned: fit of
30 A pulses of a used Nissan Leaf cell (R0 1.53, 0.24 at 3 s, 1.53 mohm at 50 s). Scaled
to give 1 after 10 s, see ``_PRIOR``."""
SCALE_SIGMA: Final = 0.5
"""Relative error (1 sigma) of the intake resistance as a whole..."""
SHARE_SIGMA: Final = (0.15, 0.15, 0.35)
"""...and of each part of it by itself."""
ACTIVATION_SIGMA_K: Final = 400.0
"""How far a cell's activation temperature may lie from ``ARRHENIUS_K``, K (1 sigma);
20 to 25 kJ/mol are usual for the resistance of aged cells."""
NOISE_V: Final = 0.001
"""Of a cell voltage (1 sigma): resolution 1 mV and noise."""
MODEL_SIGMA: Final = 0.03
"""Error of the two-pair model as a share of the drop (1 sigma)..."""
RUN: Final = 10.0
"""...which so many samples in a row have in common, while noise is new in each."""
FLOOR_SIGMA: Final = 0.02
"""No R0 is known better (1 sigma): gain of the current sensor and the like."""
FLOOR10_SIGMA: Final = 0.035
"""Nor a 10 s resistance: two pairs for a spectrum move some percent of it."""
BLUR_SIGMA: Final = 0.20
"""What the fast pair does between two samples is told from R0 by its assumed time constant
alone: this share of R0 times ``1 - exp((1 s - interval) / FAST_S)`` is uncertain (1 sigma)."""
STEEP_V: Final = 2.0
"""Slope of the OCV from which a sample is not used, V per unit of SoC: at the ends of the
curve the fall of the OCV drowns the resistance."""
MOVED_SIGMA: Final = 0.4
"""Error of what counting says the OCV fell, as a share of it (1 sigma): capacity, slope."""
MOVED_REST: Final = 0.1
"""What of it changes from hour to hour."""
CLIP_V: Final = 0.005
"""A sample may differ from what is expected by this plus ``CLIP_DROPS`` times the drop."""
CLIP_DROPS: Final = 2.0
MEMORY_S: Final = 30.0 * 86_400.0
"""Old evidence fades with this time constant, so that ageing is followed."""
SOLVE_S: Final = 300.0
TEN_S: Final = 10.0
SPACING_SHARE: Final = 0.1
N: Final = 5
"""Unknowns per cell: three parts at 25 degC, the departure from ``ARRHENIUS_K``, and by how
much the fall of the OCV differs from what counting says."""
LEAST_STEPS: Final = 10
SURE_SIGMA: Final = 0.10
"""A learned resistance is good from this relative sigma (1 sigma) on..."""
PLAUSIBLE: Final = (0.2, 5.0)
"""...and within these multiples of a new group's; a reversed sign is below, a frozen
voltage too."""


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


def arrhenius(temp_c: FloatArray) -> FloatArray:
    """Resistance at a temperature over that at 25 degC, > 0, 1 at 25 degC."""
    return np.asarray(np.exp(ARRHENIUS_K * (1.0 / (temp_c + KELVIN) - 1.0 / ROOM_K)))


def initial(prepared: Prepared) -> ResistanceState:
    """State that knows what intake knows."""
    layout = prepared.layout
    n_cells, n_packs = layout.pack_of_cell.size, prepared.series.size
    prior = prepared.group_ohm.take(layout.pack_of_cell)
    _, sigma, sigma10 = _precision(prepared)
    return ResistanceState(
        at_s=np.full(n_packs, NEVER_S),
        current_a=np.zeros(n_packs),
        fast_a=np.zeros(n_packs),
        slow_a=np.zeros(n_packs),
        mean=np.zeros((N - 1, n_packs)),
        warmth=np.ones(n_packs),
        departure=np.zeros(n_packs),
        information=np.zeros((n_packs, N, N)),
        steps=np.zeros(n_packs),
        spacing_s=np.ones(n_packs),
        solved_s=np.full(n_packs, NEVER_S),
        slope_v=np.zeros(n_packs),
        steep=np.zeros(n_packs, np.bool_),
        moved_v=np.zeros(n_packs),
        mean_v=np.zeros(n_cells),
        response=np.zeros((N, n_cells)),
        parts_ohm=np.outer(_PRIOR, prior),
        sigma_frac=sigma,
        sigma10_frac=sigma10,
    )


def warm(
    state: ResistanceState, temp_c: FloatArray, slope_v: FloatArray, steepest_v: FloatArray
) -> ResistanceState:
    """State that knows the packs' mean temperatures, degC, and slopes of the OCV, V.

    The slope is that at the SoC estimate, the steepest the larger of it and of the one
    that the voltage itself points to.
    """
    inverse = 1.0 / (temp_c + KELVIN) - 1.0 / ROOM_K
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
    volts_at_s = snapshot.cells.voltage_at_s
    late_s = np.abs(volts_at_s - inputs.current_at_s.take(pack))
    worst_s = np.maximum.reduceat(late_s, layout.cell_start)
    lasted_s = inputs.current_at_s - state.at_s
    fresh = inputs.current_known & (lasted_s > 0.0) & (worst_s < ALIGNED_S)
    if not fresh.any():
        return state
    begun = lasted_s < LONGEST_S
    lasted_s = np.where(fresh & begun, lasted_s, 0.0)
    anew = fresh & ~begun

    now_a = inputs.current_a
    fast_a = state.fast_a + (1.0 - np.exp(lasted_s / -FAST_S)) * (now_a - state.fast_a)
    slow_a = state.slow_a + (1.0 - np.exp(lasted_s / -SLOW_S)) * (now_a - state.slow_a)
    if anew.any():
        # Nobody knows what flowed before: as if it had been this current for long.
        fast_a, slow_a = np.where(anew, now_a, fast_a), np.where(anew, now_a, slow_a)
    f, rate = state.warmth, 1.0 - np.exp(lasted_s / -HIGH_PASS_S)
    seen = np.array((f * now_a, f * fast_a, f * slow_a, f * state.departure * now_a))
    mean = state.mean + np.where(anew, 1.0, rate) * (seen - state.mean)

    fallen_v = state.slope_v * now_a * lasted_s / (S_PER_H * prepared.capacity_ah)
    moved_v = np.where(anew, 0.0, (1.0 - rate) * (state.moved_v + fallen_v))

    volts = snapshot.cells.voltage_v
    fit = usable & fresh.take(pack)
    known = state.mean_v > 0.0
    away_v = np.subtract(volts, state.mean_v, out=np.zeros(volts.shape), where=fit)
    share = np.where(anew, 1.0, rate).take(pack)
    mean_v = state.mean_v + np.where(known, share, 1.0) * away_v
    x = np.empty((N, now_a.size))
    np.subtract(seen, mean, out=x[: N - 1])
    x[N - 1] = moved_v / prepared.group_ohm
    excited = fresh & begun & ~state.steep
    excited &= np.abs(x[0]) > f * LEAST_STEP * prepared.step_a
    stepped = np.abs(now_a - state.current_a) > prepared.step_a
    after = replace(
        state,
        at_s=np.where(fresh, inputs.current_at_s, state.at_s),
        current_a=np.where(fresh, now_a, state.current_a),
        fast_a=fast_a,
        slow_a=slow_a,
        mean=mean,
        moved_v=moved_v,
        mean_v=mean_v,
        steps=state.steps + (fresh & begun & stepped),
        spacing_s=state.spacing_s
        + SPACING_SHARE * (fresh & begun & stepped) * (lasted_s - state.spacing_s),
    )
    if not excited.any():
        return after
    high_v = away_v * (1.0 - share)
    return _add(after, x, fit & known & excited.take(pack), high_v, prepared)


def _add(
    state: ResistanceState, x: FloatArray, fit: BoolArray, high_v: FloatArray, prepared: Prepared
) -> ResistanceState:
    """Sums with one more sample: regressors ``x`` (N, n_packs), voltages above the high pass.

    Where one cell of a pack is unusable its response is taken as expected, so that the
    regressors stay those of the pack.
    """
    layout = prepared.layout
    pack = layout.pack_of_cell
    drop_v = prepared.group_ohm * np.abs(x[0])
    used = np.logical_or.reduceat(fit, layout.cell_start)
    common_v2 = (MODEL_SIGMA * drop_v) ** 2 + (MOVED_REST * state.moved_v) ** 2
    weight = used / (NOISE_V**2 + RUN * common_v2)
    regressors = x.take(pack, axis=1)
    expected_v = -np.einsum("jc,jc->c", state.parts_ohm, regressors)
    bound_v = (CLIP_V + CLIP_DROPS * drop_v).take(pack)
    error_v = np.where(fit, high_v - expected_v, 0.0)
    np.minimum(error_v, bound_v, out=error_v)
    np.maximum(error_v, -bound_v, out=error_v)
    error_v += expected_v
    regressors *= (weight.take(pack) * error_v)[None, :]
    weighted = x * weight
    return replace(
        state,
        information=state.information + np.einsum("ip,jp->pij", weighted, x),
        response=state.response - regressors,
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
    precision, _, _ = _precision(prepared)
    prior = float(prepared.group_ohm[pack])
    before_s = float(state.solved_s[pack])
    fade = math.exp(-min(now_s - before_s, MEMORY_S) / MEMORY_S) if before_s > NEVER_S else 1.0
    information, response = state.information.copy(), state.response.copy()
    parts_ohm = state.parts_ohm.copy()
    sigma, sigma10 = state.sigma_frac.copy(), state.sigma10_frac.copy()
    information[pack] *= fade
    response[:, own] *= fade
    # In units of the intake resistance, where the prior is the same for every pack.
    covariance = np.linalg.inv(precision + information[pack] * prior**2)
    expected = precision @ _PRIOR
    parts = covariance @ (expected[:, None] + response[:, own] * prior)
    parts_ohm[:, own] = parts * prior
    middle = np.median(parts, axis=1)
    blur = -BLUR_SIGMA * math.expm1(min(1.0 - float(state.spacing_s[pack]), 0.0) / FAST_S)
    floor0 = math.hypot(FLOOR_SIGMA, blur)
    sigma[pack] = _relative(_PART0, covariance, middle, floor0)
    sigma10[pack] = _relative(_PART10, covariance, middle, FLOOR10_SIGMA)
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
    return np.asarray(_PART10 @ state.parts_ohm)


def rc_ohm(state: ResistanceState) -> FloatArray:
    """What comes on top of R0 up to 60 s after a step at 25 degC, ohm."""
    return np.asarray(_PART60 @ state.parts_ohm - state.parts_ohm[0])


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


def _grown(after_s: float) -> FloatArray:
    fast, slow = -math.expm1(-after_s / FAST_S), -math.expm1(-after_s / SLOW_S)
    return np.array((1.0, fast, slow, 0.0, 0.0))


_PART0: Final = _grown(0.0)
_PART10: Final = _grown(TEN_S)
_PART60: Final = _grown(60.0)
_PRIOR: Final[FloatArray] = np.array((*(np.array(SHARES) / (_PART10[:3] @ SHARES)), 0.0, 1.0))


def _relative(
    part: FloatArray, covariance: FloatArray, middle: FloatArray, floor: float = 0.0
) -> float:
    value = float(part @ middle)
    if value <= 0.0:
        return 1.0
    return min(math.hypot(math.sqrt(float(part @ covariance @ part)) / value, floor), 1.0)


def _precision(prepared: Prepared) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Prior in units of the intake resistance: precision ``(N, N)``, relative sigma of R0
    and of the 10 s resistance per pack."""
    shares = _PRIOR
    spread = np.array((*SHARE_SIGMA, SHARES[0], MOVED_SIGMA))
    scaled = np.where(np.arange(N) < N - 1, shares, 0.0)
    covariance = SCALE_SIGMA**2 * np.outer(scaled, scaled) + np.diag(spread**2)
    ones = np.ones(prepared.series.size)
    return (
        np.asarray(np.linalg.inv(covariance), np.float64),
        _relative(_PART0, covariance, shares) * ones,
        _relative(_PART10, covariance, shares) * ones,
    )
