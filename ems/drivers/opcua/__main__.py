"""Fetch the certificate that an OPC UA server shows, for a person to compare and trust.

``python -m ems.drivers.opcua opc.tcp://HOST:PORT/PATH FILE.pem``

Nothing is trusted by this: compare the fingerprint with the one the device itself
shows, then move the file into the trust folder.
"""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Final

from asyncua import Client, ua

from ems.drivers.opcua import trust
from ems.drivers.opcua.handshake import shown_certificate

PATIENCE_S: Final = 10.0


def main() -> int:
    """Command line."""
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m ems.drivers.opcua", description=summary)
    parser.add_argument("url", help="opc.tcp://host:port/path")
    parser.add_argument("file", type=Path, help="where to save it, PEM")
    args = parser.parse_args()
    try:
        found = asyncio.run(shown_certificate(Client(args.url, timeout=PATIENCE_S)))
        trust.save(found, args.file)
    except (trust.Untrusted, OSError, TimeoutError, ValueError, ua.UaError) as error:
        print(f"{args.url}: {error or 'no answer'}", file=sys.stderr)  # noqa: T201
        return 1
    print(  # noqa: T201
        f"{trust.described(found)}\n"
        f"valid {found.not_valid_before_utc:%Y-%m-%d} to {found.not_valid_after_utc:%Y-%m-%d}\n"
        f"saved as {args.file}; compare the fingerprint before you trust it"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
