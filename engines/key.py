"""The key by which engines are known to be built here: a secret of this user on this machine, made at the first build.

An engine is code, and a bundle may come from anywhere, with engines in it. So what `tlee.engines.store` records of
engines is signed with this key, which lies outside of all bundles.
"""

import hashlib
import hmac
import os
import time
from typing import Optional

from tlee.errors import UsageError, writing
from tlee.locks import BUSY, PATIENCE, remove, temporary_file, write_lock
from tlee.reading import read_bytes

VARIABLE = "TLEE_ENGINE_KEY"
BYTES, LIMIT = 32, 4096  # of a new key; of any key that is read
REMEDY = f"set {VARIABLE}=FILE, in a folder of yours that stays"


def key_file() -> str:
    """Where the key is: the file that TLEE_ENGINE_KEY names, or `tlee/engine.key` among the user's data. Raises
    UsageError where the user has no home."""
    given = os.environ.get(VARIABLE)
    if given:
        return os.path.abspath(given)
    folder = os.environ.get("XDG_DATA_HOME", "")
    if not os.path.isabs(folder):  # its specification: to be ignored then
        folder = os.path.join(os.path.expanduser("~"), ".local", "share")
    if not os.path.isabs(folder):
        raise UsageError("home folder", "this user has none, in which the key of engines could be kept", REMEDY)
    return os.path.join(folder, "tlee", "engine.key")


def find_key() -> Optional[bytes]:
    """The key; None where there is none yet. A link to it is followed. Raises UsageError where it cannot be read, or
    others could know it."""
    path = key_file()
    if not os.path.lexists(path):
        return None
    key = read_bytes(path, LIMIT, UsageError, "give it to this user and nobody else (chown, chmod 600), or " + REMEDY)
    status, user = os.stat(path), os.geteuid()
    if status.st_mode & 0o077:
        problem = "the key of engines, and other users may read or write it"
        raise UsageError(path, problem, "chmod 600 it if nobody did, else remove it and build again; or " + REMEDY)
    if user != 0 and status.st_uid not in (0, user):
        raise UsageError(path, "the key of engines, and it belongs to another user", REMEDY)
    if len(key) < BYTES:
        problem = f"the key of engines, and shorter than {BYTES} bytes"
        raise UsageError(path, problem, "remove it: the next build makes one, and builds all engines again")
    return key


def own_key(engine_dir: str) -> bytes:
    """The key, which is made if there is none. Of two first builds at once, one makes it and both have the same. Raises
    UsageError as `find_key`; or it cannot be written, or lies among the engines, with which it would be handed on."""
    path = key_file()
    if os.path.realpath(path).startswith(os.path.realpath(engine_dir) + os.sep):
        raise UsageError(path, "the key of engines, and among them: who gets these could sign others", REMEDY)
    deadline = time.monotonic() + PATIENCE
    while not os.path.exists(path):
        try:
            with writing(path):
                _make(path)
        except UsageError as error:
            if error.problem != BUSY or time.monotonic() > deadline:
                raise UsageError(path, error.problem, REMEDY) from None
            time.sleep(0.05)
    key = find_key()
    if key is None:
        raise UsageError(path, "the key of engines, removed while it was made", "start again")
    return key


def signature(key: bytes, device: str, content: bytes) -> str:
    """HMAC-SHA256 of what is recorded of a device's engines, as hexadecimal digits; `device` is the folder's name: what
    is recorded for one device is not valid for another."""
    return hmac.new(key, os.fsencode(device) + b"\0" + content, hashlib.sha256).hexdigest()


def _make(path: str) -> None:
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    with write_lock(path) as place:
        if os.path.exists(place):
            return
        temporary = temporary_file(place)  # that nobody else may read
        try:
            with open(temporary, "wb") as stream:
                stream.write(os.urandom(BYTES))
                stream.flush()
                os.fsync(stream.fileno())
            os.rename(temporary, place)
        finally:
            remove(temporary)
