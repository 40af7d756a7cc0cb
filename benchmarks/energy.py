"""What blocks of runs took from the battery or the mains."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from tlee.power.recorder import Recorder
from tlee.reports import statistics


class Span(NamedTuple):
    """So many runs, back to back. Times are of `time.perf_counter`."""

    start: float
    end: float
    runs: int


def per_run(spans: Sequence[Span], recorder: Recorder, idle: Optional[float]) -> Optional[Dict[str, Any]]:
    """Millijoules of a run.

    Args:
        idle: watts before anything ran; None where that is not known.

    Returns:
        `gross`, power integrated over the spans; `net`, that without what the idle device would have taken; `blocks`,
        gross of each span, None where power was not sampled densely enough; mean `watts`. None where no span was.
    """
    joules = [recorder.energy(span.start, span.end) for span in spans]
    known = [(span, energy) for span, energy in zip(spans, joules) if energy is not None]
    if not known:
        return None
    gross = [1000 * energy / span.runs for span, energy in known]
    net = None
    if idle is not None:
        rest = [1000 * idle * (span.end - span.start) / span.runs for span, _ in known]
        net = statistics.interval([a - b for a, b in zip(gross, rest)])
    blocks: List[Optional[float]] = [
        None if energy is None else 1000 * energy / span.runs for span, energy in zip(spans, joules)
    ]
    watts = sum(energy for _, energy in known) / sum(span.end - span.start for span, _ in known)
    return {"gross": statistics.interval(gross), "net": net, "watts": watts, "blocks": blocks}
