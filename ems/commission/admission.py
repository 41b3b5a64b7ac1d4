"""Whether a site may be armed, or stay so, by its commissioning record: asked in one place.

An ARM request asks it, and so does every start that finds itself armed by the run before.
"""

from ems.commission import record
from ems.handover import Handover
from ems.safety.state import SafetyState


def uncommissioned(given: Handover) -> str:
    """Why the site must not be armed yet, as one sentence; empty when it may."""
    try:
        found = record.read(given.site)
    except (OSError, ValueError) as error:
        return f"the commissioning record cannot be read ({error}); {record.DO}"
    return record.refusal(given.site, given.devices, given.profile_sha256, found)


def admitted(given: Handover, state: SafetyState) -> tuple[SafetyState, str]:
    """The state a run begins with, and why it is not armed as the run before was.

    Contactors stay as they are found, as after any disarmed start: opening them is no
    business of a paper that does not fit.

    Args:
        given: Site and devices as their files are now.
        state: What was saved.

    Returns:
        The state itself and an empty reason when it was not armed, or may stay so.
    """
    reason = uncommissioned(given) if state.armed else ""
    return (state._replace(armed=False), reason) if reason else (state, "")
