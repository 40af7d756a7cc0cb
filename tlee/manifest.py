"""The manifest of a bundle, checked against its JSON Schema, for size, and for contradictions.

It may come from an attacker: nothing in it is trusted that can be checked, and no number is larger than what it counts
can be.
"""

import functools
import json
import os
import re
from typing import Any, Collection, Dict, Iterator, List, Optional, Tuple

from tlee.errors import UNSAFE, BundleError
from tlee.locks import OpenFolder
from tlee.reading import MB, parse_json, read_bytes
from tlee.schema import problem
from tlee.shape_rules import product

FORMAT = 8
MANIFEST = "manifest.json"
LIMIT = 8 * MB  # bytes; those of the largest models have 0.3 MB
NO_SEGMENT = ("none", "random")  # kinds of FRM and gate without a segment
# Always in float32, alone and within fused exits: their outputs are compared with thresholds, which may lie at 0.99999,
# where neighbouring numbers of half precision are 0.0005 apart. They cost next to nothing.
FP32_ONLY = ("frm", "head", "gate")
DEVICE_FOLDERS = ("engines",)  # built on a device, never listed
MAX_SIZE = 8192 * MB  # of all files; VGG-16 in three precisions has 2.6 GB
MAX_ELEMENTS = 1 << 28  # of one value, a gigabyte; a frame of 4096 x 4096 has a fifth
EXPORT_AGAIN = "export the bundle again, or copy it again from where it was made"

PLAIN_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")

Interface = List[Tuple[str, List[int]]]  # names and shapes, in order


def load_manifest(path: str, folder: OpenFolder) -> Dict[str, Any]:
    """The manifest of the bundle at `path`, opened as `folder`: of this release's format, not yet checked. Raises
    BundleError: there is none, or it cannot be read."""
    file = os.path.join(path, MANIFEST)
    if MANIFEST not in os.listdir(folder.descriptor):
        raise BundleError(path, f"not a bundle, {MANIFEST} is missing", EXPORT_AGAIN)
    content = read_bytes(MANIFEST, LIMIT, BundleError, EXPORT_AGAIN, folder.descriptor, follow=False, subject=file)
    try:
        manifest = parse_json(content)
    except ValueError as error:
        raise BundleError(file, f"not readable as JSON ({error})", EXPORT_AGAIN) from None
    if not isinstance(manifest, dict) or "format" not in manifest:
        raise BundleError(file, "not the manifest of a bundle", EXPORT_AGAIN)
    if manifest["format"] != FORMAT:
        remedy = "use the release of tlee that wrote it, or export again with this one"
        raise BundleError(file, f"format {manifest['format']}, this release reads {FORMAT}", remedy)
    return manifest


def check_manifest(file: str, manifest: Dict[str, Any]) -> None:
    """Refuse a manifest that is invalid, or that no export writes. Raises BundleError, with the name `file`."""
    unsafe = next((text for text in _texts(manifest) if UNSAFE.search(text)), None)
    if unsafe is not None:
        raise BundleError(file, f"control characters in {unsafe[:80]!r}", "rename what it names, export again")
    wrong = problem(manifest, _schema())
    if wrong:
        raise BundleError(file, f"not a valid manifest: {wrong}", EXPORT_AGAIN)
    wrong = _contradiction(manifest) or _wrong_interface(manifest) or _wrong_variants(manifest)
    if wrong:
        raise BundleError(file, f"contradicts itself: {wrong}", EXPORT_AGAIN)


def fused_exit_segments(branches: int, segments: Collection[str]) -> Dict[str, List[str]]:
    """The segments that each fused exit is composed of, in order.

    Examples:
        >>> fused_exit_segments(1, ["split0", "split1", "branch0", "tail", "head", "gate"])["exit1"]
        ['tail', 'head', 'gate']
    """
    shared = [name for name in ("neck",) + FP32_ONLY if name in segments]
    own = [f"branch{b}" for b in range(branches)] + ["tail"]
    return {f"exit{b}": [name] + shared for b, name in enumerate(own)}


def exit_costs(branches: int, segments: Dict[str, Dict[str, Any]]) -> List[Dict[str, Any]]:
    """What a frame has cost when it leaves at each exit, from the manifest's segments.

    Returns:
        For each exit its `segment`; `backbone_macs` of the splits up to it; `macs` and `parameters` of these splits and
        every exit so far, each with neck, FRM, head and gate.
    """

    def total(key: str, names: List[str]) -> int:
        return sum(segments[name][key] for name in names if name in segments)

    costs = []
    shared, exits = ["neck", *FP32_ONLY], [f"branch{b}" for b in range(branches)] + ["tail"]
    for b, name in enumerate(exits):
        splits, own = [f"split{i}" for i in range(b + 1)], exits[: b + 1]
        macs = total("macs", splits + own) + (b + 1) * total("macs", shared)
        parameters = total("parameters", splits + own + shared)
        costs.append({"segment": name, "backbone_macs": total("macs", splits), "macs": macs, "parameters": parameters})
    return costs


def graph_files(manifest: Dict[str, Any]) -> List[str]:
    """The files that are ONNX graphs."""
    graphs = list(manifest["segments"].values()) + list(manifest["fused_exits"].values())
    for variant in manifest["variants"].values():
        graphs += variant["graphs"].values()
    return sorted({entry["file"] for entry in graphs})


@functools.lru_cache(maxsize=None)
def _schema() -> Dict[str, Any]:
    with open(os.path.join(os.path.dirname(__file__), "manifest.schema.json"), encoding="utf-8") as stream:
        return json.load(stream)


def _texts(value: Any) -> Iterator[str]:
    """All strings in it, keys too."""
    rest = [value]
    while rest:
        value = rest.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            rest += value.keys()
            rest += value.values()
        elif isinstance(value, list):
            rest += value


def _contradiction(manifest: Dict[str, Any]) -> Optional[str]:
    """What a schema cannot express."""
    model, frames, segments = manifest["model"], manifest["frames"], manifest["segments"]
    exits = model["branches"] + 1
    for name in manifest["files"]:
        if not PLAIN_PATH.fullmatch(name):
            return f"the path {name!r} leaves the bundle, or is no plain one"
        if name.split("/")[0] in DEVICE_FOLDERS + (MANIFEST,):
            return f"{name} is listed among the files"
    total = sum(entry["size"] for entry in manifest["files"].values())
    if total > MAX_SIZE:
        return f"{total:,} bytes in all, more than {MAX_SIZE:,}"
    if len(model["labels"]) != model["classes"]:
        return f"{len(model['labels'])} labels for {model['classes']} classes"
    if sorted(frames["order"]) != list(range(frames["count"])):
        return f"the frame order is no permutation of {frames['count']} frames"
    if frames["crop"] > frames["resize"]:
        return "the crop is larger than the resized frame"
    needed = [f"split{b}" for b in range(exits)] + [f"branch{b}" for b in range(exits - 1)]
    needed += [name for name in ("frm", "gate") if model[name] not in NO_SEGMENT]
    missing = [name for name in needed if name not in segments]
    if missing:
        return f"segment {missing[0]} is missing"
    strange = sorted(set(segments) - set(needed) - {"tail", "neck", "head"})
    if strange:
        return f"segment {strange[0]} has no place in the model"
    given = [value["name"] for value in segments["head"]["inputs"]]
    if (model["heads"] == "per_frame") != ("position" in given):
        return f"heads are {model['heads']}, but the head's inputs are {', '.join(given)}"
    rule = manifest["exit_rule"]
    for point in [rule] + list(rule["operating_points"].values()):
        if any(len(values) != exits for values in point["thresholds"].values()):
            return f"thresholds for another number of exits than {exits}"
    if manifest["exits"] != exit_costs(model["branches"], segments):
        return "the costs of the exits are not those of the segments"
    if manifest["exits"][-1]["backbone_macs"] == 0:
        return "the backbone computes nothing"
    for name, segment in segments.items():
        handed = zip(*([value["name"] for value in segment[side][1:]] for side in ("inputs", "outputs")))
        if name.startswith("split") and segment.get("state", {}) != dict(handed):
            return f"the state of {name} is not what follows its first input and output"
        if "state" in segment and frames["order"] != sorted(frames["order"]):
            return "a state is handed from frame to frame, but the frames are not in chronological order"
    fused_exits, composed = manifest["fused_exits"], fused_exit_segments(model["branches"], segments)
    if {name: fused["segments"] for name, fused in fused_exits.items()} != composed:
        return "the fused exits are not those of the segments, one for each exit"
    return None


def _wrong_interface(manifest: Dict[str, Any]) -> Optional[str]:
    """A graph whose inputs and outputs are not those of its place in the chain."""
    segments = manifest["segments"]
    graphs = dict(segments, **manifest["fused_exits"])
    for name, graph in graphs.items():
        for side in ("inputs", "outputs"):
            values = graph[side]
            if len({value["name"] for value in values}) != len(values):
                return f"two {side} of {name} have one name"
            large = [value["name"] for value in values if product(value["shape"]) > MAX_ELEMENTS]
            if large:
                return f"{large[0]} of {name} has more than {MAX_ELEMENTS:,} numbers"
    for name, (inputs, outputs) in _interfaces(manifest).items():
        for side, wanted in (("inputs", inputs), ("outputs", outputs)):
            found = [(value["name"], value["shape"]) for value in graphs[name][side]]
            if found != wanted:
                return f"the {side} of {name} are {_shown(found)}, not {_shown(wanted)}"
    return None


def _interfaces(manifest: Dict[str, Any]) -> Dict[str, Tuple[Interface, Interface]]:
    """Inputs and outputs that all segments and fused exits must have. Sizes that depend on the model are taken from
    what makes them: maps from the splits, the length of a feature from the tail."""
    model, segments = manifest["model"], manifest["segments"]
    maps = [segments[f"split{b}"]["outputs"][0]["shape"] for b in range(model["branches"] + 1)]
    feature = [1, model["feature_size"]]
    raw = segments["tail"]["outputs"][0]["shape"] if "neck" in segments else feature
    crop = manifest["frames"]["crop"]
    z, previous, logits = ("z", feature), ("previous", feature), ("logits", [1, model["classes"]])
    temperature, confidence, score, position = (
        (name, [1, 1]) for name in ("temperature", "confidence", "score", "position")
    )
    positions = [position] if model["heads"] == "per_frame" else []
    found: Dict[str, Tuple[Interface, Interface]] = {
        "neck": ([("feature", raw)], [("projection", feature)]),
        "frm": ([("feature", feature), previous], [z]),
        "head": ([z, temperature] + positions, [logits, confidence]),
        "gate": ([z, previous] + positions, [score]),
    }
    found = {name: interface for name, interface in found.items() if name in segments}
    before: Tuple[str, List[int]] = ("frame", [1, crop, crop, 3])
    gated, reused = "gate" in segments, "frm" in segments
    placed = [position] if reused or positions else []
    for b, shape in enumerate(maps):
        x = (f"x{b}", shape)
        state, after = (segments[f"split{b}"][side][1:] for side in ("inputs", "outputs"))
        own = f"branch{b}" if b < model["branches"] else "tail"
        found[f"split{b}"] = (
            [before] + [(value["name"], value["shape"]) for value in state],
            [x] + [(new["name"], old["shape"]) for new, old in zip(after, state)],
        )
        found[own] = ([x], [("feature", raw)])
        found[f"exit{b}"] = (
            [x] + [previous] * (gated or reused) + placed + [temperature],
            [z, logits, confidence] + [score] * gated,
        )
        before = x
    return found


def _shown(values: Interface) -> str:
    return ", ".join(f"{name} ({' '.join(map(str, shape))})" for name, shape in values[:6])


def _wrong_variants(manifest: Dict[str, Any]) -> Optional[str]:
    graphs = dict(manifest["segments"], **manifest["fused_exits"])
    files = [graph["file"] for graph in graphs.values()]
    for precision, variant in manifest["variants"].items():
        strange = sorted(set(variant["graphs"]) - set(graphs) | set(variant["excluded"]) - set(manifest["segments"]))
        if strange:
            return f"there is a variant of {strange[0]}, but no such segment or fused exit"
        float32 = sorted(set(variant["graphs"]) & set(FP32_ONLY))
        if float32:
            return f"there is a variant of {float32[0]}, which has to stay in float32"
        if precision == "int8" and any("cache" not in entry for entry in variant["graphs"].values()):
            return "a variant in int8 has no cache"
        files += [entry[key] for entry in variant["graphs"].values() for key in ("file", "cache") if key in entry]
    unlisted = [name for name in files if name not in manifest["files"]]
    return f"{unlisted[0]} is not among the files" if unlisted else None
