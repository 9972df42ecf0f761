"""Headless Chromium for tests, driven over a pipe: no port, no driver, no library."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_SWITCHES = (
    "--headless=new --no-sandbox --disable-gpu --disable-background-networking "
    "--disable-component-update --disable-sync --remote-debugging-pipe"
)
_PIPES = """
import fcntl, os, sys
high = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3]]
os.dup2(high[0], 3), os.dup2(high[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Chromium reads commands from 3 and writes answers to 4."""


class Page:
    """A page in headless Chromium, driven over a pipe by the DevTools protocol."""

    def __init__(self, commands: Any, answers: Any, session: str = "") -> None:
        self._commands, self._answers = commands, answers
        self._session, self._last = session, 0
        self.problems: list[str] = []
        """Console errors, exceptions, requests that failed, requests to a network."""

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while True:
            answer = self._read()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def run(self, script: str) -> Any:
        """Evaluate an expression, which may be a promise."""
        found = self.call(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def show(self, url: str, width: int, *, dark: bool = False) -> None:
        """Open a page and scroll through it, so that it draws all it has."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        self.colours(dark=dark)
        self.call("Page.navigate", url=url)
        self.run(
            "new Promise(r => document.readyState === 'complete' ? r() "
            ": addEventListener('load', r))"
        )

    def colours(self, *, dark: bool) -> None:
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def scroll_through(self) -> None:
        self.run(
            "(async () => { const e = document.scrollingElement;"
            "for (let y = 0; y < e.scrollHeight; y += 1200) { scrollTo(0, y);"
            "await new Promise(r => requestAnimationFrame(() => setTimeout(r, 20))); }"
            "await new Promise(r => setTimeout(r, 500)); scrollTo(0, 0); })()"
        )

    def wait(self, condition: str) -> None:
        """Wait until an expression is true, for 20 s."""
        self.run(
            "(async () => { for (let n = 0; n < 400; n++) {"
            f"if ({condition}) return; await new Promise(r => setTimeout(r, 50)); }}"
            f"throw new Error({json.dumps(condition)}); }})()"
        )

    def _read(self) -> dict[str, Any]:
        found = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, "Chromium has ended."
            found += byte
        return json.loads(found)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.problems.append(str(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in {"error", "warning"}:
                self.problems.append(str(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in {"error", "warning"}:
                self.problems.append(str(params["entry"]))
            case "Network.loadingFailed":
                self.problems.append(str(params))
            case "Network.requestWillBeSent":
                url = params["request"]["url"]
                if not url.startswith(("file:", "data:", "blob:")):
                    self.problems.append(f"asked for {url}")


@contextlib.contextmanager
def chromium(root: Path) -> Iterator[Page]:
    """Start Chromium with a profile of its own; without it skip, but fail in CI."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        message = "No Chromium: apt install chromium, or put google-chrome in PATH."
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    read_3, commands = os.pipe()
    answers, write_4 = os.pipe()
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", _PIPES, str(read_3), str(write_4), program),
            *(*_SWITCHES.split(), f"--user-data-dir={root}"),
        ],
        pass_fds=(read_3, write_4),
        stderr=subprocess.DEVNULL,
    )
    os.close(read_3)
    os.close(write_4)
    with os.fdopen(commands, "wb") as write, os.fdopen(answers, "rb") as read_from:
        page = Page(write, read_from)
        try:
            yield page
            page._session = ""
            page.call("Browser.close")
        finally:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
