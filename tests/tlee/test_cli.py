"""How commands end, and what they say when they fail."""

import json
import subprocess
import sys

import pytest

from tlee import cli
from tlee.errors import InputError


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


def test_whatever_a_library_makes_of_an_interrupt_it_is_told_as_one(capsys, monkeypatch):
    monkeypatch.setattr(cli, "_interrupted", [2])
    for error in (InputError("a", "b", "c"), ImportError(), RuntimeError()):
        assert cli.run("tlee-run", raising(error)) == 130
        assert capsys.readouterr().err == "tlee-run: interrupted\n"


def test_a_library_for_which_memory_lacks_is_no_missing_one(capsys):
    error = ImportError("libx.so: failed to map segment from shared object")
    assert cli.run("tlee-run", raising(error)) == 2
    assert "not enough memory to import it" in capsys.readouterr().err


def test_what_is_printed_is_not_obeyed(capsys):
    cli.print_lines(["a\x1b[2J", "b\nc"])
    cli.print_json({"ö": ["\u009b2J", "\x1b", "d\u2028e"]})
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert lines[:2] == ["a\\x1b[2J", "b\\nc"]
    assert "ö" in said and json.loads("\n".join(lines[2:])) == {"ö": ["\u009b2J", "\x1b", "d\u2028e"]}
    assert not set(said) & set("\x1b\u009b\u2028")
