"""Built engines on disk: one folder per device, with a record of every engine in it.

An engine file is code that TensorRT runs, so only files whose SHA-256 is recorded are ever read, and only if it is
still theirs; and only a record that this user signed on this machine is believed (`tlee.engines.key`): engines that
came with a bundle are not. Nothing else in a folder is even parsed.

Files and record appear whole or not at all; a file that the record does not name is as good as not there.
"""

import contextlib
import errno
import hashlib
import hmac
import json
import os
import stat
import tempfile
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from tlee.engines.key import find_key, own_key, signature
from tlee.errors import CANNOT_WRITE, EngineError, UsageError
from tlee.files import atomic_write, sha256, sha256_of
from tlee.locks import BUSY, remove, write_lock
from tlee.reading import JSON_LIMIT, MB, parse_json, read_bytes

FORMAT = 2
RECORD, TIMING, TEMPORARY, SUFFIX = "engines.json", "timing.cache", ".building-", ".engine"
READY, UNCHECKED, FAILED, ALTERED, MISSING = "ready", "not checked", "failed its check", "altered", "missing"
FOREIGN = "of another machine or user, or damaged"
ELSEWHERE = "choose a folder that you may write to and that has room, with --engine-dir"
BUILDING, WAIT = "another tlee-build is at work here", "wait until it is done"
BUILD_AGAIN = "build it again with tlee-build"
HEAD = '{{"signature": "{}",\n'  # of a record; what follows is signed
HEAD_SIZE = len(HEAD.format("0" * 64))


class Recorded(NamedTuple):
    """A file, and what its content is."""

    file: str
    bytes: int
    sha256: str


def read_recorded(recorded: Recorded) -> bytes:
    """The content of a file, read once.

    Raises:
        EngineError: it is not what was recorded, or no plain file.
    """
    if not os.path.lexists(recorded.file):
        raise EngineError(recorded.file, MISSING, BUILD_AGAIN)
    if os.lstat(recorded.file).st_size == recorded.bytes:
        content = read_bytes(recorded.file, recorded.bytes, EngineError, BUILD_AGAIN, follow=False)
        if sha256(content) == recorded.sha256:
            return content
    raise EngineError(recorded.file, ALTERED, BUILD_AGAIN)


class EngineStore:
    """The engines of one device.

    Args:
        folder: it need not exist.

    Attributes:
        entries: by file name what is recorded of each engine: `identity` (see `tlee.engines.jobs.Job`), `bundle` (its
            name), `sha256`, `bytes`, `seconds` and `workspace` of its build, and once it was checked `check`
            (`differences`, `tolerance`, `passed`) and `layers`.
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
        self._key: Optional[bytes] = None
        record = self._read_record() if os.path.lexists(self.path(RECORD)) else {}
        self.machine: Dict[str, Any] = record.get("machine", {})
        self.entries: Dict[str, Dict[str, Any]] = record.get("engines", {})
        self.active: Dict[str, List[str]] = record.get("active", {})
        self._timing: Optional[Dict[str, Any]] = record.get("timing")

    def _read_record(self) -> Dict[str, Any]:
        """Signature first: of a record that somebody else wrote, nothing is parsed."""
        path, remedy = self.path(RECORD), "see that this user may read it, or remove it"
        self._key, self.distrust = find_key(), FOREIGN
        status = os.lstat(path)
        if self._key is None or not stat.S_ISREG(status.st_mode) or status.st_size > JSON_LIMIT:
            return {}
        content = read_bytes(path, JSON_LIMIT, EngineError, remedy, follow=False)
        if not hmac.compare_digest(content[:HEAD_SIZE], self._head(self._key, content[HEAD_SIZE:])):
            return {}
        record: Dict[str, Any] = parse_json(content)
        if record["format"] != FORMAT:
            self.distrust = "recorded in format {}, this release reads {}".format(record["format"], FORMAT)
            return {}
        self.distrust = None
        return record

    def _head(self, key: bytes, signed: bytes) -> bytes:
        device = os.path.basename(os.path.abspath(self.folder))
        return HEAD.format(signature(key, device, signed)).encode("ascii")

    def path(self, file: str) -> str:
        """Of a file of this device."""
        return os.path.join(self.folder, file)

    def state(self, file: str) -> str:
        """Of a recorded engine: READY, UNCHECKED, FAILED its check, ALTERED or MISSING."""
        entry = self.entries[file]
        if not os.path.lexists(self.path(file)):
            return MISSING
        if not _holds(self.recorded(file)):
            return ALTERED
        if entry["check"] is None:
            return UNCHECKED
        return READY if entry["check"]["passed"] else FAILED

    def recorded(self, file: str) -> Recorded:
        """What is recorded of an engine's content."""
        return Recorded(self.path(file), self.entries[file]["bytes"], self.entries[file]["sha256"])

    def read(self, file: str) -> bytes:
        """The content of an engine that is READY.

        Raises:
            EngineError: it is not.
        """
        check = self.entries[file]["check"] if file in self.entries else None
        if check is None or not check["passed"]:
            state = self.state(file) if file in self.entries else MISSING
            raise EngineError(self.path(file), state, BUILD_AGAIN)
        return read_recorded(self.recorded(file))

    def timing(self) -> Optional[Recorded]:
        """The timing cache, if there is one.

        Raises:
            EngineError: it is not what was recorded.
        """
        if self._timing is None:
            return None
        recorded = Recorded(self.path(TIMING), **self._timing)
        if not _holds(recorded):
            raise EngineError(self.path(TIMING), "altered or truncated", "not used, layers are timed again")
        return recorded

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else changes this folder meanwhile, what was recorded is read anew, and what killed builds left is
        gone.

        Raises:
            UsageError: the folder cannot be written, or somebody else is at it.
        """
        if os.path.islink(self.folder):
            raise UsageError(self.folder, "a link: engines would be written elsewhere", "remove it")
        with contextlib.ExitStack() as held:
            try:
                os.makedirs(self.folder, exist_ok=True)
                held.enter_context(write_lock(self.folder, folder=True))
            except OSError as error:
                raise UsageError(self.folder, CANNOT_WRITE.format(error.strerror), ELSEWHERE) from None
            except UsageError as error:
                said = (BUILDING, WAIT) if error.problem == BUSY else (error.problem, ELSEWHERE)
                raise UsageError(self.folder, *said) from None
            self._load()
            for name in _names(self.folder):
                if name.startswith(TEMPORARY):
                    remove(self.path(name))
            yield

    @contextlib.contextmanager
    def building(self) -> Iterator[str]:
        """As `alone`, with a temporary folder to build in. A record that is not believed gives way to a new one.

        Raises:
            UsageError: as `alone`, or there can be no key to sign with.
        """
        with self.alone():
            self._key = self._own_key()
            try:
                folder = tempfile.mkdtemp(prefix=TEMPORARY, dir=self.folder)
            except OSError as error:
                raise UsageError(self.folder, CANNOT_WRITE.format(error.strerror), ELSEWHERE) from None
            try:
                yield folder
            finally:
                remove(folder)

    def put(self, file: str, built: str, timing: Optional[str], entry: Dict[str, Any], machine: Dict[str, Any]) -> None:
        """Take a built engine in.

        Args:
            built, timing: where the files are now; on the same file system.
            entry: what is to be recorded, but its size and SHA-256.
        """
        self.machine = machine
        self.entries[file] = dict(entry, check=None, layers=None, **_described(built))
        self._take(built, file)
        if timing:
            self._timing = _described(timing)
            self._take(timing, TIMING)
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
        self.discard(file)

    def discard(self, name: str) -> None:
        """Remove what is not recorded. Raises UsageError where that is impossible."""
        remove(self.path(name))
        if os.path.lexists(self.path(name)):
            raise UsageError(self.path(name), "cannot be removed", "see who owns the folder, and remove it yourself")

    def strays(self) -> List[str]:
        """Files that look like a store's and that no record names."""
        names = [name for name in _names(self.folder) if name.endswith(SUFFIX) and name not in self.entries]
        return names + [name for name in (RECORD, TIMING) if self.distrust and os.path.lexists(self.path(name))]

    def _take(self, built: str, name: str) -> None:
        try:
            if os.path.isdir(self.path(name)) and not os.path.islink(self.path(name)):
                self.discard(name)  # which a file cannot take the place of
            os.replace(built, self.path(name))
        except OSError as error:
            raise UsageError(self.path(name), CANNOT_WRITE.format(error.strerror), ELSEWHERE) from None

    def _record(self) -> None:
        record: Dict[str, Any] = {"format": FORMAT, "machine": self.machine, "engines": self.entries}
        record.update(active=self.active, timing=self._timing)
        text = json.dumps(record, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)[1:] + "\n"
        signed, key, path = text.encode("utf-8"), self._key or self._own_key(), self.path(RECORD)
        if os.path.lexists(path) and (os.path.islink(path) or not os.path.isfile(path)):
            self.discard(RECORD)  # never written through
        try:
            with atomic_write(path, "wb") as stream:
                stream.write(self._head(key, signed) + signed)
        except UsageError as error:
            raise UsageError(error.subject, error.problem, ELSEWHERE) from None

    def _own_key(self) -> bytes:
        return own_key(os.path.dirname(os.path.abspath(self.folder)))


def stores(folder: str) -> Iterator[EngineStore]:
    """Those of all devices, in the folder that `--engine-dir` names."""
    for device in devices(folder):
        yield EngineStore(os.path.join(folder, device))


def devices(folder: str) -> List[str]:
    """Names of all devices that have engines there, or a record of some."""
    return [name for name in _names(folder) if any(map(_is_ours, _names(os.path.join(folder, name))))]


def _is_ours(name: str) -> bool:
    return name == RECORD or name.endswith(SUFFIX)


def _names(folder: str) -> List[str]:
    """What a folder holds; nothing where there is none that this user may read."""
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP):
            raise
        return []


def _described(file: str) -> Dict[str, Any]:
    return {"bytes": os.path.getsize(file), "sha256": sha256_of(file)}


def _holds(recorded: Recorded) -> bool:
    """Whether a file's content is what was recorded; it need not fit into memory."""
    digest = hashlib.sha256()
    try:
        descriptor = os.open(recorded.file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:  # all others say nothing of the content
        if error.errno not in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
            raise
        return False
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size != recorded.bytes:
            return False
        for block in iter(lambda: os.read(descriptor, MB), b""):
            digest.update(block)
    finally:
        os.close(descriptor)
    return digest.hexdigest() == recorded.sha256
