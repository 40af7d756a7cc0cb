"""Writing and amending bundles, on the workstation."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

from tlee.bundle import Bundle
from tlee.errors import BundleError, UsageError, remedy_of, writing
from tlee.files import sha256, write_json
from tlee.locks import write_lock
from tlee.manifest import DEVICE_FOLDERS, FORMAT, MANIFEST, check_manifest
from tlee.replacing import link_or_copy
from tlee.reports.atomic_folder import atomic_folder


class BundleWriter:
    """A bundle being written. See `write_bundle`."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.files: dict[str, dict[str, Any]] = {}

    def remove(self, folder: str) -> None:
        """Remove a folder's files from the bundle, if there are any."""
        shutil.rmtree(os.path.join(self.folder, folder), ignore_errors=True)
        self.files = {name: entry for name, entry in self.files.items() if not name.startswith(folder + "/")}

    def add(self, name: str, content: bytes) -> str:
        """Put a file into the bundle under the relative path `name`, which is returned. Raises UsageError."""
        path = os.path.join(self.folder, name)
        with writing(path, "make room"):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # it may be the amended bundle's file, too
            with open(path, "wb") as stream:
                stream.write(content)
        self.files[name] = {"size": len(content), "sha256": sha256(content)}
        return name

    def draft(self, manifest: dict[str, Any]) -> Bundle:
        """The bundle so far, unchecked: to run it for measurements that the manifest will record."""
        return Bundle(self.folder, {**manifest, "format": FORMAT, "files": self.files})

    def finish(self, manifest: dict[str, Any]) -> None:
        """Write the manifest (all but `format` and `files`, which are known here) and check the result by opening it.
        Raises BundleError where the manifest is not a valid one."""
        path, manifest = os.path.join(self.folder, MANIFEST), {**manifest, "format": FORMAT, "files": self.files}
        check_manifest(path, manifest)
        write_json(path, manifest)
        Bundle.open(self.folder).release()


@contextlib.contextmanager
def write_bundle(path: str, replace: bool = False) -> Iterator[BundleWriter]:
    """Write a bundle that appears under `path` when the block ends, or not at all if the block fails.

    Raises:
        UsageError: `path` exists (unless `replace`, and then it must be a bundle) or cannot be written.
    """
    if replace and os.path.lexists(path) and not os.path.isfile(os.path.join(path, MANIFEST)):
        raise UsageError(path, "exists and is no bundle", "choose another name")
    with atomic_folder(path, replace) as folder:
        yield BundleWriter(folder)


@contextlib.contextmanager
def amend_bundle(bundle: Bundle) -> Iterator[BundleWriter]:
    """Add to a bundle, or change its manifest: the amended bundle replaces it in one step when the block ends, or
    nothing changes. What a device has built is kept.

    Raises:
        BundleError: the bundle is no longer the one that was opened.
        UsageError: it cannot be written, or another command writes it.
    """
    with write_lock(bundle.path, folder=True):
        if Bundle.open(bundle.path).manifest != bundle.manifest:
            raise BundleError(bundle.path, "changed since it was opened", "start again, nothing was written")
        bundle.verify()
        with atomic_folder(bundle.path, replace=True, keep=DEVICE_FOLDERS) as folder:
            writer = BundleWriter(folder)
            writer.files = dict(bundle.manifest["files"])
            try:
                for name in writer.files:
                    os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)
                    link_or_copy(os.path.join(bundle.path, name), os.path.join(folder, name))
            except OSError as error:
                problem = f"cannot be copied ({error.strerror})"
                raise UsageError(bundle.path, problem, remedy_of(error, "make room beside it")) from None
            yield writer
            if not os.path.isfile(os.path.join(folder, MANIFEST)):
                raise RuntimeError("an amended bundle has to be finished")
            bundle.release()
