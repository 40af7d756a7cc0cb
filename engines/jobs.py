"""Which engines a bundle needs: one per graph, in a precision, from one of the bundle's variants."""

import json
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from tlee.bundle import FUSED, Bundle
from tlee.errors import UsageError
from tlee.files import sha256
from tlee.manifest import FP32_ONLY

PRECISIONS = ("fp32", "fp16", "int8")
FALLBACK = {"int8": "fp16", "fp16": "fp32"}
QDQ, CACHES = "qdq", "caches"
RECIPE = 2  # raised when engines are built otherwise than before, so that older ones are built again


class Machine(NamedTuple):
    """What engines are built for, as a worker found it.

    Attributes:
        tensorrt: product and release, such as "TensorRT 8.2.1".
        gpu: name; None where there is no GPU (TensorRT-RTX builds without one).
        capability: compute capability, such as "5.3".
        fast: whether the GPU is faster in fp16 and int8 than in fp32.
        dla_cores: deep learning accelerators that it has.
        typed, calibrates, portable: see `tlee.engines.releases.TensorRT`.
        integrated: the GPU shares the CPU's memory, as on every Jetson.
        free: bytes of the GPU's own memory.
        notes: what the user should know of this machine.
    """

    tensorrt: str
    gpu: Optional[str]
    capability: Optional[str]
    fast: Dict[str, bool]
    dla_cores: int
    typed: bool
    calibrates: bool
    portable: bool
    integrated: bool
    free: int
    notes: List[str]

    @property
    def key(self) -> str:
        """A folder's name: engines run where it is the same."""
        return machine_key(self.tensorrt, self.portable, self.gpu, self.capability)


def machine_key(tensorrt: str, portable: bool, gpu: Optional[str], capability: Optional[str]) -> str:
    """See `Machine`."""
    text = tensorrt if portable else f"{tensorrt} {gpu} {capability}"
    return "".join(c if c.isalnum() or c == "." else "-" for c in text.lower())


class Request(NamedTuple):
    """What the user wants built.

    Attributes:
        precision: of all graphs that are not named in `overrides`: fp32, fp16 or int8.
        overrides: precisions by graph.
        exit_graphs: FUSED or SEPARATE, see `tlee.bundle.Bundle.chain`.
        int8_from: QDQ graphs, or calibration CACHES on releases that take them.
        allow_fallback: the next higher precision where the GPU is not faster in the one asked for.
        dla: core of the deep learning accelerator to build for.
        batch: the most videos at once.
    """

    precision: str = "fp16"
    overrides: Mapping[str, str] = {}
    exit_graphs: str = FUSED
    int8_from: str = QDQ
    allow_fallback: bool = False
    dla: Optional[int] = None
    batch: int = 1


class Job(NamedTuple):
    """One engine to be built.

    Attributes:
        graph: a segment or fused exit of the bundle.
        precision: the lowest that its layers compute in.
        source, cache: files of the bundle, the ONNX and for implicit INT8 the calibration cache.
        fp16, int8, fp32_layers, dla, batch: see `tlee.engines.releases.Settings`.
        nodes: of the ONNX; a build takes time about in proportion.
        identity: all that the engine depends on, for its name and its record.
    """

    graph: str
    precision: str
    source: str
    cache: Optional[str]
    fp16: bool
    int8: bool
    fp32_layers: Tuple[str, ...]
    dla: Optional[int]
    batch: int
    nodes: int
    identity: Dict[str, Any]

    @property
    def file(self) -> str:
        """The engine's file name."""
        digest = sha256(json.dumps(self.identity, sort_keys=True).encode("utf-8"))
        return f"{self.graph}.{self.precision}.{digest[:12]}.engine"


def plan(bundle: Bundle, machine: Machine, request: Request) -> List[Job]:
    """The engines to build, in the order of the chain.

    Raises:
        UsageError: the GPU is not faster in a precision asked for, the bundle lacks a variant, a name is not of the
            bundle's graphs, there is no such DLA core, or it would have to serve several videos at once.
    """
    names = bundle.chain(request.exit_graphs)
    for name, precision in request.overrides.items():
        if name not in names:
            remedy = "choose of: {}".format(", ".join(names))
            raise UsageError(bundle.path, f"no graph '{name}' with {request.exit_graphs} exits", remedy)
        if name in FP32_ONLY and precision != "fp32":
            problem = "always computes in float32: what it gives is compared with thresholds"
            raise UsageError(name, problem, "leave it out of --segment")
    if request.dla is not None and not 0 <= request.dla < machine.dla_cores:
        problem = "no DLA core {}: {} has {}".format(request.dla, machine.gpu or "this machine", machine.dla_cores)
        raise UsageError("--dla", problem, "leave --dla out")
    if request.dla is not None and request.batch > 1:
        problem = f"a DLA takes no engines for up to {request.batch} videos at once: it needs fixed shapes"
        raise UsageError("--dla", problem, "leave --batch or --dla out")
    return [_job(bundle, machine, request, name) for name in names]


def _job(bundle: Bundle, machine: Machine, request: Request, name: str) -> Job:
    precision = _precision(bundle, machine, request, name)
    implicit = precision == "int8" and request.int8_from == CACHES
    if implicit and not machine.calibrates:
        remedy = "leave --int8-from out: it takes the Q/DQ graphs"
        raise UsageError(machine.tensorrt, "takes no calibration caches", remedy)
    if precision == "int8" and not implicit and request.dla is not None and machine.calibrates:
        # As far as known TensorRT 8 to 10 run no Q/DQ pairs on a DLA: by GPU fallback all would silently be the GPU's.
        problem = f"a DLA does not take Q/DQ graphs: nothing of {name} would run on it"
        raise UsageError("--dla", problem, "add --int8-from caches")
    explicit = precision == "int8" and not implicit or precision == "fp16" and machine.typed
    source = bundle.file_of(name, precision if explicit else "fp32")
    cache = (bundle.variant(name, "int8") or {})["cache"] if implicit else None
    fp16 = not machine.typed and (precision == "fp16" or precision == "int8" and machine.fast["fp16"])
    int8 = not machine.typed and precision == "int8"
    segment = bundle.graph(name)
    delicate = [part + "/" for part in segment.segments if part in FP32_ONLY] if fp16 or int8 else []
    dla = request.dla if precision != "fp32" else None  # a DLA computes in nothing else
    identity = {
        "tensorrt": machine.tensorrt,
        "gpu": None if machine.portable else machine.gpu,
        "capability": None if machine.portable else machine.capability,
        "graph": name,
        "precision": precision,
        "source": bundle.manifest["files"][source]["sha256"],
        "cache": bundle.manifest["files"][cache]["sha256"] if cache else None,
        "fp32_layers": delicate,
        "dla": dla,
        "batch": request.batch,
        "recipe": RECIPE,
    }
    flags = (fp16, int8, tuple(delicate), dla, request.batch)
    return Job(name, precision, source, cache, *flags, nodes=segment.nodes, identity=identity)


def _precision(bundle: Bundle, machine: Machine, request: Request, name: str) -> str:
    """What a graph will compute in: what was asked for, as far as the machine and the bundle's variants have it."""
    if name in FP32_ONLY:
        return "fp32"
    precision = _possible(request.overrides.get(name, request.precision), machine, request.allow_fallback)
    if precision == "int8" and bundle.variant(name, "int8") is None:  # no weights, or the plan keeps it in more
        precision = _possible("fp16", machine, True)
        if machine.typed and "fp16" not in bundle.manifest["variants"]:
            precision = "fp32"
    if precision == "fp16" and machine.typed and bundle.variant(name, "fp16") is None:
        precision = "fp32"
    return precision


def _possible(precision: str, machine: Machine, allow_fallback: bool) -> str:
    """The precision, or where the GPU is not faster in it and the user agreed, the next one that it is.

    Raises:
        UsageError: it is not, and the user did not agree.
    """
    while not machine.fast.get(precision, True):
        lower = FALLBACK[precision]
        if not allow_fallback:
            text = "its GPU (compute capability {}) has no fast {}: engines would be slower than in {}, not faster"
            problem = text.format(machine.capability, precision.upper(), lower)
            remedy = f"build with --precision {lower}, or let that happen with --allow-fallback"
            raise UsageError(machine.gpu or machine.tensorrt, problem, remedy)
        precision = lower
    return precision
