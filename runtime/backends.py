"""Which backends there are, and which of them a machine and a bundle can use."""

import argparse
import os
from typing import List, NamedTuple, Optional

from tlee import cli
from tlee.bundle import FUSED, PRECISIONS, SEPARATE, Bundle
from tlee.errors import TleeError, UsageError
from tlee.runtime.backend import Backend
from tlee.runtime.onnx_backend import OnnxBackend
from tlee.runtime.onnx_session import PROVIDERS, has_provider

AUTO, TENSORRT = "auto", "tensorrt"
BACKENDS = (AUTO, TENSORRT) + tuple(PROVIDERS)  # auto tries CUDA before the CPU
ENGINES = "engines"  # folder in a bundle


class BackendConfig(NamedTuple):
    """How to run a bundle."""

    backend: str = AUTO  # of `BACKENDS`
    exit_graphs: str = FUSED  # or SEPARATE; engines are what they were built as
    precision: str = "fp32"  # of the variants that ONNX Runtime runs; engines have the one they were built in
    engine_dir: Optional[str] = None  # where tlee-build put the engines; None for the bundle itself
    threads: Optional[int] = None  # see `tlee.runtime.onnx_backend.OnnxBackend`, as for the next one
    shared_pool: bool = False
    rows: int = 1  # videos at once, at most

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> "BackendConfig":
        """From a command's `add_backend_options`."""
        # No shared pool: it would spin on between runs, while videos are decoded on the same cores.
        return cls(options.backend, options.exit_graphs, options.precision, options.engine_dir, options.threads)


class BackendHandle(NamedTuple):
    """A backend, the kind of exit graphs that it has, and what the user should know about how it was chosen."""

    backend: Backend
    exit_graphs: str
    notes: List[str]


def add_backend_options(parser: argparse.ArgumentParser) -> None:
    """The options of a command that make a `BackendConfig`."""
    parser.add_argument("--backend", choices=BACKENDS, default=AUTO, help="what computes (%(default)s)")
    parser.add_argument("--engine-dir", metavar="FOLDER", help="where tlee-build put the engines (the bundle)")
    parser.add_argument(
        "--exit-graphs", choices=(FUSED, SEPARATE), default=FUSED, help="exits as one graph or several (%(default)s)"
    )
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="forms of the segments (fp32)")
    parser.add_argument("--threads", type=cli.positive, metavar="N", help="CPU threads (all cores)")


def open_backend(bundle: Bundle, config: BackendConfig) -> BackendHandle:
    """The configured backend; with AUTO the first that works of engines for this device, CUDA, and the CPU. Raises
    UsageError, EngineError or BundleError where it does not work here."""
    if config.backend not in BACKENDS:
        problem = f"'{config.backend}' is not known"
        raise UsageError("backend", problem, "use one of: " + ", ".join(BACKENDS))
    if config.backend == TENSORRT:
        return _tensorrt(bundle, config)
    if config.backend != AUTO:
        return _onnx(bundle, config, config.backend, [])
    notes: List[str] = []
    if os.path.isdir(config.engine_dir or os.path.join(bundle.path, ENGINES)):
        try:
            return _tensorrt(bundle, config)
        except TleeError as error:
            notes.append(f"not on TensorRT: {error}")
    if has_provider("cuda"):
        try:
            return _onnx(bundle, config, "cuda", notes)
        except UsageError as error:  # its libraries may be missing
            notes.append(f"not on CUDA: {error}")
    return _onnx(bundle, config, "cpu", notes)


def _onnx(bundle: Bundle, config: BackendConfig, provider: str, notes: List[str]) -> BackendHandle:
    graphs = bundle.chain(config.exit_graphs)
    backend = OnnxBackend(bundle, config.threads, config.shared_pool, config.precision, graphs, config.rows, provider)
    return BackendHandle(backend, config.exit_graphs, notes)


def _tensorrt(bundle: Bundle, config: BackendConfig) -> BackendHandle:
    from tlee.runtime.tensorrt_backend import TensorRTBackend  # NVIDIA's libraries take a second to load

    if config.precision != "fp32":
        problem = "engines compute in the precision that they were built in"
        raise UsageError(f"--precision {config.precision}", problem, "give it to tlee-build instead")
    backend = TensorRTBackend(bundle, config.engine_dir or os.path.join(bundle.path, ENGINES), config.rows)
    return BackendHandle(backend, backend.exit_graphs, [])
