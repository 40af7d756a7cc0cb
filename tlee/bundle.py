"""The bundle, `NAME.tlee/`: a manifest and the graphs it describes. The contract between workstation and device.

A reader refuses what it does not understand: an unknown format, a missing, altered or unlisted file, a path that leaves
the bundle. Nothing in a bundle is unpickled or run. `tlee.export.bundle_writer` writes bundles.
"""

import contextlib
import copy
import mmap
import os
import stat
import time
from typing import IO, Any, BinaryIO, Dict, Iterator, List, NamedTuple, Optional, Tuple

from tlee.errors import BundleError, UsageError, system_errors
from tlee.files import sha256, sha256_of_stream
from tlee.frames import SAMPLINGS, FrameSpec, takes_any_order
from tlee.graphs import GraphError, check_graph
from tlee.locks import PATIENCE, OpenFolder, is_temporary
from tlee.manifest import DEVICE_FOLDERS, EXPORT_AGAIN, MANIFEST, check_manifest, graph_files, load_manifest
from tlee.policy import Thresholds
from tlee.reading import MB, is_name, open_plain
from tlee.replacing import is_being_replaced, wait_for_replacement

PRECISIONS = ("fp32", "fp16", "int8")  # what a graph can be read in
HOW_TO_MAKE = {"fp16": "make it with tlee-export --variants fp16", "int8": "make it with tlee-calibrate"}
BATCH = "batch"  # what graphs call their first dimension, the number of videos; manifests describe one video
FUSED, SEPARATE = "fused", "separate"  # each exit as one graph or as its segments
ALTERED = "altered since the bundle was written"
PREPARED = ("order", "resize", "crop", "sampling", "interpolation")  # of frames, in the manifest as in `FrameSpec`
MAX_ENTRIES, MAX_DEPTH = 20000, 8  # files and folders
READ_AGAIN = 64 * MB  # up to this size a refused graph is hashed, for a better message


class Segment(NamedTuple):
    """One ONNX graph: a segment of the chain, or a fused exit composed of several."""

    name: str
    file: str  # in float32, relative to the bundle
    inputs: List[str]  # names, in order
    outputs: List[str]
    macs: int  # multiply-accumulates, for one video
    parameters: int
    elements: int  # numbers in the feature maps that its layers write, for one video
    layers: int  # that a fused engine launches
    state: Dict[str, str]  # inputs by name that the output of that name replaces in the next frame
    nodes: int  # of the ONNX graph: what building it takes goes by these
    segments: List[str]  # of a fused exit, in order; of a segment itself alone


class Bundle:
    """An opened bundle. Opening checks the manifest, the size of every file and the graphs; content is checked against
    its SHA-256 when it is read, or all at once by `verify`.

    Attributes:
        path: the folder.
        manifest: as docs/bundle.md describes it.
        name, labels: of the model, and of its K classes in order.
        exits: how many, branches and tail (B + 1).
        frames: which frames of a video the model wants.
        segments, fused_exits: the graphs, by name.

    Examples:
        >>> bundle = Bundle.open("build/digits.tlee")
        >>> bundle.frames.length, bundle.exits, bundle.labels[:3]
        (10, 4, ['0', '1', '2'])
        >>> onnx = bundle.read("split0")  # bytes, SHA-256 checked
        >>> bundle.chain()
        ['split0', 'split1', 'split2', 'split3', 'exit0', 'exit1', 'exit2', 'exit3']
    """

    def __init__(self, path: str, manifest: Dict[str, Any], folder: Optional[OpenFolder] = None) -> None:
        self.path = path
        self.manifest = manifest
        self._folder = folder  # as it was opened: a bundle that takes its place is another one
        model, frames = manifest["model"], manifest["frames"]
        self.name: str = model["name"]
        self.labels: List[str] = model["labels"]
        self.exits: int = model["branches"] + 1
        shifts = any("state" in entry for entry in manifest["segments"].values())
        any_order = takes_any_order(model["frm"], model["heads"], shifts)
        self.frames = FrameSpec(frames["count"], any_order=any_order, **{key: frames[key] for key in PREPARED})
        self.segments = {name: _segment(name, entry) for name, entry in manifest["segments"].items()}
        self.fused_exits = {name: _segment(name, entry) for name, entry in manifest["fused_exits"].items()}

    @classmethod
    def open(cls, path: str) -> "Bundle":
        """Open the bundle in a folder.

        Raises:
            BundleError: the folder is no bundle, not what its manifest says, or has graphs that no export writes.
            UsageError: an interrupted replacement would have to be finished, and it cannot be written.
        """
        path = os.fspath(path)
        if not is_name(path):
            raise BundleError(path, "not a name that a folder can have", "give the folder that tlee-export wrote")
        deadline = time.monotonic() + PATIENCE
        while True:
            wait_for_replacement(path)
            before = _state(path)
            try:
                return cls._open(path)
            except BundleError:
                replaced = before != _state(path) or is_being_replaced(os.path.realpath(path))
                if not replaced or time.monotonic() > deadline:
                    raise

    @classmethod
    def _open(cls, path: str) -> "Bundle":
        with system_errors(BundleError, path, "make it readable", "cannot be opened ({})"):
            try:
                folder = OpenFolder(path)
            except (FileNotFoundError, NotADirectoryError):
                remedy = "give the folder that tlee-export wrote (NAME.tlee)"
                raise BundleError(path, "no such bundle", remedy) from None
        manifest = load_manifest(path, folder)
        check_manifest(os.path.join(path, MANIFEST), manifest)
        sizes = _sizes(path, folder)
        for name, entry in manifest["files"].items():
            file = os.path.join(path, name)
            if name not in sizes:
                raise BundleError(file, "missing", EXPORT_AGAIN)
            if sizes[name] != entry["size"]:
                raise BundleError(file, f"{sizes[name]} bytes, the manifest says {entry['size']}", EXPORT_AGAIN)
        for extra in sorted(set(sizes) - set(manifest["files"]) - {MANIFEST}):
            if extra.split("/")[0] not in DEVICE_FOLDERS:
                raise BundleError(os.path.join(path, extra), "not listed in the manifest", "remove it from the bundle")
        bundle = cls(path, manifest, folder)
        for name in graph_files(manifest):
            bundle._check_stored_graph(name)
        return bundle

    def sampled(self, sampling: Optional[str]) -> "Bundle":
        """The same bundle, of which `frames` say another sampling, of `tlee.frames.SAMPLINGS`; None for its own. Raises
        UsageError if there is none of this name."""
        if sampling is None:
            return self
        if sampling not in SAMPLINGS:
            raise UsageError("sampling", f"'{sampling}' is not known", "choose of: " + ", ".join(SAMPLINGS))
        other = copy.copy(self)
        other.frames = self.frames._replace(sampling=sampling)
        return other

    def release(self) -> None:
        """Close the folder, so that it can be removed once another has replaced it."""
        if self._folder is not None:
            self._folder.close()

    def graph(self, name: str) -> Segment:
        """A segment or fused exit by its name."""
        return self.fused_exits[name] if name in self.fused_exits else self.segments[name]

    def chain(self, exit_graphs: str = FUSED) -> List[str]:
        """Names of the graphs that make up the chain, splits first: FUSED with one graph per exit, SEPARATE with every
        segment for itself."""
        splits = [f"split{b}" for b in range(self.exits)]
        others = self.fused_exits if exit_graphs == FUSED else self.segments
        return splits + sorted(name for name in others if name not in splits)

    def read(self, name: str, precision: str = "fp32") -> bytes:
        """The ONNX model of a segment or fused exit.

        Args:
            precision: of `PRECISIONS`; where it has no such variant, in float32.

        Raises:
            BundleError: the content is not the one that was exported.
            UsageError: the bundle has no variant in this precision.
        """
        return self.read_file(self.file_of(name, precision))

    def file_of(self, name: str, precision: str = "fp32") -> str:
        """The file that `read` reads, relative to the bundle. Raises UsageError as that does."""
        entry = self.variant(name, precision)
        return self.graph(name).file if entry is None else entry["file"]

    def variant(self, name: str, precision: str) -> Optional[Dict[str, Any]]:
        """A graph's entry of a precision in the manifest: its `file` and, in INT8, its `cache` and its `deviation` from
        float32. None where the float32 graph is to be used: there is no other, or it is excluded.

        Raises UsageError as `read` does."""
        if precision == "fp32":
            return None
        if precision not in self.manifest["variants"]:
            remedy = HOW_TO_MAKE.get(precision, f"choose of: {', '.join(PRECISIONS)}")
            raise UsageError(self.path, f"has no {precision} variant", remedy)
        variant = self.manifest["variants"][precision]
        return None if name in variant["excluded"] else variant["graphs"].get(name)

    def read_file(self, name: str) -> bytes:
        """The content of a file that the manifest lists; a graph is checked as when the bundle was opened. Raises
        BundleError as `read` does."""
        with self._opened(name) as stream:
            content = stream.read()
        self._check(name, sha256(content))
        if name in graph_files(self.manifest):
            self._check_graph(name, content)
        return content

    @contextlib.contextmanager
    def open_file(self, name: str) -> Iterator[IO[bytes]]:
        """As `read_file`, for a file that need not be in memory at once."""
        with self._opened(name) as stream:
            self._check(name, sha256_of_stream(stream))
            stream.seek(0)
            yield stream

    def _opened(self, name: str) -> BinaryIO:
        path = os.path.join(self.path, name)
        if name not in self.manifest["files"]:
            raise BundleError(path, "not in the bundle", EXPORT_AGAIN)
        held = self._folder.descriptor if self._folder else None
        stream = open_plain(path if held is None else name, BundleError, EXPORT_AGAIN, held, follow=False, subject=path)
        size = os.fstat(stream.fileno()).st_size
        if size != self.manifest["files"][name]["size"]:
            stream.close()
            raise BundleError(path, ALTERED, EXPORT_AGAIN)
        return stream

    def _check_stored_graph(self, name: str) -> None:
        """Check a graph without reading its weights."""
        try:
            with self._opened(name) as stream:
                if self.manifest["files"][name]["size"] == 0:  # which cannot be mapped
                    raise BundleError(os.path.join(self.path, name), "the file is empty", EXPORT_AGAIN)
                with contextlib.closing(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)) as content:
                    self._check_graph(name, content)
        except BundleError:
            if self.manifest["files"][name]["size"] > READ_AGAIN:
                raise
            with self.open_file(name):  # raises if its content was altered
                raise

    def _check_graph(self, name: str, content: Any) -> None:
        try:
            check_graph(content, self.frames.length)
        except GraphError as error:
            problem = f"not a graph that tlee-export writes ({error})"
            raise BundleError(os.path.join(self.path, name), problem, EXPORT_AGAIN) from None

    def _check(self, name: str, digest: str) -> None:
        if digest != self.manifest["files"][name]["sha256"]:
            raise BundleError(os.path.join(self.path, name), ALTERED, EXPORT_AGAIN)

    def verify(self) -> None:
        """Check the content of every file. Raises BundleError as `read` does."""
        for name in self.manifest["files"]:
            with self.open_file(name):
                pass

    def thresholds(self, point: Optional[str] = None) -> Thresholds:
        """The exit rule's thresholds, or those of a named operating point. Raises UsageError if there is none."""
        rule = self.manifest["exit_rule"]
        points = rule["operating_points"]
        if point is not None and point not in points:
            known = ", ".join(sorted(points)) or "none"
            raise UsageError(self.path, f"no operating point '{point}'", f"choose of: {known}")
        return Thresholds(**(rule if point is None else points[point])["thresholds"])


def _state(path: str) -> Optional[Tuple[int, int, int]]:
    """Changes when the bundle is replaced."""
    with contextlib.suppress(OSError):
        status = os.stat(os.path.join(path, MANIFEST))
        return status.st_dev, status.st_ino, status.st_mtime_ns
    return None


def _sizes(path: str, folder: OpenFolder) -> Dict[str, int]:
    """Sizes of all files in the folder. Links are refused: they may lead anywhere, and be copied with the bundle."""
    sizes: Dict[str, int] = {}
    entries = 0
    for at, folders, names, descriptor in os.fwalk(".", dir_fd=folder.descriptor):
        if at == ".":  # without what is there only while the bundle is amended
            folders[:], names = ([name for name in found if not is_temporary(name)] for found in (folders, names))
        for name in folders + names:
            relative = os.path.normpath(os.path.join(at, name))
            try:
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            except FileNotFoundError:  # removed by a build at work
                continue
            if stat.S_ISREG(status.st_mode):
                sizes[relative] = status.st_size
            elif not stat.S_ISDIR(status.st_mode):
                kind = "a link" if stat.S_ISLNK(status.st_mode) else "not a plain file"
                raise BundleError(os.path.join(path, relative), kind, "put the file itself there, or remove it")
        entries += len(folders) + len(names)
        if entries > MAX_ENTRIES or at.count(os.sep) > MAX_DEPTH:
            raise BundleError(path, "more files or folders than any bundle has", EXPORT_AGAIN)
    return sizes


def _segment(name: str, entry: Dict[str, Any]) -> Segment:
    fields = dict({"state": {}, "segments": [name]}, **entry)
    for side in ("inputs", "outputs"):
        fields[side] = [value["name"] for value in entry[side]]
    return Segment(name=name, **fields)
