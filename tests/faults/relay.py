"""Passes TCP connections on to a server of this machine, until standard input ends.

Run as a script: ``relay.py ADDRESS PORT``. Private servers listen on 127.0.0.1 alone,
which another network namespace cannot reach.
"""

import asyncio
import contextlib
import sys

SERVER = "127.0.0.1"


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while received := await reader.read(65536):
            writer.write(received)
            await writer.drain()
    # What ends one way ends both: a client that lost its server is to notice.
    writer.close()


async def _relay(address: str, port: int) -> None:
    async def pass_on(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            from_server, to_server = await asyncio.open_connection(SERVER, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, to_server), _copy(from_server, writer))

    server = await asyncio.start_server(pass_on, address, port)
    print("ready", flush=True)  # noqa: T201
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_relay(sys.argv[1], int(sys.argv[2])))
