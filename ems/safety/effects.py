"""What the raised levels take away from each pack."""

from ems.model import Standing
from ems.safety.row import Effect
from ems.safety.state import Effects, SafetyState
from ems.site import Site

_STOP_BOTH = Effect.STOP_CHARGE | Effect.STOP_DISCHARGE
_NO_DISCHARGE = Effect.STOP_DISCHARGE | Effect.TRIP


def healthy(state: SafetyState, site: Site) -> tuple[bool, ...]:
    """Packs on which nothing but silence is raised (cause C33 in backup)."""
    if not state.levels:
        return (True,) * site.n_packs
    program = state.program
    ill = {
        pack
        for k, _ in state.levels
        if program.rows[k].id not in ("C33", "C33b", "C41")
        for pack in program.packs[k]
    }
    return tuple(i not in ill for i in range(site.n_packs))


def effects_of(state: SafetyState, site: Site) -> Effects:
    """Union of the effects of every raised level; a latched one acts like a present one.

    The last answer, while levels and grid are the same.
    """
    last = state.effects
    if last is not None and last.levels is state.levels and last.grid_lost == state.grid_lost:
        return last
    flags = [0] * site.n_packs
    reason = [""] * site.n_packs
    level_of_reason = [-1] * site.n_packs
    program = state.program
    table = program.effect_backup if state.grid_lost else program.effect
    for k, level in state.levels:
        effect = int(table[k, level])
        packs = range(site.n_packs) if effect & Effect.TRIP_ALL else program.packs[k]
        for pack in packs:
            flags[pack] |= effect
            if effect and level > level_of_reason[pack]:
                reason[pack], level_of_reason[pack] = program.rows[k].name, level
    blocked = [flag & _STOP_BOTH == _STOP_BOTH for flag in flags]
    return Effects(
        flags=flags,
        reason=reason,
        trip=[bool(flag & Effect.TRIP) for flag in flags],
        blocked=blocked,
        no_close=[bool(f & Effect.NO_CLOSE) or b for f, b in zip(flags, blocked, strict=True)],
        levels=state.levels,
        grid_lost=state.grid_lost,
    )


def standing_of(state: SafetyState, effects: Effects) -> Standing:
    """Verdict of this cycle for the next; the object of the last where nothing changed."""
    before = state.standing
    if effects is state.effects and before.grid_lost == state.grid_lost:
        return before
    discharge_ok = tuple([not flag & _NO_DISCHARGE for flag in effects.flags])
    if before.grid_lost == state.grid_lost and before.discharge_ok == discharge_ok:
        return before
    return Standing(grid_lost=state.grid_lost, discharge_ok=discharge_ok)


def share(state: SafetyState, pack: int, flag: int, derate: int, stop: int) -> float:
    """Share of the envelope that the raised levels leave in one direction."""
    if flag & (stop | Effect.TRIP):
        return 0.0
    return 0.5 if flag & derate and not _graded(state, pack, derate) else 1.0


def _graded(state: SafetyState, pack: int, effect: int) -> bool:
    """Whether every row that derates this pack is one the envelope grades already."""
    program = state.program
    return all(
        program.rows[k].graded
        for k, level in state.levels
        if pack in program.packs[k] and int(program.effect[k, level]) & effect
    )
