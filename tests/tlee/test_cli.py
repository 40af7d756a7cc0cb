"""How commands end, and what they say when they fail."""

import importlib.util
import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tlee import cli
from tlee.errors import InputError, not_imported


def raising(error):
    def command(arguments):
        raise error

    return command


@pytest.mark.parametrize(
    ("command", "status", "line"),
    [
        (lambda arguments: None, 0, ""),
        (lambda arguments: 1, 1, ""),
        (raising(InputError("a.mp4", "is\nbroken", "mend it")), 2, "tlee-run: a.mp4: is broken; mend it\n"),
        (raising(KeyboardInterrupt()), 130, "tlee-run: interrupted\n"),
        (
            raising(ModuleNotFoundError("x", name="x")),
            2,
            "tlee-run: x: not installed; pip install '.[cpu]' in tlee's folder\n",
        ),
    ],
)
def test_a_command_ends_with_a_status_and_at_most_a_line(capsys, command, status, line):
    assert cli.run("tlee-run", command) == status
    assert capsys.readouterr() == ("", line)


def test_an_error_of_ours_that_is_a_bug_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        cli.run("tlee-run", lambda arguments: 1 // 0)


@pytest.mark.parametrize("module", ["tlee.export.cli", "tlee.training.cli", "tlee.runtime.cli", "tlee.info"])
def test_help_needs_no_heavy_library(module):
    code = f"import sys; sys.modules['torch'] = None; import {module} as m; m.command(['--help'])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0 and run.stdout.startswith("usage: tlee-"), run.stderr


def test_a_missing_library_is_one_line():
    code = (
        "import sys; sys.modules['torch'] = None; import tlee.export.cli as m; "
        "sys.argv[1:] = ['a.safetensors', '-o', 'a.tlee']; m.main()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr == "tlee-export: torch: not installed; pip install '.[workstation]' in tlee's folder\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "memory: there is not enough"),
        (OSError(24, "Too many open files", "a.mp4"), "a.mp4: Too many open files; let this process open more files"),
        (OSError(28, "No space left on device"), "system: No space left on device; make room"),
        (BlockingIOError(11, "Resource temporarily unavailable"), "let this user start more processes"),
        (RuntimeError("can't start new thread"), "system: no new thread; let this user start more"),
    ],
)
def test_what_the_system_does_not_give_is_a_line(capsys, error, said):
    assert cli.run("tlee-run", raising(error)) == 2
    line = capsys.readouterr().err
    assert line.startswith("tlee-run: ") and said in line and line.count("\n") == 1


def test_names_are_shown_and_not_obeyed(capsys):
    cli.run("tlee-run", raising(InputError("a\x1b[2J\nb\u202e.mp4", "is \x07 broken", "mend it")))
    assert capsys.readouterr().err == "tlee-run: a\\x1b[2J\\nb\\u202e.mp4: is \\x07 broken; mend it\n"
    assert cli.table([["name"], ["a\x1b[2J\nb"]]) == ["name", "a\\x1b[2J\\nb"]


def test_a_line_is_no_longer_than_people_read():
    assert len(str(InputError("a.mp4", "x" * 100000, "mend it"))) < 1100


MAIN = "import sys; from tlee import cli; cli.main('tlee-run', lambda arguments: {})"


def main(body, redirection="", **keywords):
    """A command as a process of a shell's, with its output redirected."""
    script = f'exec "$0" -c "$1" {redirection}'
    command = ["bash", "-c", script, sys.executable, MAIN.format(body)]
    return subprocess.run(command, capture_output=True, text=True, **keywords)


@pytest.mark.parametrize(
    ("redirection", "said"),
    [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor"), ("<&- >&-", "Bad file descriptor")],
)
@pytest.mark.parametrize("body", ["print('x')", "print('x', flush=True)", "print('x' * 100000)"])
def test_output_that_cannot_be_written_is_a_line(redirection, said, body):
    ended = main(body, redirection)
    line = f"tlee-run: standard output: cannot be written ({said}); give it room, or another place\n"
    assert (ended.returncode, ended.stderr) == (1, line)


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path):
    ended = main(f"print(open('{tmp_path}/a', 'w').fileno(), file=sys.stderr)", ">&- <&-")
    assert int(ended.stderr.splitlines()[0]) > 2
    assert main("1 // 1", ">&- 2>&- <&-").returncode == 1


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    body = f"[print(i) for i in range(100000)] and open('{tmp_path}/a', 'w').close()"
    ended = main(body, "| head -n 1")
    assert (ended.stdout, ended.stderr) == ("0\n", "") and (tmp_path / "a").exists()  # the work was done to the end


def test_standard_error_that_cannot_be_written_changes_nothing():
    for place in ("2>/dev/full", "2>&-"):
        assert main("cli.report('tlee-run', 'x') or print(1)", place).stdout == "1\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("body", ["signal.pause()", "converts()"])
def test_a_request_to_end_ends_in_a_line(number, body):
    """Also where a library makes another error of the interruption, as those do that are being imported."""
    code = (
        "import signal, sys\nfrom tlee import cli\n"
        "def converts():\n    try: signal.pause()\n    except BaseException: raise ImportError('numpy')\n"
        f"cli.main('tlee-run', lambda arguments: print('ready', flush=True) or {body})"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.communicate()[1] == "tlee-run: interrupted\n" and process.returncode == 130


def test_a_signal_that_the_caller_ignores_stays_ignored():
    code = "import os, signal; os.kill(os.getpid(), signal.SIGHUP)"
    ended = main(f"exec('{code}')", "", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert (ended.returncode, ended.stderr) == (0, "")


def test_an_interruption_while_the_first_library_loads_is_a_line(tmp_path):
    (tmp_path / "numpy.py").write_text("print('ready', flush=True)\nimport signal\nsignal.pause()\n")
    code = "import sys; sys.argv[0] = 'bin/tlee-run'; from tlee.commands import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, text=True, **pipes)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1] == "tlee-run: interrupted\n" and process.returncode == 130


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("redirection", ["", "2>&-"])
def test_an_interruption_before_anything_has_loaded_is_a_line(number, redirection):
    code = (
        "import os, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == 'tlee.cli': os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Finder())\n"
        "sys.argv[0] = 'bin/tlee-run'; from tlee.commands import main; main()"
    )
    command = ["bash", "-c", f'exec "$0" -c "$1" {redirection}', sys.executable, code]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (130, "" if redirection else "tlee-run: interrupted\n")


@pytest.mark.parametrize(("module", "content"), [("cli", b""), ("info", b"\xe3")])
def test_a_compiled_module_that_breaks_off_is_a_line(module, content, tmp_path, monkeypatch):
    source = Path(cli.__file__).with_name(module + ".py")
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path))
    compiled = Path(importlib.util.cache_from_source(source))
    compiled.parent.mkdir(parents=True)
    state = source.stat()
    head = struct.pack("<4sIII", importlib.util.MAGIC_NUMBER, 0, int(state.st_mtime), state.st_size)
    compiled.write_bytes(head + content)
    code = "import sys; sys.argv[0] = 'bin/tlee-info'; from tlee.commands import main; main()"
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1
    assert ended.stderr.startswith(f"tlee-info: {compiled}: a compiled module that breaks off")


def test_whatever_a_library_makes_of_an_interrupt_it_is_told_as_one(capsys, monkeypatch):
    monkeypatch.setattr(cli.process, "interrupted", [2])
    for error in (InputError("a", "b", "c"), ImportError(), RuntimeError()):
        assert cli.run("tlee-run", raising(error)) == 130
        assert capsys.readouterr().err == "tlee-run: interrupted\n"


@pytest.mark.parametrize("said", ["libx.so: failed to map segment from shared object", "caught: std::bad_alloc"])
def test_a_library_for_which_memory_lacks_is_no_missing_one(said, capsys):
    assert cli.run("tlee-run", raising(not_imported("X", "x", ImportError(said), "install it"))) == 2
    assert "not enough memory to import it" in capsys.readouterr().err
    assert cli.run("tlee-run", raising(ImportError(said))) == 2
    assert "memory: there is not enough" in capsys.readouterr().err


def test_what_is_printed_is_not_obeyed(capsys):
    cli.show(*["a\x1b[2J", "b\nc"])
    cli.print_json({"ö": ["\u009b2J", "\x1b", "d\u2028e"]})
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert lines[:2] == ["a\\x1b[2J", "b\\nc"]
    assert "ö" in said and json.loads("\n".join(lines[2:])) == {"ö": ["\u009b2J", "\x1b", "d\u2028e"]}
    assert not set(said) & set("\x1b\u009b\u2028")
