"""Which engines there are, and which of them can be used."""

import os
from typing import Iterator, List, NamedTuple, Optional

from tlee.bundle import Bundle
from tlee.engines.builder import holding
from tlee.engines.jobs import Machine
from tlee.engines.store import READY, SUFFIX, UNCHECKED, EngineStore, stores

OUTDATED, ELSEWHERE = "of another export or calibration", "of another device or TensorRT"
UNRECORDED = "not recorded"


class Listed(NamedTuple):
    """An engine. `state`: one of `tlee.engines.store`'s, OUTDATED, ELSEWHERE, UNRECORDED, of which other bundle, or why
    the record is not believed."""

    store: EngineStore
    file: str
    state: str
    own: bool  # of this bundle, as far as known


def listed(bundle: Bundle, engine_dir: str, machine: Optional[Machine]) -> Iterator[Listed]:
    """All engines of all devices. Without a machine, which devices' can be used here is not known."""
    hashes = {entry["sha256"] for entry in bundle.manifest["files"].values()}
    for store in stores(engine_dir):
        elsewhere = machine is not None and os.path.basename(store.folder) != machine.key
        for file in store.strays():
            if file.endswith(SUFFIX):
                yield Listed(store, file, store.distrust or UNRECORDED, True)
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
        table.append([os.path.basename(one.store.folder)] + _described(one) + [_state(one, bundle)])
    return table


def _described(one: Listed) -> List[str]:
    """Name, precision and size; of an engine that no record describes its file's name alone."""
    if one.file not in one.store.entries:
        return [one.file, "", ""]
    entry = one.store.entries[one.file]
    precision, batch = entry["identity"]["precision"], entry["identity"]["batch"]
    text = precision if batch == 1 else f"{precision}, up to {batch} videos"
    return [entry["identity"]["graph"], text, "{:.2f} MB".format(entry["bytes"] / 1e6)]


def clean(bundle: Bundle, engine_dir: str, machine: Optional[Machine]) -> Iterator[str]:
    """Remove the bundle's engines that cannot be used here, and files that no record names, or none that is believed;
    yields a line for each.

    Raises:
        UsageError: another command writes there, or the folder cannot be written.
        BundleError: the bundle was changed since it was opened.
    """
    with holding(bundle, engine_dir):
        unfit = [one for one in listed(bundle, engine_dir, machine) if one.own and one.state not in (READY, UNCHECKED)]
        for store in stores(engine_dir):
            with store.alone():
                for one in unfit:
                    if one.store.folder == store.folder and one.file in store.entries:
                        store.remove(one.file)
                        yield f"removed {store.path(one.file)}: {one.state}"
                for name in store.strays():
                    store.discard(name)
                    yield f"removed {store.path(name)}: {store.distrust or UNRECORDED}"


def _state(one: Listed, bundle: Bundle) -> str:
    in_use = one.state in (READY, UNCHECKED) and one.file in one.store.active.get(bundle.name, [])
    return one.state + (", in use" if in_use else "")
