"""Prometheus metrics: the last record is kept, and turned into text when scraped.

``update`` runs in the control cycle and costs about a microsecond; building the
families happens in the server's thread, on immutable data.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from threading import Thread
from typing import TYPE_CHECKING, Final, Protocol
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import (
    Metric as Family,
)
from prometheus_client.registry import Collector

from ems.model import CycleRecord, Plan
from ems.site import Site
from ems.telemetry.metrics_table import FROM_RECORD, OWN, finite

if TYPE_CHECKING:
    from ems.telemetry.outbox import Outbox
    from ems.telemetry.uplink import Uplink

BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
"""Upper bounds of the cycle duration histogram, s; the cycle's period is 1 s."""
_HELP: Final = {metric.name: metric.help for metric in (*FROM_RECORD, *OWN)}


class CycleTiming(Protocol):
    """How the loop is doing; ``ems.daemon.CycleStats`` is one."""

    overruns: int
    missed: int
    last_compute_s: float


Certificates = Iterable[tuple[str, str, datetime]]
_Last = tuple[CycleRecord, CycleTiming, Plan | None, "Outbox | None", "Uplink | None"]


class Metrics(Collector):
    """Metrics of one site.

    Args:
        site: The site; names packs and converters.
        certificates: Device, whose, and end of validity of every certificate in use; called
            in the server's thread.
    """

    def __init__(self, site: Site, certificates: Callable[[], Certificates] = tuple) -> None:
        self._site = site
        self._certificates = certificates
        self._last: _Last | None = None
        self._counts = [0] * (len(BUCKETS_S) + 1)
        self._duration_sum_s = 0.0
        self._server: tuple[WSGIServer, Thread] | None = None
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def update(
        self,
        record: CycleRecord,
        timing: CycleTiming,
        plan: Plan | None = None,
        outbox: "Outbox | None" = None,
        uplink: "Uplink | None" = None,
    ) -> None:
        """Take note of a finished cycle.

        Args:
            record: The cycle's record; only the last one is kept.
            timing: How long it took, and how many came late so far.
            plan: The plan in force, if there is one.
            outbox: Queue to report on; ``None`` on a site without an uplink.
            uplink: Uplink to report on.
        """
        self._last = (record, timing, plan, outbox, uplink)
        duration_s = timing.last_compute_s
        self._counts[bisect_left(BUCKETS_S, duration_s)] += 1
        self._duration_sum_s += duration_s

    def serve(self, port: int) -> int:
        """Answer ``/metrics`` on 127.0.0.1 in a thread; returns the port (0 picks one).

        Raises:
            OSError: the port is taken.
        """
        self._server = start_http_server(port, addr="127.0.0.1", registry=self.registry)
        return int(self._server[0].server_port)

    def close(self) -> None:
        """Stop answering."""
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()
            self._server = None

    def describe(self) -> Iterator[Family]:
        """Nothing: names must be known without a record."""
        return iter(())

    def collect(self) -> Iterator[Family]:
        """The families as of the last record."""
        yield self._durations()
        if self._last is None:
            return
        record, timing, plan, outbox, uplink = self._last
        yield _counter("ems_cycle_overruns_total", timing.overruns)
        yield _counter("ems_cycle_missed_total", timing.missed)
        for metric in FROM_RECORD:
            family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, value in metric.read(record, self._site):
                known = finite(value)
                if known is not None:
                    family.add_metric(labels, known)
            yield family
        yield self._expiry()
        if plan is not None:
            yield _gauge("ems_plan_solve_seconds", plan.solve_s)
        if outbox is not None:
            yield from _outbox_families(outbox)
        if uplink is not None:
            yield from _uplink_families(uplink)

    def _expiry(self) -> GaugeMetricFamily:
        name = "ems_certificate_expiry_timestamp_seconds"
        family = GaugeMetricFamily(name, _HELP[name], labels=("device", "whose"))
        for device, whose, until in self._certificates():
            family.add_metric((device, whose), until.timestamp())
        return family

    def _durations(self) -> HistogramMetricFamily:
        counts, cumulated = list(self._counts), 0
        buckets = []
        for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), counts, strict=True):
            cumulated += count
            buckets.append((bound, float(cumulated)))
        name = "ems_cycle_duration_seconds"
        family = HistogramMetricFamily(name, _HELP[name])
        family.add_metric([], buckets, self._duration_sum_s)
        return family


def _gauge(name: str, value: float) -> Family:
    return GaugeMetricFamily(name, _HELP[name], value=value)


def _counter(name: str, value: float) -> Family:
    return CounterMetricFamily(name, _HELP[name], value=value)


def _outbox_families(outbox: "Outbox") -> Iterator[Family]:
    stats = outbox.stats()
    yield _gauge("ems_outbox_records", stats.rows)
    yield _gauge("ems_outbox_bytes", stats.size_b)
    yield _gauge("ems_outbox_oldest_age_seconds", outbox.oldest_age_s())
    yield _gauge("ems_outbox_waiting_records", stats.waiting)
    yield _gauge("ems_outbox_quarantined_records", stats.quarantined)
    yield _counter("ems_outbox_committed_total", stats.committed)
    yield _counter("ems_outbox_delivered_total", stats.delivered)
    yield _counter("ems_outbox_dropped_total", stats.dropped)
    yield _counter("ems_outbox_commits_total", stats.commits)
    yield _counter("ems_outbox_write_errors_total", stats.write_errors)


def _uplink_families(uplink: "Uplink") -> Iterator[Family]:
    status = uplink.status()
    yield _gauge("ems_uplink_up", float(status.state == "online"))
    yield _counter("ems_uplink_connections_total", status.connections)
    yield _counter("ems_uplink_sent_total", status.sent)
    yield _counter("ems_uplink_acked_total", status.acked)
    yield _counter("ems_uplink_refused_total", status.refused)
    yield _counter("ems_uplink_unheard_total", status.unheard)
