"""Which engines a bundle needs: one per graph, in a precision, from one of the bundle's variants."""

import json
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from tlee.bundle import FUSED, Bundle
from tlee.engines.interface import Settings
from tlee.errors import UsageError
from tlee.files import sha256
from tlee.manifest import FP32_ONLY

PRECISIONS = ("fp32", "fp16", "int8")
FALLBACK = {"int8": "fp16", "fp16": "fp32"}
QDQ, CACHES = "qdq", "caches"
RECIPE = 2  # raised when engines are built otherwise than before, so that older ones are built again


class Machine(NamedTuple):
    """What engines are built for, as a worker found it."""

    tensorrt: str  # product and release, such as "TensorRT 8.2.1"
    gpu: Optional[str]  # name; None where there is no GPU (TensorRT-RTX builds without one)
    capability: Optional[str]  # compute capability, such as "5.3"
    fast: Dict[str, bool]  # whether the GPU is faster in fp16 and int8 than in fp32
    dla_cores: int  # deep learning accelerators
    typed: bool  # as the next two see `tlee.engines.interface.TensorRT`
    calibrates: bool
    portable: bool
    integrated: bool  # the GPU shares the CPU's memory, as on every Jetson
    free: int  # bytes of the GPU's own memory
    notes: List[str]  # what the user should know about this machine

    @property
    def key(self) -> str:
        return machine_key(self.tensorrt, self.portable, self.gpu, self.capability)


def machine_key(tensorrt: str, portable: bool, gpu: Optional[str], capability: Optional[str]) -> str:
    """A folder's name, of the same fields of `Machine`: engines run where it is the same."""
    text = tensorrt if portable else f"{tensorrt} {gpu} {capability}"
    return "".join(c if c.isalnum() or c == "." else "-" for c in text.lower())


class BuildOptions(NamedTuple):
    """What the user wants built."""

    precision: str = "fp16"  # of PRECISIONS, for all graphs that are not named in `overrides`
    overrides: Mapping[str, str] = {}  # precisions by graph
    exit_graphs: str = FUSED  # or SEPARATE, see `tlee.bundle.Bundle.chain`
    int8_from: str = QDQ  # graphs, or calibration CACHES on releases that take them
    allow_fallback: bool = False  # to the next higher precision where the GPU is not faster in the one asked for
    dla: Optional[int] = None  # core of the deep learning accelerator to build for
    batch: int = 1  # the most videos at once


class EngineSpec(NamedTuple):
    """One engine to be built."""

    graph: str  # a segment or fused exit of the bundle
    precision: str  # the lowest that its layers compute in
    source: str  # ONNX file of the bundle
    cache: Optional[str]  # file of the bundle, for implicit INT8
    settings: Settings  # without workspace, caches' contents and timing
    nodes: int  # of the ONNX; the time of a build is about in proportion
    identity: Dict[str, Any]  # everything that the engine depends on, for its name and its record

    @property
    def file(self) -> str:
        digest = sha256(json.dumps(self.identity, sort_keys=True).encode("utf-8"))
        return f"{self.graph}.{self.precision}.{digest[:12]}.engine"


def plan(bundle: Bundle, machine: Machine, options: BuildOptions) -> List[EngineSpec]:
    """The engines to build, in the order of the chain.

    Raises:
        UsageError: the GPU is not faster in a precision asked for, the bundle lacks a variant, a name is not of the
            bundle's graphs, there is no such DLA core, or it would have to serve several videos at once.
    """
    names = bundle.chain(options.exit_graphs)
    for name, precision in options.overrides.items():
        if name not in names:
            problem = f"no graph '{name}' with {options.exit_graphs} exits"
            raise UsageError(bundle.path, problem, "choose of: " + ", ".join(names))
        if name in FP32_ONLY and precision != "fp32":
            problem = "always computes in float32: what it gives is compared with thresholds"
            raise UsageError(name, problem, "leave it out of --segment")
    if options.dla is not None:
        if not 0 <= options.dla < machine.dla_cores:
            problem = f"no DLA core {options.dla}: {machine.gpu or 'this machine'} has {machine.dla_cores}"
            raise UsageError("--dla", problem, "leave --dla out")
        if options.batch > 1:
            problem = f"a DLA takes no engines for up to {options.batch} videos at once: it needs fixed shapes"
            raise UsageError("--dla", problem, "leave --batch or --dla out")
    return [_spec(bundle, machine, options, name) for name in names]


def _spec(bundle: Bundle, machine: Machine, options: BuildOptions, name: str) -> EngineSpec:
    precision, flags = _precision(bundle, machine, options, name), not machine.typed
    int8 = precision == "int8"
    implicit = int8 and options.int8_from == CACHES
    if implicit and not machine.calibrates:
        remedy = "leave --int8-from out: it takes the Q/DQ graphs"
        raise UsageError(machine.tensorrt, "takes no calibration caches", remedy)
    if int8 and not implicit and options.dla is not None and machine.calibrates:
        # As far as known TensorRT 8 to 10 run no Q/DQ pairs on a DLA: by GPU fallback all would silently be the GPU's.
        problem = f"a DLA does not take Q/DQ graphs: nothing of {name} would run on it"
        raise UsageError("--dla", problem, "add --int8-from caches")
    explicit = int8 and not implicit or precision == "fp16" and machine.typed
    source = bundle.file_of(name, precision if explicit else "fp32")
    cache = (bundle.variant(name, "int8") or {})["cache"] if implicit else None
    segment = bundle.graph(name)
    lower = flags and precision != "fp32"
    settings = Settings(
        workspace=0,
        fp16=flags and (precision == "fp16" or int8 and machine.fast["fp16"]),
        int8=flags and int8,
        fp32_layers=[part + "/" for part in segment.segments if part in FP32_ONLY] if lower else [],
        dla=options.dla if precision != "fp32" else None,  # a DLA computes in nothing else
        batch=options.batch,
    )
    files = bundle.manifest["files"]
    identity = {
        "tensorrt": machine.tensorrt,
        "gpu": None if machine.portable else machine.gpu,
        "capability": None if machine.portable else machine.capability,
        "graph": name,
        "precision": precision,
        "source": files[source]["sha256"],
        "cache": files[cache]["sha256"] if cache else None,
        "fp32_layers": settings.fp32_layers,
        "dla": settings.dla,
        "batch": settings.batch,
        "recipe": RECIPE,
    }
    return EngineSpec(name, precision, source, cache, settings, segment.nodes, identity)


def _precision(bundle: Bundle, machine: Machine, options: BuildOptions, name: str) -> str:
    """What a graph will compute in: what was asked for, as far as the machine and the bundle's variants have it."""
    if name in FP32_ONLY:
        return "fp32"
    precision = _possible(options.overrides.get(name, options.precision), machine, options.allow_fallback)
    if precision == "int8" and bundle.variant(name, "int8") is None:  # no weights, or calibration keeps it in more
        precision = _possible("fp16", machine, True)
        if machine.typed and "fp16" not in bundle.manifest["variants"]:
            precision = "fp32"
    if precision == "fp16" and machine.typed and bundle.variant(name, "fp16") is None:
        precision = "fp32"
    return precision


def _possible(precision: str, machine: Machine, allow_fallback: bool) -> str:
    """The precision, or where the GPU is not faster in it and the user agreed, the next one that it is."""
    while not machine.fast.get(precision, True):
        lower = FALLBACK[precision]
        if not allow_fallback:
            problem = (
                f"its GPU (compute capability {machine.capability}) has no fast {precision.upper()}: engines would be "
                f"slower than in {lower}, not faster"
            )
            remedy = f"build with --precision {lower}, or let that happen with --allow-fallback"
            raise UsageError(machine.gpu or machine.tensorrt, problem, remedy)
        precision = lower
    return precision
