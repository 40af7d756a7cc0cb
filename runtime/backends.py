"""Which backends there are, and which one a machine and a bundle are made for."""

import argparse
import contextlib
import os
from typing import Any, Iterator, List, NamedTuple, Optional

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
    """How to run a bundle.

    Attributes:
        backend: of `BACKENDS`.
        exit_graphs: FUSED or SEPARATE; engines are what they were built as.
        precision: of the forms that ONNX Runtime runs; engines are in what they were built in.
        engine_dir: where tlee-build put the engines; None for the bundle itself.
        threads, shared_pool: see `tlee.runtime.onnx_backend.OnnxBackend`.
        rows: videos at once, at most.
    """

    backend: str = AUTO
    exit_graphs: str = FUSED
    precision: str = "fp32"
    engine_dir: Optional[str] = None
    threads: Optional[int] = None
    shared_pool: bool = False
    rows: int = 1


class BackendHandle(NamedTuple):
    """A backend, the fused exits that it has, and what the user should know of how it was chosen."""

    backend: Backend
    exit_graphs: str
    notes: List[str]

    @contextlib.contextmanager
    def closed_on_failure(self) -> Iterator[None]:
        """For a block that makes something of the backend: closes it if the block fails."""
        try:
            yield
        except BaseException:
            self.backend.close()
            raise


class BackendOwner:
    """What recognisers share: they compute on a backend, and are closed, best by `with`.

    Attributes:
        notes: what the user should know of how the backend was chosen.
    """

    _backend: Backend
    notes: List[str] = []

    @property
    def backend(self) -> str:
        """What computes, for people."""
        return self._backend.name

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give memory and threads back. Happens by itself when this is collected, or Python ends."""
        raise NotImplementedError  # abstract


def add_backend_options(parser: argparse.ArgumentParser) -> None:
    """The options of a command that are a `BackendConfig`."""
    parser.add_argument("--backend", choices=BACKENDS, default=AUTO, help="what computes (%(default)s)")
    parser.add_argument("--engine-dir", metavar="FOLDER", help="where tlee-build put the engines (the bundle)")
    parser.add_argument(
        "--exit-graphs", choices=(FUSED, SEPARATE), default=FUSED, help="exits as one graph or several (%(default)s)"
    )
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="forms of the segments (fp32)")
    parser.add_argument("--threads", type=cli.positive, metavar="N", help="CPU threads (all cores)")


def open_backend(bundle: Bundle, choice: BackendConfig) -> BackendHandle:
    """The backend that was chosen; with AUTO the first that works of engines for this device, CUDA, and the CPU.

    Raises:
        UsageError, EngineError, BundleError: it does not work here.
    """
    if choice.backend not in BACKENDS:
        problem = f"'{choice.backend}' is not known"
        raise UsageError("backend", problem, "use one of: " + ", ".join(BACKENDS))
    if choice.backend == TENSORRT:
        return _tensorrt(bundle, choice)
    if choice.backend != AUTO:
        return _onnx(bundle, choice, choice.backend, [])
    notes: List[str] = []
    if os.path.isdir(choice.engine_dir or os.path.join(bundle.path, ENGINES)):
        try:
            return _tensorrt(bundle, choice)
        except TleeError as error:
            notes.append(f"not on TensorRT: {error}")
    if has_provider("cuda"):
        try:
            return _onnx(bundle, choice, "cuda", notes)
        except UsageError as error:  # its libraries may be missing
            notes.append(f"not on CUDA: {error}")
    return _onnx(bundle, choice, "cpu", notes)


def _onnx(bundle: Bundle, choice: BackendConfig, provider: str, notes: List[str]) -> BackendHandle:
    backend = OnnxBackend(
        bundle,
        choice.threads,
        choice.shared_pool,
        choice.precision,
        bundle.chain(choice.exit_graphs),
        choice.rows,
        provider,
    )
    return BackendHandle(backend, choice.exit_graphs, notes)


def _tensorrt(bundle: Bundle, choice: BackendConfig) -> BackendHandle:
    from tlee.runtime.tensorrt_backend import TensorRTBackend  # NVIDIA's libraries take a second to load

    if choice.precision != "fp32":
        problem = "engines compute in the precision that they were built in"
        raise UsageError(f"--precision {choice.precision}", problem, "give it to tlee-build instead")
    backend = TensorRTBackend(bundle, choice.engine_dir or os.path.join(bundle.path, ENGINES), choice.rows)
    return BackendHandle(backend, backend.exit_graphs, [])
