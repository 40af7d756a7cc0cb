"""Commands of a workstation where the system lacks something: one line with the cause, and status 2."""

import os
import resource
import select
import signal
import subprocess
import sys

import pytest
from helpers.kills import START, command

from tlee import cli
from tlee.data.labelled.listing import Entry, Listing
from tlee.data.labelled.loader import ClipDataset, evaluation_batches
from tlee.errors import UsageError
from tlee.frames import FrameSpec
from tlee.models.config import frame_order

SPEC = FrameSpec(4, frame_order(4), 36, 32)


class Dying(ClipDataset):
    """Videos whose loader process is killed by the system."""

    def __getitem__(self, key):
        os.kill(os.getpid(), signal.SIGKILL)


class Failing(ClipDataset):
    """Videos that a loader process says something about."""

    def __getitem__(self, key):
        raise UsageError("OpenCV", "not installed", "install it")


class Large(ClipDataset):
    """Videos of which no batch can be sent."""

    def __getitem__(self, key):
        return Unsendable()


class Unsendable(tuple):
    def __reduce__(self):
        raise MemoryError


@pytest.fixture
def listing(clip):
    return Listing([Entry(clip, (0,), None)] * 3, ["walk"], flips=True, notes=[])


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Dying, "videos: a process that decodes them ended (Killed), most likely because memory ran out; take fewer"),
        (Failing, "OpenCV: not installed; install it\n"),
    ],
)
def test_a_loader_process_that_ends_is_one_line(kind, said, listing, capsys):
    status = cli.run("tlee-eval", lambda _: len(list(evaluation_batches(kind(listing, SPEC), 1, 1))))
    err = capsys.readouterr().err
    assert (status, err.count("\n")) == (2, 1) and err.startswith(f"tlee-eval: {said}")


def test_a_batch_that_cannot_be_sent_is_not_waited_for(listing, capsys, monkeypatch):
    monkeypatch.setattr("tlee.data.labelled.loader._collate", lambda items: items[0])
    status = cli.run("tlee-eval", lambda _: len(list(evaluation_batches(Large(listing, SPEC), 1, 1))))
    assert status == 2 and "a process that decodes them ended" in capsys.readouterr().err


def test_loader_processes_end_with_the_one_that_started_them(listing, tmp_path):
    read, write = os.pipe()
    if not (parent := os.fork()):
        batches = iter(evaluation_batches(ClipDataset(listing, FrameSpec(4, frame_order(4), 300, 300)), 1, 1))
        next(batches)
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(write)
    os.waitpid(parent, 0)
    assert select.select([read], [], [], 10)[0] and os.read(read, 1) == b""  # nobody has the other end any more


def test_batches_need_no_shared_memory(listing, monkeypatch):
    def shared(*_):
        raise AssertionError

    monkeypatch.setattr("torch.UntypedStorage._share_fd_cpu_", shared)
    monkeypatch.setattr("torch.UntypedStorage._share_filename_cpu_", shared)
    (batch,) = evaluation_batches(ClipDataset(listing, SPEC), 3, 1)
    assert batch.frames.shape == (3, 4, 32, 32, 3) and batch.entry.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(24, "Too many open files", "a.mp4"), "a.mp4: Too many open files; let this process open more files"),
        (OSError(27, "File too large"), "system: File too large; allow larger files (ulimit -f)"),
        (
            ImportError("libx.so: cannot open shared object file: Too many open files"),
            "system: Too many open files; let",
        ),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            "memory: there is not en",
        ),
        (ImportError("libx.so: failed to map segment from shared object"), "memory: there is not enough"),
        (OSError("no libllvmlite.so: failed to map segment from shared object"), "memory: there is not enough"),
        (OSError("of a library's own"), "system: of a library's own; check the path and the system's limits"),
    ],
)
def test_what_a_library_says_of_the_system_is_told_as_its_cause(error, said, capsys):
    def failing(arguments):
        raise error

    assert cli.run("tlee-train", failing) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"tlee-train: {said}") and err.count("\n") == 1


ENDING = """
import os, signal, sys
from tlee import cli
def command(arguments):
    {}
cli.main("tlee-eval", command)
"""


@pytest.mark.parametrize(
    "work",
    [
        "os.kill(os.getpid(), signal.{0})",
        # Amid an import, in a finaliser, and twice at once.
        "sys.path.insert(0, '{1}'); import signalling_{0}",
        "type('A', (), {{'__del__': lambda self: os.kill(os.getpid(), signal.{0})}})()",
        "signal.pthread_sigmask(signal.SIG_BLOCK, [2, 15]); os.kill(os.getpid(), 2); os.kill(os.getpid(), 15); "
        "signal.pthread_sigmask(signal.SIG_UNBLOCK, [2, 15])",
    ],
)
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_a_command_in_one_line(work, number, tmp_path):
    module = f"import os, signal\ntry:\n    os.kill(os.getpid(), signal.{number})\nexcept BaseException:\n    pass\n"
    (tmp_path / f"signalling_{number}.py").write_text(module)
    code = ENDING.format(work.format(number, tmp_path))
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (130, "tlee-eval: interrupted\n")


def test_a_forked_process_leaves_ctrl_c_to_the_one_that_was_asked():
    child = "os.fork() or (os.kill(os.getpid(), signal.SIGINT), os._exit(7)); print(os.wait()[1] >> 8)"
    ended = subprocess.run([sys.executable, "-c", ENDING.format(child)], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "7\n", "")


def limited(limit, value, *arguments, **environment):
    """(status, standard error) of a command under a limit of the system's."""

    def begin():
        if limit is not None:
            resource.setrlimit(limit, (value, value))

    # Python keeps compiled modules that it could write a part of only.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", **environment}
    ended = subprocess.run(command(*arguments), capture_output=True, text=True, preexec_fn=begin, env=environment)
    return ended.returncode, ended.stderr


@pytest.mark.full
@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [
        (resource.RLIMIT_NOFILE, 8, "Too many open files"),
        (resource.RLIMIT_AS, 1 << 30, "memory: there is not enough"),
        (resource.RLIMIT_FSIZE, 500, "cannot be written (File too large)"),
        (resource.RLIMIT_FSIZE, 60_000, "cannot be written (File too large)"),
    ],
)
def test_an_export_without_files_memory_or_room_is_one_line(limit, value, said, small_checkpoint, tmp_path):
    status, err = limited(limit, value, "tlee-export", small_checkpoint, "-o", tmp_path / "new.tlee")
    assert (status, err.count("\n")) == (2, 1) and said in err
    assert not list(tmp_path.iterdir())


@pytest.mark.full
def test_an_export_leaves_nothing_in_an_empty_home(small_checkpoint, tmp_path):
    (tmp_path / "home").mkdir()
    arguments = ("tlee-export", small_checkpoint, "-o", tmp_path / "new.tlee")
    unset = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": "", "ORT_DISABLE_TELEMETRY": ""}
    environment = {k: v for k, v in {**os.environ, **unset}.items() if v}
    code = subprocess.run(command(*arguments), capture_output=True, text=True, env=environment)
    assert code.returncode == 0, code.stderr
    assert not list((tmp_path / "home").iterdir())


@pytest.mark.parametrize("program", ["tlee-export", "tlee-doctor"])
def test_a_folder_that_is_gone_is_one_line(program, tmp_path):
    gone = ["sh", "-c", 'mkdir "$0" && cd "$0" && rmdir "$0" && exec "$@"', str(tmp_path / "gone")]
    script = tmp_path / program
    script.write_text("from tlee.commands import main; main()")  # as installed: with `-c` Python itself fails there
    ended = subprocess.run([*gone, sys.executable, str(script)], capture_output=True, text=True)
    line = f"{program}: this folder: not there any more; change into one that is (cd)\n"
    assert (ended.returncode, ended.stderr) == (2, line)


@pytest.mark.skipif(os.getuid() != 0, reason="mounting needs root")
@pytest.mark.parametrize("program", ["tlee-train", "tlee-eval", "tlee-export", "tlee-tune", "tlee-calibrate"])
def test_no_proc_is_one_line(program):
    hidden = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /proc && exec "$0" "$@"']
    if subprocess.run([*hidden, "true"], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    ended = subprocess.run([*hidden, sys.executable, "-c", START.format(program)], capture_output=True, text=True)
    assert ended.returncode == 2 and ended.stderr.startswith(f"{program}: /proc: not there")
    assert ended.stderr.count("\n") == 1
