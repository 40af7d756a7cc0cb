"""Which engines there are, and which of them can be used."""

import os
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from tlee.bundle import Bundle
from tlee.engines.builder import locked_bundle
from tlee.engines.planning import Machine
from tlee.engines.store import READY, SUFFIX, UNCHECKED, EngineStore, stores

OUTDATED, OTHER_DEVICE = "of another export or calibration", "of another device or TensorRT"
UNRECORDED = "not recorded"


class FoundEngine(NamedTuple):
    """An engine file."""

    store: EngineStore
    file: str
    entry: Optional[Dict[str, Any]]  # what is recorded of it
    state: str  # of `EngineStore.state`, or why it is not used
    own: bool  # it is of this bundle, as far as known

    @property
    def usable(self) -> bool:
        return self.state in (READY, UNCHECKED)


def find_all(bundle: Bundle, engine_dir: str, machine: Optional[Machine]) -> Iterator[FoundEngine]:
    """All engines of all devices. Without a machine, which devices' can be used here is not known."""
    hashes = {entry["sha256"] for entry in bundle.manifest["files"].values()}
    for store in stores(engine_dir):
        elsewhere = machine is not None and os.path.basename(store.folder) != machine.key
        for file in store.unrecorded():
            if file.endswith(SUFFIX):
                yield FoundEngine(store, file, None, store.distrust or UNRECORDED, True)
        for file, entry in sorted(store.entries.items()):
            identity, own = entry["identity"], entry["bundle"] == bundle.name
            if not own:
                state = f"of the bundle {entry['bundle']}"
            elif not {identity["source"], identity["cache"] or identity["source"]} <= hashes:
                state = OUTDATED
            else:
                state = OTHER_DEVICE if elsewhere else store.state(file)
            yield FoundEngine(store, file, entry, state, own)


def rows(bundle: Bundle, engine_dir: str, machine: Optional[Machine]) -> List[List[str]]:
    """Of a table of all engines, its head first."""
    table = [["device", "engine", "precision", "size", "state"]]
    for found in find_all(bundle, engine_dir, machine):
        described = [found.file, "", ""]  # all that is known of one that is not recorded
        if found.entry:
            identity = found.entry["identity"]
            several = f", up to {identity['batch']} videos" if identity["batch"] > 1 else ""
            size = f"{found.entry['bytes'] / 1e6:.2f} MB"
            described = [identity["graph"], identity["precision"] + several, size]
        used = found.usable and found.file in found.store.active.get(bundle.name, [])
        table.append([os.path.basename(found.store.folder)] + described + [found.state + (", in use" if used else "")])
    return table


def clean(bundle: Bundle, engine_dir: str, machine: Optional[Machine]) -> Iterator[str]:
    """Remove the bundle's engines that cannot be used here, and files that no record names, or none that is believed;
    yields a line for each. Raises UsageError and BundleError as `locked_bundle` and `EngineStore.locked`."""
    with locked_bundle(bundle, engine_dir):
        unfit = [found for found in find_all(bundle, engine_dir, machine) if found.own and not found.usable]
        for store in stores(engine_dir):
            with store.locked():
                for found in unfit:
                    if found.store.folder == store.folder and found.file in store.entries:
                        store.remove(found.file)
                        yield f"removed {store.path(found.file)}: {found.state}"
                for name in store.unrecorded():
                    store.remove_unrecorded(name)
                    yield f"removed {store.path(name)}: {store.distrust or UNRECORDED}"
