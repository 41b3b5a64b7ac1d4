"""An asyncua server whose values all change ten times a second: ``… PORT``."""

import asyncio
import sys
from typing import Final

from asyncua import Server, ua

VALUES: Final = 200
CHANGE_S: Final = 0.1
NAMESPACE: Final = "urn:test:battery"


async def serve(port: int) -> None:
    """Serve until killed; says READY when it listens."""
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/UA")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace(NAMESPACE)
    nodes = [
        await server.nodes.objects.add_variable(
            ua.NodeId.from_string(f"ns={index};s=p1.v{k}"), f"v{k}", 0.25 * k
        )
        for k in range(VALUES)
    ]
    async with server:
        print("READY", flush=True)
        beat = 0
        while True:
            await asyncio.sleep(CHANGE_S)
            beat += 1
            for k, variable in enumerate(nodes):
                content = ua.DataValue(ua.Variant(beat + 0.25 * k, ua.VariantType.Double))
                await server.write_attribute_value(variable.nodeid, content)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
