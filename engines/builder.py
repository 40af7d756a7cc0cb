"""Bundle to engines: what is missing is built, each in a process of its own, then checked and recorded."""

import contextlib
import os
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

from tlee.bundle import Bundle
from tlee.engines import process
from tlee.engines.check import tolerance
from tlee.engines.jobs import Job, Machine, Request, plan
from tlee.engines.memory import MIB, RESERVE, available, workspace
from tlee.engines.progress import Progress
from tlee.engines.store import ELSEWHERE, READY, UNCHECKED, WAIT, EngineStore, Recorded, stores
from tlee.engines.worker import ENGINE, TIMING
from tlee.errors import BundleError, EngineError, UsageError
from tlee.locks import BUSY, write_lock


class Result(NamedTuple):
    """What became of a job.

    Attributes:
        job: the engine that was to be built.
        state: see `tlee.engines.store.EngineStore.state`; None if there is no engine.
        new: built just now.
        failed: something went wrong, and was told.
    """

    job: Job
    state: Optional[str]
    new: bool = False
    failed: bool = False


def find_machine(target: str) -> Machine:
    """The machine that this runs on.

    Args:
        target: see `tlee.engines.releases.load`.

    Raises:
        UsageError: TensorRT or a GPU is missing.
    """
    return Machine(**process.run("describe", "", {"target": target}))


@contextlib.contextmanager
def holding(bundle: Bundle, engine_dir: str) -> Iterator[None]:
    """Around changes of engines that lie in their bundle: nobody amends it meanwhile, by which they would be lost.

    Raises:
        UsageError: another command writes it, or it cannot be written.
        BundleError: it was amended since it was opened.
    """
    inside = os.path.realpath(engine_dir).startswith(os.path.realpath(bundle.path) + os.sep)
    with contextlib.ExitStack() as held:
        if inside:
            try:
                held.enter_context(write_lock(bundle.path, folder=True))
            except UsageError as error:
                raise UsageError(bundle.path, error.problem, WAIT if error.problem == BUSY else ELSEWHERE) from None
            if Bundle.open(bundle.path).manifest != bundle.manifest:
                raise BundleError(bundle.path, "changed since it was opened", "start again, nothing was built")
        yield


class Builder:
    """Builds engines of one bundle for this machine.

    Args:
        engine_dir: where engines of all devices are.
        target: see `tlee.engines.releases.load`.
        size: bytes of workspace; None for what fits into the memory that is free.
        tell: takes lines for the user.
    """

    def __init__(
        self, bundle: Bundle, engine_dir: str, target: str, size: Optional[int], tell: Callable[[str], None]
    ) -> None:
        self._bundle, self._engine_dir, self._target = bundle, engine_dir, target
        self._size, self._tell = size, tell
        self.machine = find_machine(target)
        self.store = EngineStore(os.path.join(engine_dir, self.machine.key))

    def build(self, request: Request) -> List[Result]:
        """Build what is missing. An engine that cannot be built is reported, and the others are still built. If none
        failed, these are the ones that the bundle runs on from now.

        Raises:
            UsageError: see `tlee.engines.jobs.plan`; or the folder cannot be written, or another command writes it, or
                the bundle that it is in.
            BundleError: the bundle is damaged, or was changed meanwhile.
        """
        jobs = plan(self._bundle, self.machine, request)
        for note in self.machine.notes:
            self._tell(note)
        with holding(self._bundle, self._engine_dir), self.store.building() as folder:
            self._name_the_unfit(jobs)
            found = [Result(job, self._state(job)) for job in jobs]
            missing = [result.job for result in found if result.state not in (READY, UNCHECKED)]
            if missing:
                self._look_at_memory()
            progress = Progress(missing)
            results = [self._finish(result, folder, progress) for result in found]
            if not any(result.failed for result in results):
                self.store.activate(self._bundle.name, [job.file for job in jobs])
            return results

    def _finish(self, result: Result, folder: str, progress: Progress) -> Result:
        job, built, failed = result.job, False, False
        try:
            if result.state not in (READY, UNCHECKED):
                with progress.on(job) as waiting:
                    self._build(job, folder, waiting)
                built = True
            if self._state(job) == UNCHECKED and self.machine.gpu is not None:
                with progress.checking(job) as waiting:
                    self._check(job, folder, waiting)
        except EngineError as error:
            about = "" if error.subject == job.graph else job.graph + ": "
            self._tell(about + str(error))
            failed = True
        return Result(job, self._state(job), built, failed)

    def _build(self, job: Job, folder: str, waiting: Callable[[], None]) -> None:
        size = self._size or workspace(self._free())
        request = dict(self._request(job), job=job._asdict(), workspace=size, timing=self._timing())
        built = process.run("build", folder, request, waiting)
        timing: Optional[str] = os.path.join(folder, TIMING)
        entry = {"identity": job.identity, "bundle": self._bundle.name, "workspace": size, "seconds": built["seconds"]}
        self.store.put(
            job.file,
            os.path.join(folder, ENGINE),
            timing if os.path.exists(timing or "") else None,
            entry,
            self.machine._asdict(),
        )

    def _check(self, job: Job, folder: str, waiting: Callable[[], None]) -> None:
        engine = {"engine": self.store.recorded(job.file), "batch": job.batch}
        found = process.run("check", folder, dict(self._request(job), **engine), waiting)
        allowed = tolerance(self._bundle, job.graph, job.precision)
        worst = max(found["differences"], key=lambda name: found["differences"][name])
        passed = found["differences"][worst] <= allowed
        check = {"differences": found["differences"], "tolerance": allowed, "passed": passed}
        self.store.record_check(job.file, check, found["layers"])
        if not passed:
            text = "its {} differs by {:.3g} from ONNX Runtime's, {:.3g} is allowed: it will not be used"
            remedy = f"build it in a higher precision: --segment {job.graph}=fp32"
            raise EngineError(job.graph, text.format(worst, found["differences"][worst], allowed), remedy)

    def _request(self, job: Job) -> Dict[str, Any]:
        return {"target": self._target, "bundle": self._bundle.path, "graph": job.graph}

    def _state(self, job: Job) -> Optional[str]:
        entry = self.store.entries.get(job.file)
        return self.store.state(job.file) if entry and entry["identity"] == job.identity else None

    def _look_at_memory(self) -> None:
        if self._free() < RESERVE:
            text = (
                "only {} MB of memory are free, TensorRT needs about {}: builds may be killed;"
                " see docs/troubleshooting.md"
            )
            self._tell(text.format(self._free() // MIB, RESERVE // MIB))

    def _free(self) -> int:
        """Bytes of memory that a build can have."""
        return available() if self.machine.integrated or self.machine.gpu is None else self.machine.free

    def _timing(self) -> Optional[Recorded]:
        try:
            return self.store.timing()
        except EngineError as error:
            self._tell(str(error))
            return None

    def _name_the_unfit(self, jobs: List[Job]) -> None:
        """Say which engines are there and will not be used, and why."""
        if self.store.distrust:
            self._tell(f"{self.store.folder}: engines {self.store.distrust}; built again")
        for other in stores(self._engine_dir):
            if os.path.basename(other.folder) != self.machine.key:
                why = other.distrust or f"of another device or TensorRT than {self.machine.key}"
                self._tell(f"{other.folder}: engines {why}; not used here")
        for job in jobs:
            for file, entry in sorted(self.store.entries.items()):
                if file == job.file:
                    state = self._state(job)
                    if state not in (READY, UNCHECKED):
                        self._tell(f"{self.store.path(file)}: {state}; built again")
                elif entry["bundle"] == self._bundle.name and _same(entry["identity"], job.identity):
                    changed = [key for key in sorted(job.identity) if entry["identity"].get(key) != job.identity[key]]
                    text = "{}: built with another {}; not used"
                    self._tell(text.format(self.store.path(file), ", ".join(changed)))


def _same(one: Any, other: Any) -> bool:
    return all(one.get(key) == other[key] for key in ("graph", "precision"))
