"""A small process that offers and uploads, made to be killed.

``python -m tests.telemetry.publisher FILE PORT COUNT``: offers COUNT messages in
each of two streams, prints how many are committed, drains, and ends.
"""

import sys
import time
from pathlib import Path

from ems.clock import SystemClock
from ems.site import UplinkSpec
from ems.telemetry.messages import Kind, Message
from ems.telemetry.outbox import Outbox
from ems.telemetry.uplink import Uplink


def main(path: Path, port: int, count: int) -> None:
    clock = SystemClock()
    outbox = Outbox(path, clock)
    spec = UplinkSpec("127.0.0.1", port, "ems")
    uplink = Uplink(outbox, spec, "s", "b", clock, backoff_s=(0.05, 0.2), settle_s=0.0)
    uplink.start()
    for n in range(count):
        ts_ms = round(clock.now_utc().timestamp() * 1e3)
        outbox.offer(
            [
                Message(
                    f"ems/s/{subject}/telemetry",
                    subject,
                    Kind.TELEMETRY,
                    "b",
                    ts_ms,
                    n,
                    True,
                    "good",
                    {"n": n},
                )
                for subject in ("p1", "p2")
            ]
        )
        time.sleep(0.002)
        print(outbox.stats().committed, flush=True)
    while outbox.stats().rows + outbox.stats().waiting:
        time.sleep(0.02)
    uplink.stop()
    outbox.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
