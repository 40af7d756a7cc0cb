"""How commands end, and what they say when they fail."""

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
