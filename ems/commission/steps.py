"""The steps of each converter with its packs, and to which device what they show belongs."""

from ems.commission.checks import Checks
from ems.commission.person import Person, answered
from ems.commission.record import Check, Name, Verdict
from ems.commission.rig import Rig
from ems.site import Site


async def converters(
    rig: Rig, person: Person, wanted: frozenset[str], found: dict[str, list[Check]]
) -> None:
    """Go through the steps of the converters and their packs.

    Args:
        rig: Drives the site.
        person: Confirms each step, and tells what a rectifier shelf does.
        wanted: Devices whose steps these are.
        found: Where each device's checks are put.

    Raises:
        Aborted: nobody answers.
    """
    checks, site = Checks(rig, person), rig.site
    for index, spec in enumerate(site.converters):
        mine = [i for i in spec.packs if site.packs[i].device in wanted]
        checks.preferred = frozenset(mine)
        for pack in mine:
            keep(found, site.packs[pack].device, await checks.contactor(pack), person)
        by_hand = spec.rectifier is not None
        if of := _signs(site, index, wanted):
            check = await (
                _by_hand(rig, person, spec.id, Name.SIGN) if by_hand else checks.sign(index)
            )
            for device in of:
                keep(found, device, _of_device(site, device, check), person)
        if spec.device in wanted:
            check = await (
                _by_hand(rig, person, spec.id, Name.TIMEOUT) if by_hand else checks.timeout(index)
            )
            keep(found, spec.device, check, person)


def _signs(site: Site, converter: int, wanted: frozenset[str]) -> list[str]:
    """Devices under which the sign check of a converter is kept; none: it is not needed.

    It belongs to the converter. A BMS or a meter that is proven without it needs the
    check as well, because that is what shows which way its current or power counts.
    """
    spec = site.converters[converter]
    if spec.device in wanted:
        return [spec.device]
    others = [site.packs[i].device for i in spec.packs]
    if converter == 0:
        others.append(site.grid.device)
    return [device for device in others if device in wanted]


def _of_device(site: Site, device: str, check: Check) -> Check:
    """A sign check as it counts for one of the devices it compared."""
    packs = check.measured.get("packs")
    pack = next((p.id for p in site.packs if p.device == device), None)
    if packs is None or pack is None or pack in packs:
        return check
    return Check(check.name, Verdict.SKIPPED, f"{pack} was not connected: {check.text}")


async def _by_hand(rig: Rig, person: Person, converter: str, name: Name) -> Check:
    """A rectifier shelf feeds the load: what it does is shown by hand and told."""
    question = (
        f"{converter}: how was its {name} proven by hand, with which numbers? (empty: not at all)"
    )
    told = await rig.meanwhile(answered(lambda: person.ask(question)))
    return Check(name, Verdict.STATED if told else Verdict.SKIPPED, told or "not proven")


def keep(found: dict[str, list[Check]], device: str, check: Check, person: Person) -> None:
    """Put a check to its device, and say what came of it."""
    found.setdefault(device, []).append(check)
    person.tell(f"{device}, {check.name}: {check.verdict}. {check.text}")
