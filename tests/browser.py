"""A browser to try pages in, with nothing between it and the test but its debugging pipe."""

import itertools
import json
import os
import subprocess
import time
from pathlib import Path


class Browser:
    """A headless Chromium, spoken to over its debugging pipe (chromedevtools.github.io/devtools-protocol).

    microphone: the WAV that it hears.
    """

    def __init__(self, program: str, profile: Path, microphone: Path):
        theirs_in, self.to = os.pipe()
        self.origin, theirs_out = os.pipe()
        options = ["--headless", "--remote-debugging-pipe", "--disable-gpu", "--mute-audio", "--no-first-run",
                   "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
                   f"--use-file-for-fake-audio-capture={microphone}", f"--user-data-dir={profile}",
                   *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        script = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'  # Chromium reads from 3 and writes to 4
        self.process = subprocess.Popen(
            ["bash", "-c", script, program, *options, "about:blank"], pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self.numbers, self.held, self.events, self.session = itertools.count(1), b"", [], {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def message(self) -> dict:
        while b"\0" not in self.held:
            piece = os.read(self.origin, 1 << 20)
            if not piece:
                raise RuntimeError("the browser has ended")
            self.held += piece
        message, _, self.held = self.held.partition(b"\0")
        return json.loads(message)

    def call(self, method: str, **parameters) -> dict:
        number = next(self.numbers)
        request = {"id": number, "method": method, "params": parameters, **self.session}
        os.write(self.to, json.dumps(request).encode() + b"\0")
        while (answer := self.message()).get("id") != number:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def visit(self, url: str, width: int = 1280, scheme: str = "light") -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1,
                  mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.message())

    def run(self, code: str):
        done = self.call("Runtime.evaluate", expression=code, returnByValue=True)
        if "exceptionDetails" in done:
            raise RuntimeError(done["exceptionDetails"])
        return done["result"].get("value")

    def wait(self, code: str) -> None:
        """Until it is true, ten seconds at most."""
        stop = time.monotonic() + 10
        while not self.run(code):
            if time.monotonic() > stop:
                raise TimeoutError(f"{code} did not come true")
            time.sleep(0.02)

    def click(self, selector: str, share: float = 0.5) -> None:
        """With the mouse, at a share of the element's width."""
        self.run(f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center'}})")
        box = self.run(f"document.querySelector({json.dumps(selector)}).getBoundingClientRect().toJSON()")
        place = {"x": box["x"] + share * box["width"], "y": box["y"] + box["height"] / 2}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def press(self, key: str) -> None:
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key)

    @property
    def complaints(self) -> list[dict]:
        """Errors of the page and violations of its policy since it was opened."""
        return [event for event in self.events if event.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown")]

    def end(self) -> None:
        self.session = {}
        self.call("Browser.close")
        self.process.wait(20)
        os.close(self.to)
        os.close(self.origin)
