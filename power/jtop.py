"""Power of a Jetson from its own sensors through jtop, the service of jetson-stats (4.0 and later)."""

import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Dict

from tlee.errors import UsageError
from tlee.power.source import Sample, Source, SourceEnded

SOCKET = "run/jtop.sock"  # of the service, below the root
GROUP = "jtop"  # whose members may use it
INSTALL_IT, JOIN = "sudo pip3 install jetson-stats", "sudo usermod -aG {} $USER"
RESTART = "sudo systemctl restart jtop.service"
INSTALL = f"{INSTALL_IT}, then {RESTART}"
REMEDIES = {
    "missing": INSTALL,
    "permission": JOIN.format(GROUP) + ", then log out and in again",
    "version": "install one release of jetson-stats for service and Python, then " + RESTART,
    "service": RESTART,
}
PATIENCE = 20.0  # seconds that starting the client may take
SILENCE = 10.0  # seconds without a reading, or ten readings, after which the service counts as gone


class Jtop(Source):
    """A client in a process of its own: see client.py. Its start keeps one core busy for some seconds: jtop looks for
    versions of libraries.

    Args:
        interval: seconds between readings to ask for. The service follows whichever program asked first; the attribute
            is the actual one.
        patience, silence: seconds, see `PATIENCE` and `SILENCE`.
        system: where the kernel shows throttling.

    Raises:
        UsageError: jetson-stats is missing, its service does not run, may not be used by this user or does not answer,
            or the board has no sensor.
    """

    name = "jtop"
    paced = True

    def __init__(
        self, interval: float = 0.5, patience: float = PATIENCE, silence: float = SILENCE, system: str = "/sys"
    ) -> None:
        if importlib.util.find_spec("jtop") is None:
            raise UsageError("jtop", "jetson-stats is not installed", INSTALL)
        self._buffer = b""
        self._reading = threading.Lock()
        self._process = _start(interval, system)
        try:
            first = self._line(patience)
            if "problem" in first:
                raise UsageError("jtop", first["problem"], REMEDIES[first["kind"]])
        except SourceEnded as error:
            self.close()
            raise UsageError("jtop", error, RESTART) from None
        except BaseException:
            self.close()
            raise
        self.interval, self.total = first["interval"], first["total"]
        self._silence = max(silence, 10 * self.interval)

    def read(self) -> Sample:
        line = self._line(self._silence)
        if "problem" in line:
            raise SourceEnded("jtop: " + line["problem"])
        return Sample(**line)

    def close(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)  # also what jtop started to ask for versions
        self._process.wait()
        with self._reading, self._process:  # a thread that was waiting for a line has seen the end by now
            pass  # which closes the streams

    def _line(self, seconds: float) -> Dict[str, Any]:
        with self._reading:
            stream = self._process.stdout
            if stream is None or stream.closed:
                raise SourceEnded("jtop was closed")
            end = time.monotonic() + seconds
            while b"\n" not in self._buffer:
                if not select.select([stream], [], [], max(0.0, end - time.monotonic()))[0]:
                    raise SourceEnded(f"jtop.service does not answer within {seconds:g} seconds")
                read = os.read(stream.fileno(), 1 << 16)
                if not read:
                    raise SourceEnded("jtop's client ended")
                self._buffer += read
            line, self._buffer = self._buffer.split(b"\n", 1)
        return dict(json.loads(line.decode()))


def _start(interval: float, system: str) -> "subprocess.Popen[bytes]":
    # In the root folder, with this process's own path: nothing in the user's current folder is imported.
    paths = [os.path.abspath(path) for path in sys.path]
    return subprocess.Popen(
        [sys.executable, "-m", "tlee.power.client", str(interval), os.path.abspath(system)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(paths)),
        cwd="/",
        start_new_session=True,  # Ctrl-C in a terminal is not for it
    )
