"""Bundle to engines: what is missing is built, each in a process of its own, then checked and recorded."""

import contextlib
import os
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

from tlee import cli
from tlee.bundle import Bundle
from tlee.engines import process
from tlee.engines.check import tolerance
from tlee.engines.memory import MIB, RESERVE, available, workspace
from tlee.engines.planning import BuildOptions, EngineSpec, Machine, plan
from tlee.engines.store import READY, UNCHECKED, EngineStore, folder_lock, stores
from tlee.errors import BundleError, EngineError
from tlee.locks import BUSY


class Result(NamedTuple):
    """How a build of one engine ended."""

    spec: EngineSpec
    state: Optional[str]  # see `tlee.engines.store.EngineStore.state`; None if there is no engine
    new: bool  # built just now
    failed: bool  # and the reason was reported


def find_machine(target: str) -> Machine:
    """The machine that this runs on. Raises UsageError where TensorRT or a GPU is missing."""
    return Machine(**process.run("describe", "", {"target": target}))


@contextlib.contextmanager
def locked_bundle(bundle: Bundle, engine_dir: str) -> Iterator[None]:
    """Around changes of engines that lie in their bundle: nobody amends it meanwhile, by which they would be lost.
    Raises UsageError where it cannot be locked, BundleError where it was amended since it was opened."""
    if not os.path.realpath(engine_dir).startswith(os.path.realpath(bundle.path) + os.sep):
        yield
        return
    with folder_lock(bundle.path, BUSY):
        if Bundle.open(bundle.path).manifest != bundle.manifest:
            raise BundleError(bundle.path, "changed since it was opened", "start again, nothing was built")
        yield


class Builder:
    """Builds engines of one bundle for this machine.

    Args:
        engine_dir: where engines of all devices are.
        target: see `tlee.engines.releases.load`.
        size: bytes of workspace; None for what fits into the memory that is free.
        report: takes lines for the user.
    """

    def __init__(
        self, bundle: Bundle, engine_dir: str, target: str, size: Optional[int], report: Callable[[str], None]
    ) -> None:
        self._bundle, self._engine_dir, self._size, self._report = bundle, engine_dir, size, report
        self._request: Dict[str, Any] = {"target": target, "bundle": bundle.path}  # to the worker
        self.machine = find_machine(target)
        self.store = EngineStore(os.path.join(engine_dir, self.machine.key))

    def build(self, options: BuildOptions) -> List[Result]:
        """Build what is missing. An engine that cannot be built is reported, and the others are still built. If none
        failed, the bundle runs on these from now on.

        Raises:
            UsageError: as `tlee.engines.planning.plan`; or the folder cannot be written, or another command writes it.
            BundleError: the bundle is damaged, or was changed meanwhile.
        """
        specs = plan(self._bundle, self.machine, options)
        for note in self.machine.notes:
            self._report(note)
        with locked_bundle(self._bundle, self._engine_dir), self.store.building() as folder:
            self._report_unfit(specs)
            missing = [spec for spec in specs if self._state(spec) not in (READY, UNCHECKED)]
            if missing and self._free() < RESERVE:
                free = f"only {self._free() // MIB} MB of memory are free, TensorRT needs about {RESERVE // MIB}"
                self._report(f"{free}: builds may be killed; see docs/troubleshooting.md")
            progress = Progress(missing)
            results = [self._build_and_check(spec, spec in missing, folder, progress) for spec in specs]
            if not any(result.failed for result in results):
                self.store.activate(self._bundle.name, [spec.file for spec in specs])
            return results

    def _build_and_check(self, spec: EngineSpec, missing: bool, folder: str, progress: "Progress") -> Result:
        built = failed = False
        try:
            if missing:
                with progress.building(spec) as on_tick:
                    self._build(spec, folder, on_tick)
                built = True
            if self._state(spec) == UNCHECKED and self.machine.gpu is not None:
                with progress.line(lambda: f"checking {spec.graph}") as on_tick:
                    self._check(spec, folder, on_tick)
        except EngineError as error:
            self._report(str(error) if error.subject == spec.graph else f"{spec.graph}: {error}")
            failed = True
        return Result(spec, self._state(spec), built, failed)

    def _build(self, spec: EngineSpec, folder: str, on_tick: Callable[[], None]) -> None:
        size, timing = self._size or workspace(self._free()), None
        try:
            timing = self.store.timing()
        except EngineError as error:
            self._report(str(error))
        request = dict(self._request, graph=spec.graph, source=spec.source, cache=spec.cache)
        request.update(settings=spec.settings._asdict(), workspace=size, timing=timing)
        built = process.run("build", folder, request, on_tick)
        entry = {"identity": spec.identity, "bundle": self._bundle.name, "workspace": size, "seconds": built["seconds"]}
        self.store.put(spec.file, folder, entry, self.machine._asdict())

    def _check(self, spec: EngineSpec, folder: str, on_tick: Callable[[], None]) -> None:
        request = dict(
            self._request, graph=spec.graph, engine=self.store.recorded(spec.file), batch=spec.settings.batch
        )
        found = process.run("check", folder, request, on_tick)
        allowed, by_output = tolerance(self._bundle, spec.graph, spec.precision), found["differences"]
        worst = max(by_output, key=by_output.get)
        passed = by_output[worst] <= allowed
        check = {"differences": by_output, "tolerance": allowed, "passed": passed}
        self.store.record_check(spec.file, check, found["layers"])
        if not passed:
            raise EngineError(
                spec.graph,
                f"its {worst} differs by {by_output[worst]:.3g} from ONNX Runtime's, {allowed:.3g} is allowed: "
                "it will not be used",
                f"build it in a higher precision: --segment {spec.graph}=fp32",
            )

    def _state(self, spec: EngineSpec) -> Optional[str]:
        entry = self.store.entries.get(spec.file)
        return self.store.state(spec.file) if entry and entry["identity"] == spec.identity else None

    def _free(self) -> int:
        """Bytes of memory that a build can have."""
        return available() if self.machine.integrated or self.machine.gpu is None else self.machine.free

    def _report_unfit(self, specs: List[EngineSpec]) -> None:
        """Say which engines are there and will not be used, and why."""
        if self.store.distrust:
            self._report(f"{self.store.folder}: engines {self.store.distrust}; built again")
        for other in stores(self._engine_dir):
            if os.path.basename(other.folder) != self.machine.key:
                why = other.distrust or f"of another device or TensorRT than {self.machine.key}"
                self._report(f"{other.folder}: engines {why}; not used here")
        for spec in specs:
            for file, entry in sorted(self.store.entries.items()):
                found, wanted = entry["identity"], spec.identity
                if file == spec.file:
                    state = self._state(spec)
                    if state not in (READY, UNCHECKED):
                        self._report(f"{self.store.path(file)}: {state}; built again")
                elif entry["bundle"] == self._bundle.name:
                    changed = [key for key in sorted(wanted) if found.get(key) != wanted[key]]
                    if not {"graph", "precision"} & set(changed):
                        self._report(f"{self.store.path(file)}: built with another {', '.join(changed)}; not used")


class Progress:
    """On a terminal one line that is overwritten: which engine is being built, for how long, and how long the rest will
    take, estimated from the time per ONNX node so far (TensorRT times each layer)."""

    def __init__(self, specs: List[EngineSpec]) -> None:
        self._left = [spec.nodes for spec in specs]
        self._count, self._spent, self._nodes = len(specs), 0.0, 0
        self._status = cli.StatusLine()

    @contextlib.contextmanager
    def building(self, spec: EngineSpec) -> Iterator[Callable[[], None]]:
        """Around a build; yields a function to call now and then."""
        start, number = time.time(), self._count - len(self._left) + 1
        head = f"building {number} of {self._count}: {spec.graph} in {spec.precision}"

        def text() -> str:
            elapsed = time.time() - start
            if not self._nodes:
                return f"{head}, {_minutes(elapsed)} so far"
            rest = max(0.0, self._spent / self._nodes * sum(self._left) - elapsed)
            return f"{head}, {_minutes(elapsed)} so far, about {_minutes(rest)} left for all"

        with self.line(text) as on_tick:
            yield on_tick
        self._spent += time.time() - start
        self._nodes += self._left.pop(0)

    @contextlib.contextmanager
    def line(self, text: Callable[[], str]) -> Iterator[Callable[[], None]]:
        self._status.show(text())
        try:
            yield lambda: self._status.show(text())
        finally:
            self._status.clear()


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
