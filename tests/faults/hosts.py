"""Two "hosts": network namespaces whose links to each server can be cut.

A host reaches each server over a link of its own, a pair of virtual interfaces. A link
that is cut drops every packet, both ways and without a word, as a broken switch does:
nobody is told that a connection is dead.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address
from pathlib import Path
from urllib.parse import urlsplit

from . import relay

PREFIX = "taskbridge-test"
DROP_ALL = ("root", "pfifo", "limit", "0")
"""A queue for outgoing packets that holds none: it needs no kernel module."""


class NetworkRefused(Exception):  # noqa: N818 - like `ServiceUnavailable`
    """This process may not make network namespaces, or there is no `ip`."""


class Link:
    """One way from a host to one server."""

    def __init__(self, host: Host, server_url: str, name: str, first: str) -> None:
        split = urlsplit(server_url)
        self._host = host
        self._inner, self._outer = f"{name}i", f"{name}o"
        address, host_address = (str(IPv4Address(first) + n) for n in (1, 2))
        _ip("link", "add", self._outer, "type", "veth", "peer", "name", self._inner)
        _ip("link", "set", self._inner, "netns", host.name)
        _ip("address", "add", f"{address}/30", "dev", self._outer)
        _ip("link", "set", self._outer, "up")
        host.ip("address", "add", f"{host_address}/30", "dev", self._inner)
        host.ip("link", "set", self._inner, "up")
        self._relay = subprocess.Popen(
            [sys.executable, "-I", relay.__file__, address, str(split.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._relay.stdout
        assert self._relay.stdout.readline() == b"ready\n"
        at = split.netloc.rpartition("@")
        self.url = split._replace(
            netloc=f"{at[0]}{at[1]}{address}:{split.port}"
        ).geturl()
        """Where the host reaches the server."""

    def cut(self) -> None:
        """Drop every packet from now on."""
        self._host.tc("replace", "dev", self._inner, *DROP_ALL)
        _run("tc", "qdisc", "replace", "dev", self._outer, *DROP_ALL)

    def mend(self) -> None:
        """Let packets pass again."""
        self._host.tc("delete", "dev", self._inner, "root")
        _run("tc", "qdisc", "delete", "dev", self._outer, "root")

    @contextlib.contextmanager
    def is_cut(self) -> Iterator[None]:
        """Be cut for as long as the block runs."""
        self.cut()
        try:
            yield
        finally:
            self.mend()

    def close(self) -> None:
        """Remove it."""
        self._relay.kill()
        self._relay.communicate()
        with contextlib.suppress(NetworkRefused):
            _ip("link", "delete", self._outer)


class Host:
    """A network namespace."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.links: dict[str, Link] = {}
        """By the environment variable with the URL of the server."""
        _ip("netns", "add", name)
        self.ip("link", "set", "lo", "up")

    @property
    def prefix(self) -> tuple[str, ...]:
        """What a command begins with to run here."""
        return ("ip", "netns", "exec", self.name)

    @property
    def environment(self) -> Mapping[str, str]:
        """The URLs of the servers, as processes here reach them."""
        return {variable: link.url for variable, link in self.links.items()}

    def ip(self, *arguments: str) -> None:
        """Call `ip` here."""
        _ip("-netns", self.name, *arguments)

    def tc(self, *arguments: str) -> None:
        """Call `tc qdisc` here."""
        _run("tc", "-netns", self.name, "qdisc", *arguments)

    def close(self) -> None:
        """Remove it and its links."""
        for link in self.links.values():
            link.close()
        with contextlib.suppress(NetworkRefused):
            _ip("netns", "delete", self.name)


@contextlib.contextmanager
def two_hosts(servers: Mapping[str, str]) -> Iterator[tuple[Host, Host]]:
    """Yield two hosts; remove them, and all that is theirs, at the end.

    Args:
        servers: the URLs of what they have to reach, by environment variable.

    Raises:
        NetworkRefused: not root, or no `ip`.
    """
    _sweep()
    # 198.18.0.0/15 is for tests of networks (RFC 2544).
    octets = f"198.{secrets.choice((18, 19))}.{secrets.randbelow(256)}"
    numbers = itertools.count()
    with contextlib.ExitStack() as stack:
        hosts = []
        for n in (1, 2):
            host = Host(f"{PREFIX}-{os.getpid()}-{n}")
            stack.callback(host.close)
            for variable, url in servers.items():
                number = next(numbers)
                name = f"tb{os.getpid()}n{number}"
                first = f"{octets}.{4 * number}"
                host.links[variable] = Link(host, url, name, first)
            hosts.append(host)
        yield hosts[0], hosts[1]


def _sweep() -> None:
    """Remove what is left of test processes that were killed."""
    for path in Path("/run/netns").glob(f"{PREFIX}-*"):
        if not Path(f"/proc/{path.name.split('-')[-2]}").exists():
            with contextlib.suppress(NetworkRefused):
                _ip("netns", "delete", path.name)


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(program: str, *arguments: str) -> None:
    if not shutil.which(program):
        raise NetworkRefused(f"There is no `{program}` here (package iproute2).")
    done = subprocess.run(
        [program, *arguments], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise NetworkRefused(
            f"{' '.join([program, *arguments])}: {done.stderr.strip()}"
        )
