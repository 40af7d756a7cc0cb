"""Finds the engines that tlee-build made of a bundle for this device."""

import os
from typing import Dict, List, NamedTuple

from tlee.bundle import FUSED, SEPARATE, Bundle
from tlee.engines.cuda import Gpu
from tlee.engines.planning import machine_key
from tlee.engines.releases import MODULES, TensorRT, load
from tlee.engines.store import EngineStore, devices
from tlee.errors import EngineError, TleeError, UsageError

NAMED = 3  # other devices that a message names
BUILD = "build them here with tlee-build {}"


class Engines(NamedTuple):
    release: TensorRT  # that loads them
    store: EngineStore
    files: Dict[str, str]  # by graph
    exit_graphs: str  # FUSED or SEPARATE, as they were built
    rows: int  # videos at once, at most
    precision: str  # several are separated by commas


def find_engines(bundle: Bundle, folder: str, gpu: Gpu) -> Engines:
    """The engines of a bundle that its last complete build for this device and this TensorRT chose.

    Raises:
        EngineError: there are none, or they are of another export of the bundle.
        UsageError: TensorRT is not installed.
    """
    names: List[str] = []
    untrusted: List[TleeError] = []
    missing: List[TleeError] = []
    capability = "{}.{}".format(*gpu.capability)
    for target in MODULES:
        try:
            release = load(target)  # the next one is not loaded where this one's engines are there
        except UsageError as error:
            missing.append(error)
            continue
        names.append(release.name)
        store = EngineStore(os.path.join(folder, machine_key(release.name, release.portable, gpu.name, capability)))
        if bundle.name in store.active:
            return _checked(bundle, release, store)
        if store.distrust:
            untrusted.append(EngineError(store.folder, "engines " + store.distrust, BUILD.format(bundle.path)))
    if untrusted or not names:
        raise (untrusted + missing)[0]
    others = devices(folder)
    problem = f"no engines of {bundle.name} for {' or '.join(names)} on this device"
    problem += f", only for {', '.join(others[:NAMED])}" if others else ""
    problem += f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
    raise EngineError(folder, problem, BUILD.format(bundle.path))


def _checked(bundle: Bundle, release: TensorRT, store: EngineStore) -> Engines:
    identities = {file: store.entries[file]["identity"] for file in store.active[bundle.name]}
    files = {identity["graph"]: file for file, identity in identities.items()}
    kinds = [kind for kind in (FUSED, SEPARATE) if sorted(files) == sorted(bundle.chain(kind))]
    if not kinds:
        raise EngineError(store.folder, "engines of other graphs than the bundle's", BUILD.format(bundle.path))
    exported = {entry["sha256"] for entry in bundle.manifest["files"].values()}
    for file, identity in identities.items():
        if identity["source"] not in exported:
            problem = "built from another export of the bundle"
            raise EngineError(store.path(file), problem, BUILD.format(bundle.path))
    rows = min(identity["batch"] for identity in identities.values())
    precision = ", ".join(sorted({identity["precision"] for identity in identities.values()}))
    return Engines(release, store, files, kinds[0], rows, precision)
