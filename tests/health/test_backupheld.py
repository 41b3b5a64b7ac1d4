"""When the deliverable energy is worked out anew and when the last figure stands."""

from dataclasses import replace

import numpy as np
import pytest

from ems import health
from ems.model import Standing
from tests.builders import make_site, make_snapshot
from tests.health.drive import wide_limits
from tests.health.test_backup import held, known, only


def now(earlier, site, **changes):
    """The figure of a cycle that follows ``earlier``; ``changes`` as for ``backup``."""
    snapshot = make_snapshot(site, now_s=changes.pop("now_s", 100.0))
    given = {
        "estimate": known(site),
        "limits": wide_limits(site),
        "standing": held(site),
        "notice_hours": 0.0,
    } | changes
    return health.backup_now(
        earlier,
        given["estimate"],
        given["limits"],
        snapshot,
        given["standing"],
        given["notice_hours"],
        site,
    )


def test_a_figure_is_kept_for_less_than_five_seconds():
    site = make_site()
    first = now(None, site)
    emptier = known(site, soc_frac=0.4)
    assert now(first, site, estimate=emptier, now_s=104.9) is first
    assert now(first, site, estimate=emptier, now_s=105.0) is not first
    assert now(first, site, estimate=emptier, now_s=99.0) is not first


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"standing": Standing(True, (True,) * 3)}, id="grid lost"),
        pytest.param({"standing": Standing(False, (True, False, True))}, id="pack stopped"),
        pytest.param({"notice_hours": 1.0}, id="notice"),
    ],
)
def test_what_changes_who_carries_is_worked_out_at_once(change):
    site = make_site()
    first = now(None, site)
    after = now(first, site, **change)
    assert after is not first
    assert after.notice_hours == change.get("notice_hours", 0.0)


def test_a_pack_that_may_give_nothing_or_is_unknown_counts_at_once():
    site = make_site()
    first = now(None, site)
    limits = wide_limits(site)
    stopped = replace(limits, discharge_w=limits.discharge_w * np.array((1.0, 0.0, 1.0)))
    full = replace(limits, charge_w=limits.charge_w * np.array((1.0, 0.0, 1.0)))
    assert now(first, site, limits=stopped).backup.energy_wh < first.backup.energy_wh
    assert now(first, site, limits=full) is not first
    assert now(first, site, estimate=only(site, 2)).backup.energy_wh < first.backup.energy_wh


def test_an_outage_is_worked_out_every_cycle():
    site = make_site()
    lost = Standing(True, (True,) * site.n_packs)
    first = now(None, site, standing=lost)
    assert now(first, site, standing=lost, now_s=101.0) is not first
