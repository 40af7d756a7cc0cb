"""Which engines there are, and which of them can be used."""

import os
from typing import Iterator, List, NamedTuple, Optional

from tlee.bundle import Bundle
from tlee.engines.jobs import Machine
from tlee.engines.store import READY, UNCHECKED, EngineStore, stores

OUTDATED, ELSEWHERE = "of another export or calibration", "of another device or TensorRT"


class Listed(NamedTuple):
    """A recorded engine. `state`: one of `tlee.engines.store`'s, OUTDATED, ELSEWHERE, or of which other bundle."""

    store: EngineStore
    file: str
    state: str
    own: bool  # of this bundle


def listed(bundle: Bundle, engine_dir: str, machine: Optional[Machine]) -> Iterator[Listed]:
    """All engines of all devices. Without a machine, which devices' can be used here is not known."""
    hashes = {entry["sha256"] for entry in bundle.manifest["files"].values()}
    for store in stores(engine_dir):
        elsewhere = machine is not None and os.path.basename(store.folder) != machine.key
        for file, entry in sorted(store.entries.items()):
            identity = entry["identity"]
            if entry["bundle"] != bundle.name:
                yield Listed(store, file, "of the bundle {}".format(entry["bundle"]), False)
            elif identity["source"] not in hashes or (identity["cache"] or identity["source"]) not in hashes:
                yield Listed(store, file, OUTDATED, True)
            else:
                yield Listed(store, file, ELSEWHERE if elsewhere else store.state(file), True)


def rows(bundle: Bundle, engine_dir: str, machine: Optional[Machine]) -> List[List[str]]:
    """Of a table, its head first."""
    table = [["device", "engine", "precision", "size", "state"]]
    for one in listed(bundle, engine_dir, machine):
        entry = one.store.entries[one.file]
        identity, size = entry["identity"], "{:.2f} MB".format(entry["bytes"] / 1e6)
        precision, batch = identity["precision"], identity.get("batch", 1)  # older records have none
        text = precision if batch == 1 else "{}, up to {} videos".format(precision, batch)
        cells = [os.path.basename(one.store.folder), identity["graph"], text, size]
        table.append(cells + [_state(one, bundle)])
    return table


def clean(bundle: Bundle, engine_dir: str, machine: Optional[Machine]) -> Iterator[str]:
    """Remove the bundle's engines that cannot be used here, and files that no record names; yields a line for each.

    Raises:
        UsageError: another build is at work, or the folder cannot be written.
    """
    unfit = [one for one in listed(bundle, engine_dir, machine) if one.own and one.state not in (READY, UNCHECKED)]
    for store in stores(engine_dir):
        with store.building():
            for one in unfit:
                if one.store.folder == store.folder:
                    store.remove(one.file)
                    yield "removed {}: {}".format(store.path(one.file), one.state)
            for name in store.strays():
                os.unlink(store.path(name))
                yield "removed {}: not recorded".format(store.path(name))


def _state(one: Listed, bundle: Bundle) -> str:
    in_use = one.state in (READY, UNCHECKED) and one.file in one.store.active.get(bundle.name, [])
    return one.state + (", in use" if in_use else "")
