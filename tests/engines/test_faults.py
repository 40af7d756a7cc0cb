"""What can go wrong while engines are built: each is one line, and nothing that was finished is lost."""

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
from doubles.environment import environment
from helpers.boards import (
    COMMAND,
    ENGINES,
    NANO_KEY,
    PATIENCE,
    hanging,
    record,
    table,
    tlee_build,
    until,
    without,
    workers,
)

from tlee.engines.store import READY, TIMING, UNCHECKED, EngineStore
from tlee.errors import EngineError


def built_now(result) -> set[str]:
    return {name for name, cells in table(result).items() if cells[1] not in ("before", "not built")}


def test_a_build_that_the_kernel_kills_is_told_and_the_next_call_goes_on_from_there(nano):
    without(nano, "split1", "exit0")
    result = tlee_build(nano, fault="kill:x1", apart=True)
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert re.match(
        r"tlee-build: split1: killed, most likely by the kernel .* add swap .* --workspace \d", result.stderr
    )
    assert table(result)["split1"][-1] == "not built" and built_now(result) == {"exit0"}
    again = tlee_build(nano)
    assert (again.returncode, again.stderr, built_now(again)) == (0, "", {"split1"})


def test_a_build_that_gives_no_engine_is_told_in_tensorrts_words(nano):
    result = tlee_build(without(nano, "split1"), fault="none:x1", apart=True)
    assert result.returncode == 1
    assert re.match(r"tlee-build: split1: TensorRT 8\.2\.1\.8: built no engine: .+;", result.stderr)
    assert table(result)["split1"][-1] == "not built"


def test_an_engine_that_answers_wrongly_is_not_used(nano):
    result = tlee_build(without(nano, "split1"), fault="wrong:x1")
    assert result.returncode == 1 and table(result)["split1"][-1] == "failed its check"
    assert re.match(r"tlee-build: split1: its x1 differs by 0\.1.* will not be used; .*split1=fp32", result.stderr)
    (file,) = [
        file for file, entry in EngineStore(str(nano / "engines" / NANO_KEY)).entries.items() if "split1" in file
    ]
    store = EngineStore(str(nano / "engines" / NANO_KEY))
    assert not any(file in files for files in store.active.values())
    with pytest.raises(EngineError, match="failed its check"):
        store.read(file)


def gone(pid: int) -> bool:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat") as stream:
                if stream.read().rpartition(")")[2].split()[0] == "Z":  # an orphan's body waits for init
                    return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def test_a_build_that_is_killed_takes_its_worker_along_and_loses_nothing(nano):
    without(nano, "split0", "split1")
    with hanging(nano) as (process, (worker,)):
        process.kill()
        assert gone(worker)
    again = tlee_build(nano)
    assert (again.returncode, again.stderr, built_now(again)) == (0, "", {"split1"})
    assert not list(nano.glob("engines/*/.building-*"))


def test_a_worker_whose_parent_is_gone_already_does_nothing(tmp_path):
    command = [sys.executable, "-m", "tlee.engines.worker", "describe", str(tmp_path), str(os.getppid()), "1"]
    result = subprocess.run(command, env=environment("8.2"), input='{"target": "tensorrt"}', text=True)
    assert result.returncode == 1 and not list(tmp_path.iterdir())


@pytest.mark.full
def test_a_build_killed_at_any_moment_leaves_nothing_that_is_half_done(nano):
    without(nano, *ENGINES)
    for finished in (0, 1, 3):  # engines that are there, while the next one is built
        process = subprocess.Popen([*COMMAND, str(nano)], env=environment("8.2"), stdout=subprocess.DEVNULL)
        with contextlib.suppress(AssertionError):  # it may be done by then
            until(lambda least=finished, of=process: workers(of.pid) and len(record(nano)) >= least, process)
        process.kill()
        process.wait()
        store = EngineStore(str(nano / "engines" / NANO_KEY))
        assert {store.state(file) for file in store.entries} <= {READY, UNCHECKED}
    result = tlee_build(nano)
    assert result.returncode == 0 and {cells[-1] for cells in table(result).values()} == {"ready"}


def test_a_build_that_is_interrupted_says_so_and_keeps_what_is_finished(nano):
    without(nano, "split0", "split1")
    with hanging(nano) as (process, (worker,)):
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=PATIENCE) == 130 and gone(worker)
        assert process.stderr.read() == "tlee-build: interrupted\n"
    assert "split0" in record(nano) and not list(nano.glob("engines/*/.building-*"))


def test_a_full_disk_is_one_line_and_leaves_no_half_engine(nano):
    without(nano, "exit0")
    before = sorted(path.name for path in (nano / "engines" / NANO_KEY).iterdir())
    # Files cannot grow beyond 8 kB: to the program the same as a disk that has no more room.
    result = tlee_build(nano, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192)))
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert re.match(r"tlee-build: .*: cannot be written \(File too large\); choose a folder .* room", result.stderr)
    assert sorted(path.name for path in (nano / "engines" / NANO_KEY).iterdir()) == before
    assert tlee_build(nano).returncode == 0


def test_a_bundle_where_nothing_can_be_written_is_one_line_that_names_the_way_out(board):
    (board / "engines").mkdir()
    (board / "engines" / NANO_KEY).touch()  # in a file nobody can write files, not even root
    result = tlee_build(board)
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert re.match(r"tlee-build: .*/engines/.*: cannot be written .*; .* --engine-dir", result.stderr)


def test_an_altered_engine_is_named_and_built_again(nano):
    file = next((nano / "engines" / NANO_KEY).glob("exit1.*"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    result = tlee_build(nano, apart=True)
    assert result.returncode == 0 and result.stderr == f"tlee-build: {file}: altered; built again\n"
    assert built_now(result) == {"exit1"} and table(result)["exit1"][-1] == "ready"


def test_engines_of_another_device_are_named_and_never_used(nano):
    result = tlee_build(nano, release="8.6", device="orin", fault="none")
    assert re.match(
        rf"tlee-build: .*{NANO_KEY}: engines of another device or TensorRT than .*; not used here\n", result.stderr
    )
    assert result.returncode == 1 and {cells[-1] for cells in table(result).values()} == {"not built"}
    shutil.rmtree(nano / "engines" / "tensorrt-8.6.1-orin-8.7")
    (nano / "engines" / NANO_KEY).rename(nano / "engines" / "tensorrt-8.6.1-orin-8.7")  # passed off as this device's
    result = tlee_build(nano, release="8.6", device="orin", fault="none")
    assert "orin-8.7: engines of another machine or user, or damaged; built again" in result.stderr
    assert {cells[-1] for cells in table(result).values()} == {"not built"}


def test_a_truncated_timing_cache_is_named_and_layers_are_timed_again(nano):
    timing = nano / "engines" / NANO_KEY / TIMING
    timing.write_bytes(timing.read_bytes()[:-10])
    result = tlee_build(without(nano, "split0"))
    assert result.returncode == 0 and built_now(result) == {"split0"}
    assert result.stderr == f"tlee-build: {timing}: altered or truncated; not used, layers are timed again\n"
    assert EngineStore(str(nano / "engines" / NANO_KEY)).timing() is not None  # the new one is whole


def test_little_memory_is_told_before_the_build(nano):
    result = tlee_build(without(nano, "split0"), device="desktop", release="8.6", free=100 << 20, fault="none")
    assert "only 100 MB of memory are free, TensorRT needs about 1024" in result.stderr


def test_a_damaged_bundle_is_one_line(board):
    (board / "fused_exits" / "exit0.onnx").write_bytes(b"")
    result = tlee_build(board)
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and "exit0.onnx" in result.stderr
