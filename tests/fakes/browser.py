"""A real headless Chromium over its DevTools protocol; no package beside aiohttp is needed."""

import asyncio
import itertools
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager

import aiohttp

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
_LISTENS = re.compile(r"DevTools listening on (ws://\S+)")


@contextmanager
def chromium():
    """Start a browser while the block runs; give the address that it listens at."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ]
        command += ["--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                lines = iter(process.stderr.readline, "")
                found = next(match for line in lines if (match := _LISTENS.search(line)))
                yield found[1]
            finally:
                process.terminate()
                process.stderr.read()


class Page:
    """One tab: what it logged, what it asked the network for, and how to ask it things."""

    def __init__(self, socket):
        self._socket = socket
        self._numbers = itertools.count(1)
        self._session = None
        self._loaded = asyncio.Event()
        self._answers = {}
        self.problems = []  # console errors, exceptions, refusals of the content policy
        self.requests = []

    async def listen(self):
        async for message in self._socket:
            found = message.json()
            if "id" in found:
                self._answers.pop(found["id"]).set_result(found)
                continue
            params = found["params"]
            match found["method"]:
                case "Page.loadEventFired":
                    self._loaded.set()
                case "Runtime.exceptionThrown":
                    self.problems.append(params["exceptionDetails"]["text"])
                case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning"):
                    self.problems.append(str(params["args"]))
                case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                    self.problems.append(params["entry"]["text"])
                case "Network.requestWillBeSent":
                    self.requests.append(params["request"]["url"])

    async def call(self, method, **params):
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        session = {"sessionId": self._session} if self._session else {}
        await self._socket.send_json({"id": number, "method": method, "params": params, **session})
        found = await self._answers.get(number, self._answers.get(number))
        assert "error" not in found, found
        return found["result"]

    async def open(self):
        target = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.call(f"{domain}.enable")

    async def size(self, width, height, dark=False):
        """Be a screen of this size."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def go(self, url):
        """Open a page, and wait until it is loaded."""
        self._loaded.clear()
        await self.call("Page.navigate", url=url)
        await asyncio.wait_for(self._loaded.wait(), 60)

    async def ask(self, expression):
        """Return what a JavaScript expression is there."""
        found = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")


def in_browser(address, visit):
    """Run `visit(page)` in a new tab, and return what it returns."""

    async def run():
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(address, max_msg_size=0) as socket,
        ):
            page = Page(socket)
            listening = asyncio.create_task(page.listen())
            try:
                await page.open()
                return await visit(page)
            finally:
                listening.cancel()

    return asyncio.run(run())
