"""Built engines on disk: one folder per device, with a record of every engine in it.

An engine file is code that TensorRT runs, so only files whose SHA-256 is recorded are ever read, and only if it is
still theirs. Files and record appear whole or not at all; a file that the record does not name is as good as not there.
"""

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from typing import Any, Dict, Iterator, List, Optional

from tlee.errors import EngineError, UsageError
from tlee.files import CANNOT_WRITE, sha256_of, write_json

FORMAT = 1
RECORD, TIMING, LOCK, TEMPORARY = "engines.json", "timing.cache", ".lock", ".building-"
READY, UNCHECKED, FAILED, ALTERED, MISSING = "ready", "not checked", "failed its check", "altered", "missing"
ELSEWHERE = "choose a folder that you may write to and that has room, with --engine-dir"


class EngineStore:
    """The engines of one device.

    Args:
        folder: it need not exist.

    Attributes:
        entries: by file name what is recorded of each engine: `identity` (see `tlee.engines.jobs.Job`), `bundle` (its
            name), `sha256`, `bytes`, `seconds` and `workspace` of its build, and once it was checked `check`
            (`differences`, `tolerance`, `passed`) and `layers`.
        active: by bundle the files of the engines that its last complete build chose, in the order of the chain.

    Raises:
        EngineError: the record is damaged.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._load()

    def _load(self) -> None:
        record = _read_record(self.path(RECORD))
        self.machine: Dict[str, Any] = record["machine"]
        self.entries: Dict[str, Dict[str, Any]] = record["engines"]
        self.active: Dict[str, List[str]] = record["active"]
        self._timing: Optional[str] = record["timing"]

    def path(self, file: str) -> str:
        """Of a file of this device."""
        return os.path.join(self.folder, file)

    def state(self, file: str) -> str:
        """Of a recorded engine: READY, UNCHECKED, FAILED its check, ALTERED or MISSING."""
        entry = self.entries[file]
        if not os.path.isfile(self.path(file)):
            return MISSING
        if sha256_of(self.path(file)) != entry["sha256"]:
            return ALTERED
        if entry["check"] is None:
            return UNCHECKED
        return READY if entry["check"]["passed"] else FAILED

    def read(self, file: str) -> bytes:
        """The content of an engine that is READY.

        Raises:
            EngineError: it is not.
        """
        state = self.state(file) if file in self.entries else MISSING
        if state != READY:
            raise EngineError(self.path(file), state, "build it again with tlee-build")
        with open(self.path(file), "rb") as stream:
            return stream.read()

    def timing(self) -> Optional[str]:
        """The timing cache's file, if there is one.

        Raises:
            EngineError: it is not what was recorded.
        """
        if self._timing is None:
            return None
        if not os.path.isfile(self.path(TIMING)) or sha256_of(self.path(TIMING)) != self._timing:
            raise EngineError(self.path(TIMING), "altered or truncated", "not used, layers are timed again")
        return self.path(TIMING)

    @contextlib.contextmanager
    def building(self) -> Iterator[str]:
        """A temporary folder to build in, and nobody else builds here meanwhile.

        Raises:
            UsageError: the folder cannot be written, or somebody else does.
        """
        try:
            os.makedirs(self.folder, exist_ok=True)
            lock = open(self.path(LOCK), "w")  # noqa: SIM115 - held as long as the block lasts
        except OSError as error:
            raise UsageError(self.folder, CANNOT_WRITE.format(error.strerror), ELSEWHERE) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UsageError(self.folder, "another tlee-build is at work here", "wait until it is done") from None
            self._load()  # another one may have come to its end since
            for name in os.listdir(self.folder):  # of builds that were killed
                if name.startswith(TEMPORARY):
                    shutil.rmtree(self.path(name), ignore_errors=True)
            folder = tempfile.mkdtemp(prefix=TEMPORARY, dir=self.folder)
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def put(self, file: str, built: str, timing: Optional[str], entry: Dict[str, Any], machine: Dict[str, Any]) -> None:
        """Take a built engine in.

        Args:
            built, timing: where the files are now; on the same file system.
            entry: what is to be recorded, but its size and SHA-256.
        """
        self.machine = machine
        self.entries[file] = dict(entry, sha256=sha256_of(built), bytes=os.path.getsize(built), check=None, layers=None)
        os.replace(built, self.path(file))
        if timing:
            self._timing = sha256_of(timing)
            os.replace(timing, self.path(TIMING))
        self._record()

    def record_check(self, file: str, check: Dict[str, Any], layers: List[Dict[str, str]]) -> None:
        """Write down how an engine's outputs differ, and what its layers compute in."""
        self.entries[file].update(check=check, layers=layers)
        self._record()

    def activate(self, bundle: str, files: List[str]) -> None:
        """Let these engines be the ones that the bundle runs on."""
        self.active[bundle] = files
        self._record()

    def remove(self, file: str) -> None:
        """Remove an engine and its entry; a bundle that runs on it has none any more."""
        self.entries.pop(file, None)
        self.active = {bundle: files for bundle, files in self.active.items() if file not in files}
        self._record()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(file))

    def strays(self) -> List[str]:
        """Files that look like engines and that no record names."""
        return sorted(n for n in os.listdir(self.folder) if n.endswith(".engine") and n not in self.entries)

    def _record(self) -> None:
        record: Dict[str, Any] = {"format": FORMAT, "machine": self.machine, "engines": self.entries}
        record.update(active=self.active, timing=self._timing)
        try:
            write_json(self.path(RECORD), record)
        except UsageError as error:
            raise UsageError(error.subject, error.problem, ELSEWHERE) from None


def stores(folder: str) -> Iterator[EngineStore]:
    """Those of all devices, in the folder that `--engine-dir` names."""
    if os.path.isdir(folder):
        for name in sorted(os.listdir(folder)):
            if os.path.isfile(os.path.join(folder, name, RECORD)):
                yield EngineStore(os.path.join(folder, name))


def _read_record(path: str) -> Dict[str, Any]:
    if not os.path.lexists(path):
        return {"format": FORMAT, "machine": {}, "engines": {}, "active": {}, "timing": None}
    remedy = "remove the file and build again"
    try:
        with open(path, encoding="utf-8") as stream:
            record = json.load(stream)
        if record["format"] != FORMAT:
            problem = "format {}, this release reads {}".format(record["format"], FORMAT)
            raise EngineError(path, problem, remedy)
        for file, entry in record["engines"].items():
            if os.path.basename(file) != file or not {"identity", "bundle", "sha256", "check"} <= set(entry):
                raise ValueError("entry {!r}".format(file))
        for files in record["active"].values():
            if not set(files) <= set(record["engines"]):
                raise ValueError("active {!r}".format(files))
        return dict(record, timing=record["timing"], machine=record["machine"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(path, "damaged ({})".format(error), remedy) from None
