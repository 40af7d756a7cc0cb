"""tlee-build and its workers when the system gives little, when others write, and when they are ended at any moment."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from doubles.environment import environment
from helpers.boards import ENGINES, NANO_KEY, PATIENCE, hanging, table, tlee_build, without

from tlee.bundle import Bundle
from tlee.engines import process, worker
from tlee.engines.builder import Builder
from tlee.engines.jobs import Request
from tlee.engines.store import FAILED, READY, UNCHECKED, EngineStore
from tlee.errors import EngineError, UsageError

HOLD = """
import sys
from tlee.locks import write_lock
with write_lock(sys.argv[1], folder=True):
    print("held", flush=True)
    sys.stdin.read()
"""


def one_line(result, said: str) -> None:
    assert result.returncode == 2 and result.stderr.count("\n") == 1, result.stderr
    assert said in result.stderr


def test_nothing_is_built_into_a_bundle_that_another_command_writes(board, tmp_path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(board)], **pipes) as other:
        assert other.stdout.readline() == b"held\n"
        one_line(tlee_build(board), f"{board}: another command is writing it; wait until it is done")
        one_line(tlee_build(board, "--clean"), "another command is writing it")
        assert tlee_build(board, "--engine-dir", tmp_path / "elsewhere").returncode == 0  # which changes no bundle
        other.stdin.close()
    assert not (board / "engines").exists()


@pytest.mark.full
def test_nobody_amends_a_bundle_while_engines_are_built_into_it(nano):
    without(nano, "split0", "split1")
    with hanging(nano):
        held = subprocess.run([sys.executable, "-c", HOLD, str(nano)], capture_output=True, text=True)
        assert "another command is writing it" in held.stderr
        one_line(tlee_build(nano), "another command is writing it")
    assert tlee_build(nano).returncode == 0
    assert [path.name for path in nano.parent.glob(".*")] == []


def test_a_bundle_that_was_amended_since_it_was_opened_is_not_built(board, load, monkeypatch):
    load("8.2", "nano")
    monkeypatch.setattr(process, "run", lambda action, folder, request, *_: worker.ACTIONS[action](folder, request))
    opened = Bundle.open(str(board))
    opened.manifest["provenance"]["note"] = "as it was"
    with pytest.raises(Exception, match="changed since it was opened; start again, nothing was built"):
        Builder(opened, str(board / "engines"), "tensorrt", None, print).build(Request())
    assert not (board / "engines").exists()


def test_an_engine_whose_answers_are_not_finite_is_not_used(nano, load, monkeypatch):
    load("8.2", "nano")
    monkeypatch.setattr(process, "run", lambda action, folder, request, *_: worker.ACTIONS[action](folder, request))
    monkeypatch.setattr(worker, "differences", lambda *_: {"x1": float("inf")})
    said: list[str] = []
    builder = Builder(Bundle.open(str(without(nano, "split1"))), str(nano / "engines"), "tensorrt", None, said.append)
    results = {result.job.graph: result for result in builder.build(Request())}
    assert results["split1"].state == FAILED and results["split1"].failed and "its x1 differs by 1e+09" in said[0]


def stand_in(tmp_path, monkeypatch, code: str) -> None:
    """In the worker's place: `answer` is the descriptor that its answer goes to."""
    script = tmp_path / "worker"
    script.write_text(f"#!{sys.executable}\nimport os, sys\nanswer = int(sys.argv[-1])\n{code}\n")
    script.chmod(0o755)
    monkeypatch.setattr(process.sys, "executable", str(script))


@pytest.mark.parametrize(
    "code, line",
    [
        ("os.write(answer, b'{')", "TensorRT: .* no readable answer"),
        ("os.write(answer, b'[' * 60000)", "TensorRT: .* no readable answer .nested too deeply"),
        ("[os.write(answer, b'1' * 65536) for _ in range(500)]", "TensorRT: .* no readable answer"),
        ("pass", "TensorRT: .* no readable answer"),
        ("print('line ' * 10**6); sys.exit('why')", "TensorRT: TensorRT failed: why; report it"),
        ("os.close(1); os.close(2); os.close(answer); os.kill(os.getpid(), 6)", "TensorRT crashed .SIGABRT"),
        ("os.kill(os.getpid(), 9)", "killed, most likely by the kernel"),
    ],
    ids=["half", "deep", "huge", "none", "talkative", "crash", "killed"],
)
def test_whatever_a_worker_answers_is_one_line(tmp_path, monkeypatch, code, line):
    stand_in(tmp_path, monkeypatch, code)
    with pytest.raises(EngineError, match=line) as caught:
        process.run("describe", "", {"target": "tensorrt"})
    assert len(str(caught.value)) < 500


def test_an_answer_larger_than_a_pipe_comes_whole(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, 'with open(answer, "w") as stream: stream.write(\'["\' + "x" * 10**6 + \'"]\')')
    assert process.run("describe", "", {}) == ["x" * 10**6]


@pytest.mark.parametrize("most", [8, 12, pytest.param(16, marks=pytest.mark.full)])
def test_too_few_descriptors_are_one_line(board, most):
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))}
    result = tlee_build(board, apart=True, **limit)
    if result.returncode:
        assert result.stderr.count("\n") == 1 and "Traceback" not in result.stderr
        assert "oo many open files" in result.stderr or "limits" in result.stderr


@pytest.mark.full
@pytest.mark.parametrize("most", [0, 20, 100, 1000, 4000, 20000, 50000])
def test_a_disk_that_is_full_at_any_point_is_a_line_and_leaves_what_works(nano, most):
    without(nano, "split1", "exit0")
    limit = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))}
    result = tlee_build(nano, apart=True, **limit)
    assert "Traceback" not in result.stderr and (result.returncode == 0 or "File too large" in result.stderr)
    store = EngineStore(str(nano / "engines" / NANO_KEY))
    assert store.distrust is None and {store.state(file) for file in store.entries} <= {READY, UNCHECKED}
    assert not list(nano.glob("engines/*/.*")) and not list(nano.glob("engines/.*"))
    assert tlee_build(nano).returncode == 0


def test_without_a_key_to_sign_with_nothing_is_built(board, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TLEE_ENGINE_KEY", str(tmp_path / "file" / "engine.key"))
    started = tlee_build(board, fault="kill")  # which would end the first build
    one_line(started, "engine.key: cannot be written")
    assert "set TLEE_ENGINE_KEY=FILE" in started.stderr


@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_build_ended_at_any_moment_leaves_nothing_that_is_half_done(nano, number):
    without(nano, *ENGINES)
    rng, store = random.Random(number), EngineStore(str(nano / "engines" / NANO_KEY))
    for _ in range(20):
        command = [Path(sys.executable).with_name("tlee-build"), nano]  # as users start it: its first imports are heard
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, env=environment("8.2"), text=True, **silent) as build:
            time.sleep(rng.uniform(0.0, 8.0))
            build.send_signal(number)
            said = build.stderr.read()
            status = build.wait(PATIENCE)
        assert status in (0, 130, -number) or status == -signal.SIGINT and said == "tlee-build: interrupted\n"
        # Python itself starts up for a moment in which a signal has its own way.
        assert "Traceback" not in said or "site" in said, said
        store = EngineStore(str(nano / "engines" / NANO_KEY))
        assert store.distrust is None and {store.state(file) for file in store.entries} <= {READY, UNCHECKED}
        if len(store.entries) == len(ENGINES):
            without(nano, *ENGINES[rng.randrange(3) :])
    result = tlee_build(nano)
    assert result.returncode == 0 and {cells[-1] for cells in table(result).values()} == {"ready"}
    left = {path.name for path in (nano / "engines" / NANO_KEY).iterdir()} - set(store.entries)
    assert {name for name in left if name.startswith(".")} == set()
    assert [path.name for path in nano.parent.glob(".*")] == [] and [p.name for p in nano.glob("engines/.*")] == []


def test_memory_that_linux_does_not_tell_is_a_line(tmp_path):
    from tlee.engines.memory import available

    for content in (None, b"", b"MemAvailable: much kB\n", os.urandom(300)):
        if content is not None:
            (tmp_path / "meminfo").write_bytes(content)
        with pytest.raises(UsageError, match="meminfo: does not say how much memory is free.*; mount it"):
            available(str(tmp_path / "meminfo"))
