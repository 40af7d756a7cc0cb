import io
import time

from helpers.boards import ORIN

from tlee.bundle import Bundle
from tlee.engines.builder import Progress
from tlee.engines.planning import BuildOptions, plan


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(exported, monkeypatch, stream: io.StringIO) -> list[str]:
    """What is written over itself while a first engine takes 60 seconds and a second is at its start."""
    jobs = [
        job._replace(nodes=nodes) for job, nodes in zip(plan(Bundle.open(exported), ORIN, BuildOptions()), (10, 30))
    ]
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(time, "time", lambda: now[0])
    now, progress = [0.0], Progress(jobs)
    with progress.building(jobs[0]) as show:
        now[0] = 60.0
        show()
    with progress.building(jobs[1]):
        pass
    return [line for line in stream.getvalue().split("\r\033[K") if line]


def test_a_terminal_shows_which_engine_is_built_and_how_long_the_rest_takes_by_nodes(exported, monkeypatch):
    lines = shown(exported, monkeypatch, Terminal())
    assert lines[1] == "building 1 of 2: split0 in fp16, 1:00 so far"
    assert lines[2] == "building 2 of 2: split1 in fp16, 0:00 so far, about 3:00 left for all"


def test_a_log_file_gets_no_progress(exported, monkeypatch):
    assert shown(exported, monkeypatch, io.StringIO()) == []
