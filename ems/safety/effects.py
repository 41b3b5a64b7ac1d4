"""What the raised levels take away from each pack."""

from dataclasses import dataclass

from ems.safety.row import Effect
from ems.safety.state import SafetyState
from ems.site import Site


@dataclass(frozen=True, slots=True, eq=False)
class Effects:
    """What the raised levels take away, per pack."""

    flags: list[int]
    reason: list[str]
    """Fault name of the highest level that takes something away, per pack."""


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
    """Union of the effects of every raised level; a latched one acts like a present one."""
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
    return Effects(flags, reason)


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
