"""Built engines on disk: one folder per device, with a record of every engine in it.

An engine file is code that TensorRT runs, so only files whose SHA-256 is recorded are ever read, and only while they
still have it; and only a record that this user signed on this machine is believed (`tlee.engines.key`): engines that
came with a bundle are not. Nothing else in a folder is even parsed.

Files and record appear whole or not at all; a file that the record does not name is as good as not there.
"""

import contextlib
import errno
import hmac
import json
import os
import stat
import tempfile
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from tlee.engines.key import find_key, own_key, signature
from tlee.errors import EngineError, UsageError, writing
from tlee.files import atomic_write, sha256, sha256_of, sha256_of_stream
from tlee.locks import BUSY, remove, write_lock
from tlee.reading import JSON_LIMIT, parse_json, read_bytes

FORMAT = 2
RECORD, TIMING, TEMPORARY, SUFFIX = "engines.json", "timing.cache", ".building-", ".engine"
ENGINE = "engine"  # just built, in a temporary folder
READY, UNCHECKED, FAILED, ALTERED, MISSING = "ready", "not checked", "failed its check", "altered", "missing"
FOREIGN = "of another machine or user, or damaged"
OTHER_FOLDER = "choose a folder that you may write to and that has room, with --engine-dir"
BUILD_AGAIN = "build it again with tlee-build"
HEAD = '{{"signature": "{}",\n'  # of a record; what follows is signed
HEAD_SIZE = len(HEAD.format("0" * 64))


class FileRecord(NamedTuple):
    """A file, and the size and hash that its content must have."""

    path: str
    size: int
    sha256: str

    def read(self) -> bytes:
        """The content, read once. Raises EngineError where it is not what was recorded, or not a plain file."""
        if not os.path.lexists(self.path):
            raise EngineError(self.path, MISSING, BUILD_AGAIN)
        if os.lstat(self.path).st_size == self.size:
            content = read_bytes(self.path, self.size, EngineError, BUILD_AGAIN, follow=False)
            if sha256(content) == self.sha256:
                return content
        raise EngineError(self.path, ALTERED, BUILD_AGAIN)

    def matches(self) -> bool:
        """Whether the file has the recorded content, which need not fit into memory."""
        try:
            status = os.lstat(self.path)
            if not stat.S_ISREG(status.st_mode) or status.st_size != self.size:
                return False
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
                return False
            raise  # too few descriptors, for example, is no reason to build again
        with open(descriptor, "rb") as stream:
            return sha256_of_stream(stream) == self.sha256


class EngineStore:
    """The engines of one device, in a folder that need not exist.

    Attributes:
        entries: what is recorded of each engine, by file name: `identity` (see `tlee.engines.planning.EngineSpec`),
            `bundle` (its name), `sha256`, `bytes`, `seconds` and `workspace` of its build, and once it was checked
            `check` (`differences`, `tolerance`, `passed`) and `layers`.
        active: by bundle the files of the engines that its last complete build chose, in the order of the chain.
        distrust: why nothing that is recorded here is believed, and all of the above is empty; None if it is.

    Raises:
        UsageError, EngineError: there is a record that cannot be read, or the user's key cannot be used.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._load()

    def _load(self) -> None:
        self.distrust: Optional[str] = None
        record = self._read_record() if os.path.lexists(self.path(RECORD)) else {}
        self.machine: Dict[str, Any] = record.get("machine", {})
        self.entries: Dict[str, Dict[str, Any]] = record.get("engines", {})
        self.active: Dict[str, List[str]] = record.get("active", {})
        self._timing: Optional[Dict[str, Any]] = record.get("timing")

    def _read_record(self) -> Dict[str, Any]:
        """Signature first: nothing is parsed of a record that somebody else wrote."""
        path, remedy = self.path(RECORD), "see that this user may read it, or remove it"
        key, self.distrust = find_key(), FOREIGN
        status = os.lstat(path)
        if key is None or not stat.S_ISREG(status.st_mode) or status.st_size > JSON_LIMIT:
            return {}
        content = read_bytes(path, JSON_LIMIT, EngineError, remedy, follow=False)
        if not hmac.compare_digest(content[:HEAD_SIZE], self._head(key, content[HEAD_SIZE:])):
            return {}
        record: Dict[str, Any] = parse_json(content)
        if record["format"] != FORMAT:
            self.distrust = f"recorded in format {record['format']}, this release reads {FORMAT}"
            return {}
        self.distrust = None
        return record

    def _head(self, key: bytes, signed: bytes) -> bytes:
        device = os.path.basename(os.path.abspath(self.folder))
        return HEAD.format(signature(key, device, signed)).encode("ascii")

    def path(self, file: str) -> str:
        return os.path.join(self.folder, file)

    def state(self, file: str) -> str:
        """Of a recorded engine: READY, UNCHECKED, FAILED, ALTERED or MISSING."""
        check = self.entries[file]["check"]
        if not os.path.lexists(self.path(file)):
            return MISSING
        if not self.recorded(file).matches():
            return ALTERED
        if check is None:
            return UNCHECKED
        return READY if check["passed"] else FAILED

    def recorded(self, file: str) -> FileRecord:
        """The recorded content of an engine."""
        entry = self.entries[file]
        return FileRecord(self.path(file), entry["bytes"], entry["sha256"])

    def read(self, file: str) -> bytes:
        """The content of an engine that is READY. Raises EngineError where it is not."""
        if file not in self.entries:
            raise EngineError(self.path(file), MISSING, BUILD_AGAIN)
        if not (self.entries[file]["check"] or {}).get("passed"):
            raise EngineError(self.path(file), self.state(file), BUILD_AGAIN)
        return self.recorded(file).read()

    def timing(self) -> Optional[FileRecord]:
        """The timing cache, if there is one. Raises EngineError where it is not what was recorded."""
        if self._timing is None:
            return None
        recorded = FileRecord(self.path(TIMING), self._timing["bytes"], self._timing["sha256"])
        if not recorded.matches():
            raise EngineError(recorded.path, "altered or truncated", "not used, layers are timed again")
        return recorded

    def unrecorded(self) -> List[str]:
        """Files that look like a store's and that no record names, or none that is believed."""
        names = [name for name in _names(self.folder) if name.endswith(SUFFIX) and name not in self.entries]
        return names + [name for name in (RECORD, TIMING) if self.distrust and os.path.lexists(self.path(name))]

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Around changes: no other process changes this folder meanwhile, the record is read anew, and what killed
        builds left is removed. Raises UsageError where the folder cannot be written or another process writes it."""
        if os.path.islink(self.folder):
            raise UsageError(self.folder, "a link: engines would be written elsewhere", "remove it")
        with writing(self.folder, OTHER_FOLDER):
            os.makedirs(self.folder, exist_ok=True)
        with folder_lock(self.folder, "another tlee-build is at work here"):
            self._load()
            for name in _names(self.folder):
                if name.startswith(TEMPORARY):
                    remove(self.path(name))
            yield

    @contextlib.contextmanager
    def building(self) -> Iterator[str]:
        """As `locked`, with a temporary folder to build in. Raises UsageError also where there can be no key."""
        with self.locked():
            self._own_key()  # without one there is nothing to build for
            with writing(self.folder, OTHER_FOLDER):
                folder = tempfile.mkdtemp(prefix=TEMPORARY, dir=self.folder)
            try:
                yield folder
            finally:
                remove(folder)

    def put(self, file: str, folder: str, entry: Dict[str, Any], machine: Dict[str, Any]) -> None:
        """Take in what was built in the temporary folder: ENGINE and perhaps TIMING. `entry` is what is to be recorded,
        without size and SHA-256."""
        self.machine = machine
        self.entries[file] = dict(entry, check=None, layers=None, **self._take(folder, ENGINE, file))
        if os.path.exists(os.path.join(folder, TIMING)):
            self._timing = self._take(folder, TIMING, TIMING)
        self._write_record()

    def _take(self, folder: str, built: str, name: str) -> Dict[str, Any]:
        source = os.path.join(folder, built)
        described = {"bytes": os.path.getsize(source), "sha256": sha256_of(source)}
        self._make_way(name)
        with writing(self.path(name), OTHER_FOLDER):
            os.replace(source, self.path(name))
        return described

    def record_check(self, file: str, check: Dict[str, Any], layers: List[Dict[str, str]]) -> None:
        """Record how an engine's outputs differ, and what its layers compute in."""
        self.entries[file].update(check=check, layers=layers)
        self._write_record()

    def activate(self, bundle: str, files: List[str]) -> None:
        """Let these engines be the ones that the bundle runs on."""
        self.active[bundle] = files
        self._write_record()

    def remove(self, file: str) -> None:
        """Remove an engine and its entry; a bundle that runs on it has no engines any more."""
        self.entries.pop(file, None)
        self.active = {bundle: files for bundle, files in self.active.items() if file not in files}
        self._write_record()
        self.remove_unrecorded(file)

    def remove_unrecorded(self, name: str) -> None:
        """Remove a file that is not recorded. Raises UsageError where that is impossible."""
        remove(self.path(name))
        if os.path.lexists(self.path(name)):
            raise UsageError(self.path(name), "cannot be removed", "see who owns the folder, and remove it yourself")

    def _make_way(self, name: str) -> None:
        """Remove what is not a plain file: it is never written through."""
        path = self.path(name)
        if os.path.islink(path) or os.path.exists(path) and not os.path.isfile(path):
            self.remove_unrecorded(name)

    def _write_record(self) -> None:
        record: Dict[str, Any] = {"format": FORMAT, "machine": self.machine, "engines": self.entries}
        record.update(active=self.active, timing=self._timing)
        text = json.dumps(record, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)[1:] + "\n"
        signed = text.encode("utf-8")
        head = self._head(self._own_key(), signed)
        self._make_way(RECORD)
        try:
            with atomic_write(self.path(RECORD), "wb") as stream:
                stream.write(head + signed)
        except UsageError as error:
            raise UsageError(error.subject, error.problem, OTHER_FOLDER) from None

    def _own_key(self) -> bytes:
        return own_key(os.path.dirname(os.path.abspath(self.folder)))


def stores(folder: str) -> Iterator[EngineStore]:
    """Those of all devices, in the folder that `--engine-dir` names."""
    return (EngineStore(os.path.join(folder, device)) for device in devices(folder))


def devices(folder: str) -> List[str]:
    """Names of all devices that have engines there, or a record of some."""
    found = {device: _names(os.path.join(folder, device)) for device in _names(folder)}
    return [device for device, names in found.items() if any(n == RECORD or n.endswith(SUFFIX) for n in names)]


def _names(folder: str) -> List[str]:
    """What a folder holds; nothing where there is none that this user may read."""
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP):
            raise
        return []


@contextlib.contextmanager
def folder_lock(path: str, busy: str) -> Iterator[None]:
    """As `write_lock` of a folder, with remedies for engines; `busy` is the problem where another process writes it."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(write_lock(path, folder=True))
        except UsageError as error:
            is_busy = error.problem == BUSY
            problem, remedy = (busy, "wait until it is done") if is_busy else (error.problem, OTHER_FOLDER)
            raise UsageError(path, problem, remedy) from None
        yield
