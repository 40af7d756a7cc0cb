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
from tlee.engines.store import OTHER_FOLDER, READY, UNCHECKED, WAIT, EngineStore, stores
from tlee.errors import BundleError, EngineError, UsageError
from tlee.locks import BUSY, write_lock


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

    Raises:
        UsageError: another command writes it, or it cannot be written.
        BundleError: it was amended since it was opened.
    """
    if not os.path.realpath(engine_dir).startswith(os.path.realpath(bundle.path) + os.sep):
        yield
        return
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(write_lock(bundle.path, folder=True))
        except UsageError as error:
            remedy = WAIT if error.problem == BUSY else OTHER_FOLDER
            raise UsageError(bundle.path, error.problem, remedy) from None
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
        self._bundle, self._engine_dir, self._target = bundle, engine_dir, target
        self._size, self._report = size, report
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
                free, needed = self._free() // MIB, RESERVE // MIB
                self._report(
                    f"only {free} MB of memory are free, TensorRT needs about {needed}: builds may be killed;"
                    " see docs/troubleshooting.md"
                )
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
            about = "" if error.subject == spec.graph else spec.graph + ": "
            self._report(about + str(error))
            failed = True
        return Result(spec, self._state(spec), built, failed)

    def _build(self, spec: EngineSpec, folder: str, on_tick: Callable[[], None]) -> None:
        size, timing = self._size or workspace(self._free()), None
        try:
            timing = self.store.timing()
        except EngineError as error:
            self._report(str(error))
        request = dict(self._request(spec), source=spec.source, cache=spec.cache, settings=spec.settings._asdict())
        built = process.run("build", folder, dict(request, workspace=size, timing=timing), on_tick)
        entry = {"identity": spec.identity, "bundle": self._bundle.name, "workspace": size, "seconds": built["seconds"]}
        self.store.put(spec.file, folder, entry, self.machine._asdict())

    def _check(self, spec: EngineSpec, folder: str, on_tick: Callable[[], None]) -> None:
        request = dict(self._request(spec), engine=self.store.recorded(spec.file), batch=spec.settings.batch)
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

    def _request(self, spec: EngineSpec) -> Dict[str, Any]:
        return {"target": self._target, "bundle": self._bundle.path, "graph": spec.graph}

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
    """On a terminal one line that is written over: which engine is being built, since when, and how long all will take.

    Time left is what the engines before took per node of their ONNX; TensorRT itself times each layer.
    """

    def __init__(self, specs: List[EngineSpec]) -> None:
        self._left = [spec.nodes for spec in specs]
        self._count, self._spent, self._nodes = len(specs), 0.0, 0
        self._status = cli.StatusLine()

    @contextlib.contextmanager
    def building(self, spec: EngineSpec) -> Iterator[Callable[[], None]]:
        """Around a build; yields what is to be called now and then."""
        start, number = time.time(), self._count - len(self._left) + 1

        def text() -> str:
            elapsed, left = time.time() - start, ""
            if self._nodes:
                rest = self._spent / self._nodes * sum(self._left) - elapsed
                left = f", about {_minutes(max(0.0, rest))} left for all"
            head = f"building {number} of {self._count}: {spec.graph} in {spec.precision}"
            return f"{head}, {_minutes(elapsed)} so far{left}"

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
