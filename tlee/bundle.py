"""The bundle, `NAME.tlee/`: a manifest and the graphs it describes. The contract between workstation and device.

A reader refuses what it does not understand: an unknown format, a missing, altered or unlisted file,
a path that leaves the bundle. Nothing in a bundle is unpickled or run.
"""

import contextlib
import functools
import json
import os
import shutil
from typing import Any, Callable, Collection, Dict, Iterator, List, NamedTuple, Optional, Set

from tlee.errors import BundleError, UsageError
from tlee.files import sha256, whole_folder, write_json
from tlee.frames import FrameSpec
from tlee.policy import Thresholds

FORMAT = 7
MANIFEST = "manifest.json"
NO_SEGMENT = ("none", "random")  # kinds of FRM and gate that compute nothing
PRECISIONS = ("fp32", "fp16", "int8")  # what a graph can be read in
HOW_TO_MAKE = {"fp16": "make them with tlee-export --forms fp16", "int8": "make them with tlee-calibrate"}
# Always in float32, alone and within units: what they give is compared with thresholds, and these may lie at 0.99999,
# where neighbouring numbers of half precision are 0.0005 apart. They cost next to nothing.
DELICATE = ("frm", "head", "gate")
DEVICE_FOLDERS = ("engines",)  # built on a device, never listed
BATCH = "batch"  # what graphs call their first dimension, the number of videos; manifests describe one video
FUSED, SEPARATE = "fused", "separate"  # each exit as one graph or as its segments
EXPORT_AGAIN = "export the bundle again, or copy it again from where it was made"


class Segment(NamedTuple):
    """One ONNX graph: a segment of the chain, or a unit composed of several."""

    name: str
    file: str  # of its float32 form, relative to the bundle
    inputs: List[str]  # names, in order
    outputs: List[str]
    macs: int  # multiply-accumulates, for one video
    parameters: int
    elements: int  # numbers in the feature maps that its layers write, for one video
    layers: int  # that a fused engine launches
    state: Dict[str, str]  # inputs by name that the output of that name replaces in the next frame
    nodes: int  # of the ONNX graph: what building it takes goes by these
    segments: List[str]  # of a unit, in order; of a segment itself alone


def unit_segments(branches: int, segments: Collection[str]) -> Dict[str, List[str]]:
    """Of each unit, one per exit, the segments that it is composed of, in order.

    Example:
        >>> unit_segments(1, ["split0", "split1", "branch0", "tail", "head", "gate"])["exit1"]
        ['tail', 'head', 'gate']
    """
    shared = [name for name in ("neck",) + DELICATE if name in segments]
    own = ["branch{}".format(b) for b in range(branches)] + ["tail"]
    return {"exit{}".format(b): [name] + shared for b, name in enumerate(own)}


def exit_costs(branches: int, segments: Dict[str, Dict[str, Any]]) -> List[Dict[str, Any]]:
    """What reaching each exit of a frame costs, from the manifest's segments.

    Returns:
        For each exit its `segment`; `backbone_macs` of the splits up to it; `macs` and `parameters` of all that has
        run when the frame leaves there: these splits and every exit so far, each with neck, FRM, head and gate.
    """

    def total(key: str, names: List[str]) -> int:
        return sum(segments[name][key] for name in names if name in segments)

    exits: List[Dict[str, Any]] = []
    shared = ["neck"] + list(DELICATE)
    for b in range(branches + 1):
        splits = ["split{}".format(i) for i in range(b + 1)]
        own = (["branch{}".format(i) for i in range(branches)] + ["tail"])[: b + 1]
        exits.append(
            {
                "segment": own[-1],
                "backbone_macs": total("macs", splits),
                "macs": total("macs", splits + own) + (b + 1) * total("macs", shared),
                "parameters": total("parameters", splits + own + shared),
            }
        )
    return exits


class Bundle:
    """An opened bundle. Opening checks the manifest and that every file is there with its size;
    contents are checked against their SHA-256 when they are read, or all at once by `verify`.

    Attributes:
        path: the folder.
        manifest: as docs/bundle.md describes it.
        name, labels: of the model, and of its K classes in order.
        exits: how many, branches and tail (B + 1).
        frames: which frames of a video the model wants.
        segments, units: the graphs, by name.

    Example:
        >>> bundle = Bundle.open("build/digits.tlee")
        >>> bundle.frames.length, bundle.exits, bundle.labels[:3]
        (10, 4, ['0', '1', '2'])
        >>> onnx = bundle.read("split0")  # bytes, SHA-256 checked
        >>> bundle.chain()
        ['split0', 'split1', 'split2', 'split3', 'exit0', 'exit1', 'exit2', 'exit3']
    """

    def __init__(self, path: str, manifest: Dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        model, frames = manifest["model"], manifest["frames"]
        self.name: str = model["name"]
        self.labels: List[str] = model["labels"]
        self.exits: int = model["branches"] + 1
        keys = ("count", "order", "resize", "crop", "sampling", "interpolation")
        self.frames = FrameSpec(*[frames[key] for key in keys])
        self.segments = {name: _segment(name, entry) for name, entry in manifest["segments"].items()}
        self.units = {name: _segment(name, entry) for name, entry in manifest["units"].items()}

    @classmethod
    def open(cls, path: str) -> "Bundle":
        """Open the bundle in a folder.

        Raises:
            BundleError: the folder is no bundle, or not what its manifest says.
            UsageError: fastjsonschema, which checks the manifest, is not installed.
        """
        path = os.fspath(path)
        manifest = _load_manifest(path)
        _check_manifest(os.path.join(path, MANIFEST), manifest)
        _check_files(path, manifest)
        return cls(path, manifest)

    def graph(self, name: str) -> Segment:
        """A segment or unit by its name."""
        return self.units[name] if name in self.units else self.segments[name]

    def chain(self, units: str = FUSED) -> List[str]:
        """Names of the graphs that make up the chain, splits first: FUSED with one unit per exit, SEPARATE with every
        segment for itself."""
        splits = ["split{}".format(b) for b in range(self.exits)]
        others = self.units if units == FUSED else self.segments
        return splits + sorted(name for name in others if name not in splits)

    def read(self, name: str, precision: str = "fp32") -> bytes:
        """The ONNX model of a segment or unit.

        Args:
            precision: of `PRECISIONS`; where there is no such form of it, the float32 form.

        Raises:
            BundleError: the content is not the one that was exported.
            UsageError: the bundle has no forms of this precision.
        """
        return self.read_file(self.file_of(name, precision))

    def file_of(self, name: str, precision: str = "fp32") -> str:
        """The file that `read` reads, relative to the bundle. Raises UsageError as that does."""
        form = self.form(name, precision)
        return self.graph(name).file if form is None else form["file"]

    def form(self, name: str, precision: str) -> Optional[Dict[str, Any]]:
        """What the manifest says of the form that is read for a precision: its `file`, and where there are, its INT8
        `cache` and its `deviation` from float32. None where that is the float32 form: there is no other, or the plan
        keeps the segment in higher precision. Raises UsageError as `read` does."""
        if precision == "fp32":
            return None
        if precision not in self.manifest["variants"]:
            remedy = HOW_TO_MAKE.get(precision, "choose of: {}".format(", ".join(PRECISIONS)))
            raise UsageError(self.path, "has no {} forms".format(precision), remedy)
        variant = self.manifest["variants"][precision]
        return None if name in variant["kept"] else variant["forms"].get(name)

    def read_file(self, name: str) -> bytes:
        """The content of a file that the manifest lists. Raises BundleError as `read` does."""
        path = os.path.join(self.path, name)
        if name not in self.manifest["files"]:
            raise BundleError(path, "not in the bundle", EXPORT_AGAIN)
        try:
            with open(path, "rb") as stream:
                content = stream.read()
        except OSError as error:
            raise BundleError(path, error.strerror, EXPORT_AGAIN) from None
        if sha256(content) != self.manifest["files"][name]["sha256"]:
            raise BundleError(path, "altered since the bundle was written", EXPORT_AGAIN)
        return content

    def verify(self) -> None:
        """Check the content of every file. Raises BundleError as `read` does."""
        for name in self.manifest["files"]:
            self.read_file(name)

    def thresholds(self, point: Optional[str] = None) -> Thresholds:
        """The exit rule's thresholds, or those of a named operating point.

        Raises:
            UsageError: there is no such point.
        """
        rule = self.manifest["exit_rule"]
        if point is None:
            return Thresholds(**rule["thresholds"])
        if point not in rule["operating_points"]:
            known = ", ".join(sorted(rule["operating_points"])) or "none"
            raise UsageError(self.path, "no operating point '{}'".format(point), "choose of: {}".format(known))
        return Thresholds(**rule["operating_points"][point]["thresholds"])


class BundleWriter:
    """A bundle in the making. See `write_bundle`."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.files: Dict[str, Dict[str, Any]] = {}

    def remove(self, folder: str) -> None:
        """Take the files of one folder out of the bundle; nothing where there are none."""
        shutil.rmtree(os.path.join(self.folder, folder), ignore_errors=True)
        self.files = {name: entry for name, entry in self.files.items() if not name.startswith(folder + "/")}

    def add(self, name: str, content: bytes) -> None:
        """Put a file into the bundle under the relative path `name`.

        Raises:
            UsageError: it cannot be written.
        """
        path = os.path.join(self.folder, name)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as stream:
                stream.write(content)
        except OSError as error:
            raise UsageError(path, "cannot be written ({})".format(error.strerror), "make room") from None
        self.files[name] = {"size": len(content), "sha256": sha256(content)}

    def draft(self, manifest: Dict[str, Any]) -> Bundle:
        """The bundle with what it holds so far, unchecked: to be run for what the manifest is to say of it."""
        return Bundle(self.folder, dict(manifest, format=FORMAT, files=self.files))

    def finish(self, manifest: Dict[str, Any]) -> Bundle:
        """Write the manifest (all but `format` and `files`, which are known here) and open the result.

        Raises:
            BundleError: the manifest is not a valid one.
            UsageError: it cannot be written.
        """
        manifest = dict(manifest, format=FORMAT, files=self.files)
        _check_manifest(os.path.join(self.folder, MANIFEST), manifest)
        write_json(os.path.join(self.folder, MANIFEST), manifest)
        return Bundle.open(self.folder)


@contextlib.contextmanager
def write_bundle(path: str, replace: bool = False) -> Iterator[BundleWriter]:
    """Write a bundle that appears under `path` when the block ends, or not at all if the block fails.

    Raises:
        UsageError: `path` exists (unless `replace`, and then it must be a bundle) or cannot be written.
    """
    if replace and os.path.lexists(path) and not os.path.isfile(os.path.join(path, MANIFEST)):
        raise UsageError(path, "exists and is no bundle", "choose another name")
    with whole_folder(path, replace) as folder:
        yield BundleWriter(folder)


@contextlib.contextmanager
def amend_bundle(bundle: Bundle) -> Iterator[BundleWriter]:
    """Add to a bundle, or change its manifest: the amended one takes its place when the block ends, or nothing changes.
    What a device built is kept.

    Raises:
        BundleError: the bundle is no longer the one that was opened.
        UsageError: it cannot be written.
    """
    if Bundle.open(bundle.path).manifest != bundle.manifest:
        raise BundleError(bundle.path, "changed since it was opened", "start again, nothing was written")
    bundle.verify()
    with whole_folder(bundle.path, replace=True) as folder:
        os.rmdir(folder)
        try:
            shutil.copytree(bundle.path, folder)
        except OSError as error:
            # shutil's own error lists every file.
            said = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror
            raise UsageError(bundle.path, "cannot be copied ({})".format(said), "make room beside it") from None
        writer = BundleWriter(folder)
        writer.files = dict(bundle.manifest["files"])
        yield writer


def _load_manifest(path: str) -> Dict[str, Any]:
    file = os.path.join(path, MANIFEST)
    if not os.path.isdir(path):
        raise BundleError(path, "no such bundle", "give the folder that tlee-export wrote (NAME.tlee)")
    if not os.path.isfile(file):
        raise BundleError(path, "not a bundle, {} is missing".format(MANIFEST), EXPORT_AGAIN)
    try:
        with open(file, encoding="utf-8") as stream:
            manifest = json.load(stream)
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(file, "not readable as JSON ({})".format(error), EXPORT_AGAIN) from None
    if not isinstance(manifest, dict) or "format" not in manifest:
        raise BundleError(file, "not the manifest of a bundle", EXPORT_AGAIN)
    if manifest["format"] != FORMAT:
        remedy = "use the release of tlee that wrote it, or export again with this one"
        raise BundleError(file, "format {}, this release reads {}".format(manifest["format"], FORMAT), remedy)
    return manifest


def _check_manifest(file: str, manifest: Dict[str, Any]) -> None:
    try:
        import fastjsonschema
    except ImportError:
        remedy = "pip install '.[cpu]' in tlee's folder (on a Jetson '.[jetson]')"
        raise UsageError(file, "fastjsonschema, which checks it, is not installed", remedy) from None
    try:
        _validator()(manifest)
    except fastjsonschema.JsonSchemaException as error:
        raise BundleError(file, "not a valid manifest: {}".format(error), EXPORT_AGAIN) from None
    problem = _contradiction(manifest)
    if problem:
        raise BundleError(file, "contradicts itself: {}".format(problem), EXPORT_AGAIN)


@functools.lru_cache(maxsize=None)
def _validator() -> Callable[[Dict[str, Any]], Any]:
    """The schema as a function; making it takes longer than all else that opening a bundle does."""
    import fastjsonschema

    with open(os.path.join(os.path.dirname(__file__), "manifest.schema.json"), encoding="utf-8") as stream:
        return fastjsonschema.compile(json.load(stream))


def _contradiction(manifest: Dict[str, Any]) -> Optional[str]:
    """What a schema cannot say."""
    model, frames, segments = manifest["model"], manifest["frames"], manifest["segments"]
    exits = model["branches"] + 1
    if len(model["labels"]) != model["classes"]:
        return "{} labels for {} classes".format(len(model["labels"]), model["classes"])
    if sorted(frames["order"]) != list(range(frames["count"])):
        return "the frame order is no permutation of {} frames".format(frames["count"])
    if frames["crop"] > frames["resize"]:
        return "the crop is larger than the resized frame"
    needed = ["split{}".format(b) for b in range(exits)] + ["branch{}".format(b) for b in range(exits - 1)]
    needed += [name for name in ("frm", "gate") if model[name] not in NO_SEGMENT]
    missing = [name for name in needed if name not in segments]
    if missing:
        return "segment {} is missing".format(missing[0])
    given = [value["name"] for value in segments["head"]["inputs"]]
    if (model["heads"] == "per_frame") != ("position" in given):
        return "heads are {}, but the head's inputs are {}".format(model["heads"], ", ".join(given))
    rule = manifest["exit_rule"]
    for point in [rule] + list(rule["operating_points"].values()):
        if any(len(values) != exits for values in point["thresholds"].values()):
            return "thresholds for another number of exits than {}".format(exits)
    if manifest["exits"] != exit_costs(model["branches"], segments):
        return "the costs of the exits are not those of the segments"
    for name, segment in segments.items():
        handed = zip(*([value["name"] for value in segment[side][1:]] for side in ("inputs", "outputs")))
        if name.startswith("split") and segment.get("state", {}) != dict(handed):
            return "the state of {} is not what follows its first input and output".format(name)
        if "state" in segment and frames["order"] != sorted(frames["order"]):
            return "a state is handed from frame to frame, but the frames are not in chronological order"
    units, composed = manifest["units"], unit_segments(model["branches"], segments)
    if {name: unit["segments"] for name, unit in units.items()} != composed:
        return "the units are not those of the segments, one for each exit"
    return _wrong_forms(manifest)


def _wrong_forms(manifest: Dict[str, Any]) -> Optional[str]:
    graphs = dict(manifest["segments"], **manifest["units"])
    files = [graph["file"] for graph in graphs.values()]
    for precision, variant in manifest["variants"].items():
        strange = sorted((set(variant["forms"]) - set(graphs)) | (set(variant["kept"]) - set(manifest["segments"])))
        if strange:
            return "there is a form of {}, but no such segment or unit".format(strange[0])
        delicate = sorted(set(variant["forms"]) & set(DELICATE))
        if delicate:
            return "there is a form of {}, which has to stay in float32".format(delicate[0])
        if precision == "int8" and any("cache" not in form for form in variant["forms"].values()):
            return "a form in int8 has no cache"
        files += [form[key] for form in variant["forms"].values() for key in ("file", "cache") if key in form]
    unlisted = [name for name in files if name not in manifest["files"]]
    return "{} is not among the files".format(unlisted[0]) if unlisted else None


def _check_files(path: str, manifest: Dict[str, Any]) -> None:
    inside = os.path.realpath(path) + os.sep
    for name, entry in manifest["files"].items():
        file = os.path.join(path, name)
        plain = not os.path.isabs(name) and os.path.normpath(name) == name and not name.startswith("..")
        if not plain or not os.path.realpath(file).startswith(inside):
            raise BundleError(path, "the path {!r} leaves the bundle".format(name), EXPORT_AGAIN)
        if not os.path.isfile(file):
            raise BundleError(file, "missing", EXPORT_AGAIN)
        if os.path.getsize(file) != entry["size"]:
            problem = "{} bytes, the manifest says {}".format(os.path.getsize(file), entry["size"])
            raise BundleError(file, problem, EXPORT_AGAIN)
    for extra in sorted(_walk_files(path) - set(manifest["files"]) - {MANIFEST}):
        raise BundleError(os.path.join(path, extra), "not listed in the manifest", "remove it from the bundle")


def _walk_files(path: str) -> Set[str]:
    found: Set[str] = set()
    for folder, folders, files in os.walk(path):
        relative = os.path.relpath(folder, path)
        if relative == ".":
            folders[:] = [f for f in folders if f not in DEVICE_FOLDERS]
        found.update(os.path.normpath(os.path.join(relative, name)) for name in files)
    return found


def _segment(name: str, entry: Dict[str, Any]) -> Segment:
    inputs, outputs = ([v["name"] for v in entry[side]] for side in ("inputs", "outputs"))
    counts = (entry["macs"], entry["parameters"], entry["elements"], entry["layers"])
    segments = entry.get("segments", [name])
    return Segment(name, entry["file"], inputs, outputs, *counts, entry.get("state", {}), entry["nodes"], segments)
