"""The engines that tlee-build made of a bundle for this device."""

import os
from typing import Any, Dict, List, NamedTuple, Tuple

from tlee.bundle import FUSED, SEPARATE, Bundle
from tlee.engines.cuda import Gpu
from tlee.engines.planning import machine_key
from tlee.engines.releases import MODULES, TensorRT, load
from tlee.engines.store import EngineStore, devices
from tlee.errors import EngineError, TleeError, UsageError

NAMED = 3  # of other devices, in a line
BUILD = "build them here with tlee-build {}"


class Engines(NamedTuple):
    """What a bundle runs on.

    Attributes:
        release: loads them.
        exit_graphs: FUSED or SEPARATE, as they were built.
        rows: the most videos at once.
        precision: that they were built in; of several, separated by commas.
    """

    release: TensorRT
    store: EngineStore
    files: Dict[str, str]  # by graph
    exit_graphs: str
    rows: int
    precision: str


def find_engines(bundle: Bundle, folder: str, gpu: Gpu) -> Engines:
    """The engines of a bundle that its last complete build for this device and this TensorRT chose.

    Raises:
        EngineError: there are none, or they are of another export of the bundle.
        UsageError: TensorRT is not installed.
    """
    names: List[str] = []
    foreign: List[TleeError] = []
    missing: List[TleeError] = []
    for target in MODULES:
        try:
            release = load(target)  # the next one is not loaded where this one's engines are there
        except UsageError as error:
            missing.append(error)
            continue
        names.append(release.name)
        key = machine_key(release.name, release.portable, gpu.name, "{}.{}".format(*gpu.capability))
        store = EngineStore(os.path.join(folder, key))
        if bundle.name in store.active:
            return _checked(bundle, release, store)
        if store.distrust:
            foreign.append(EngineError(store.folder, "engines " + store.distrust, BUILD.format(bundle.path)))
    if foreign or not names:
        raise (foreign + missing)[0]
    others = devices(folder)
    problem = "no engines of {} for {} on this device".format(bundle.name, " or ".join(names))
    problem += ", only for {}".format(", ".join(others[:NAMED])) if others else ""
    problem += f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
    raise EngineError(folder, problem, BUILD.format(bundle.path))


def _checked(bundle: Bundle, release: TensorRT, store: EngineStore) -> Engines:
    entries: Dict[str, Tuple[str, Dict[str, Any]]] = {}
    for file in store.active[bundle.name]:
        identity = store.entries[file]["identity"]
        entries[identity["graph"]] = (file, identity)
    for exit_graphs in (FUSED, SEPARATE):
        if sorted(entries) == sorted(bundle.chain(exit_graphs)):
            break
    else:
        raise EngineError(store.folder, "engines of other graphs than the bundle's", BUILD.format(bundle.path))
    known = {entry["sha256"] for entry in bundle.manifest["files"].values()}
    for file, identity in entries.values():
        if identity["source"] not in known:
            problem = "built from another export of the bundle"
            raise EngineError(store.path(file), problem, BUILD.format(bundle.path))
    rows = min(identity["batch"] for _, identity in entries.values())
    precision = ", ".join(sorted({identity["precision"] for _, identity in entries.values()}))
    return Engines(release, store, {graph: file for graph, (file, _) in entries.items()}, exit_graphs, rows, precision)
