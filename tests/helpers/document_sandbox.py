"""Where a document's steps are taken: a scratch folder per machine, with what the document supposes, and the ways in
which a command is run."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, write_clip
from doubles.environment import environment
from helpers import doctor_boards, install_boards, program_doubles
from helpers.document_inputs import Supposed
from helpers.documents import BOARDS, WORKSTATION, Step

from tlee import cli
from tlee.commands import MODULES

# The double of each board: release of TensorRT, device, CUDA's Python package.
DOUBLES = {"nano": ("8.2", "nano", "pycuda"), "orin": ("10", "orin", "cuda_python")}
# Where programs are that have no stand-in.
PROGRAMS = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
LONGEST = 1200  # seconds
LIVE = ("csi://", "v4l2://", "rtsp://")
SHELL = re.compile(r"[|&;<>$`]")
COMMANDS = {name: MODULES[name] for name in entry_points(group="console_scripts").names if name[:5] == "tlee-"}
# Options that name what a command writes; of any other command, -o.
OUTPUTS = {
    "tlee-bench": {"--json", "--profile"},
    "tlee-run": {"--json"},
    "tlee-report": {"--json", "--page", "--profile"},
}
# What of the checkout is not shared by all scenes, because commands write there.
OWN = ("README.md", "docs", "examples")
LEFT_OUT = (".git", ".venv", "build")


class Scene:
    """Holds the machines' folders while the steps of one document are taken, in order.

    Args:
        root: an empty folder.
        imagenet: folder with ImageNet's weights for torch.hub.
    """

    def __init__(self, root: Path, supposed: Supposed, imagenet: Path) -> None:
        self._root, self._supposed, self._imagenet = root, supposed, imagenet
        self.folders = {name: root / name for name in (WORKSTATION, *BOARDS)}
        self._variables: dict[str, dict[str, str]] = {name: {} for name in self.folders}
        self._made: set[Path] = set()  # what was not there, and is supposed
        checkout(root / WORKSTATION)
        for name in BOARDS:
            (root / name).mkdir()
        self.camera = write_clip(root / "camera.mp4", frames=40)
        (root / "bin").mkdir()
        program = root / "bin" / ".standin"
        program.write_text(f"#!{sys.executable}\n" + Path(program_doubles.__file__).read_text())
        program.chmod(0o755)
        python = root / "bin" / "python3"
        self._installable: dict[str, Path] = {}
        self._looked_at: dict[str, doctor_boards.Tree] = {}
        for name, kind in (("nano", "nano"), ("orin", "orin6")):
            self._installable[name] = install_boards.healthy_board(root / f"{name}-files", kind, str(python)).root
            self._looked_at[name] = getattr(doctor_boards, kind)(root / f"{name}-looked-at")
        for name in program_doubles.PROGRAMS.keys() - program_doubles.AS_ROOT_ONLY:
            (root / "bin" / name).symlink_to(program)

    def variables(self, machine: str) -> dict[str, str]:
        """The environment of a machine's processes."""
        found = dict(os.environ) if machine == WORKSTATION else environment(*DOUBLES[machine])
        found.update(
            PATH=os.pathsep.join([str(self._root / "bin"), PROGRAMS]),
            HOME=str(self._root / machine),
            GIT_DIR=str(ROOT / ".git"),
            TORCH_HOME=str(self._imagenet),
            TLEE_PATH=PROGRAMS,
            TLEE_SCENE=str(self._root),
            TLEE_CHECKOUT=str(ROOT),
            TLEE_MACHINE=machine,
            TLEE_STANDINS=str(self._root / "bin"),
        )
        if machine in BOARDS:
            found["TLEE_INSTALL_ROOT"] = str(self._installable[machine])
        return {**found, **self._variables[machine]}

    def found(self, machine: str) -> Any:
        """What tlee-doctor reads of a board, its login being that of an ordinary user in all groups."""
        return self._looked_at[machine].machine()

    def suppose(self, step: Step, words: list[str], written: list[str]) -> None:
        """Make what a command names and nothing has made."""
        for name in written:
            path = self.folders[step.machine] / name
            if path in self._made:  # only supposed so far: here it is made
                self._made.remove(path)
                remove(path)
        if step.machine in BOARDS and any(word.startswith(("docker/", "install/")) for word in words):
            checkout(self.folders[step.machine])  # the reader is in it
        for given in words:
            word = given.partition("=")[2] or given  # of --set KEY=VALUE
            host, colon, path = word.partition(":")
            home = self.folders[host] if colon and host in self.folders else self.folders[step.machine]
            name = path if home != self.folders[step.machine] else word
            if word not in written:
                made = self._supposed.make(home, name.removeprefix("~/"))
                self._made |= {made} if made else set()

    def command(self, step: Step, text: str, process: bool) -> int:
        """Run a command as it would be typed there. Returns its exit status.

        Args:
            process: whether it must have a process of its own.
        """
        words = split(text)
        written = outputs(words)
        self.suppose(step, words, written)
        status = self._run(step.machine, text, words, process)
        for name in written:
            assert name == "-" or (self.folders[step.machine] / name).exists(), f"{name} was not written"
        return status

    def _run(self, machine: str, text: str, words: list[str], process: bool) -> int:
        program = os.path.basename(words[0])
        if not SHELL.search(text) and not process:
            if program == "cd":
                return self._enter(machine, words[1])
            if program in (".", "source"):
                return self._activate(machine, words[1])
            if program in COMMANDS:
                self._check_program(machine, words[0])
                return in_process(program, self._expanded(machine, words[1:]))
            if program in ("python", "python3") and words[1:3] not in (["-m", "venv"], ["-m", "pip"]):
                return python(self._expanded(machine, words[1:]))
        command = ["bash", "-ec", text]
        place = {"cwd": self.folders[machine], "env": self.variables(machine)}
        shell = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True, **place)
        try:
            shell.communicate(b"y\n", LONGEST)  # to whoever asks
            return shell.returncode
        finally:  # with whatever it has started
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)

    def _enter(self, machine: str, folder: str) -> int:
        path = self.folders[machine] / os.path.expanduser(folder)
        if folder.rstrip("/") in ("tlee", "~/tlee") and not path.exists():
            checkout(path)
        self.folders[machine] = path.resolve(strict=True)
        return 0

    def _activate(self, machine: str, script: str) -> int:
        """Of a virtual environment; from then on its programs are found first."""
        path = (self.folders[machine] / os.path.expanduser(script)).resolve()
        assert path.name == "activate" and path.exists(), f"{script}: no virtual environment there"
        found = self.variables(machine)["PATH"]
        self._variables[machine]["PATH"] = found.replace(os.pathsep, f"{os.pathsep}{path.parent}{os.pathsep}", 1)
        return 0

    def _check_program(self, machine: str, word: str) -> None:
        if "/" in word:
            assert (self.folders[machine] / os.path.expanduser(word)).exists(), f"{word}: not installed"

    def _expanded(self, machine: str, words: list[str]) -> list[str]:
        """As a shell does with ~ and *."""
        found: list[str] = []
        for word in map(os.path.expanduser, words):
            names = sorted(map(str, self.folders[machine].glob(word))) if "*" in word and word[0] != "/" else []
            found += [os.path.relpath(name, self.folders[machine]) for name in names] or [word]
        return found


def checkout(folder: Path) -> None:
    """The project as a reader has it, shared where nothing writes."""
    folder.mkdir(exist_ok=True)
    for path in ROOT.iterdir():
        if path.name in LEFT_OUT or path.name.endswith((".egg-info", "_cache")) or (folder / path.name).exists():
            continue
        if path.name in OWN:
            (shutil.copytree if path.is_dir() else shutil.copy)(path, folder / path.name)
        else:
            (folder / path.name).symlink_to(path)


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def split(text: str) -> list[str]:
    """Words of a command line, without what joins commands."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    return [word for word in lexer if not SHELL.match(word)]


def outputs(words: list[str]) -> list[str]:
    """What a command line says that it writes."""
    names = OUTPUTS.get(os.path.basename(words[0]), {"-o"})
    return [value for option, value in zip(words, words[1:]) if option in names]


def in_process(program: str, arguments: list[str]) -> int:
    """A tlee command here: a process of its own takes seconds to start."""
    module = importlib.import_module(COMMANDS[program])
    try:
        return cli.run(program, module.command, arguments)
    except SystemExit as left:  # argparse
        return left.code if isinstance(left.code, int) else 2


def python(arguments: list[str]) -> int:
    """A script or, with -m, a module."""
    with pytest.MonkeyPatch.context() as patch:
        try:
            if arguments[0] == "-m":
                patch.setattr(sys, "argv", arguments[1:])
                runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
            else:
                patch.setattr(sys, "argv", arguments)
                patch.syspath_prepend(str(Path(arguments[0]).absolute().parent))
                runpy.run_path(str(Path(arguments[0]).absolute()), run_name="__main__")
        except SystemExit as left:
            return left.code if isinstance(left.code, int) else int(left.code is not None)
    return 0


@contextlib.contextmanager
def entered(scene: Scene, machine: str) -> Iterator[None]:
    """This process is on the machine: its folder, its environment, and a video in place of any camera."""
    from tlee.runtime import live

    clip = scene.camera
    opened = live.capture_target
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "capture_target", lambda at: (str(clip), False) if at.startswith(LIVE) else opened(at))
        if machine in BOARDS:
            patch.setattr("tlee.doctor.cli.read", lambda root, bundle: scene.found(machine))
        for name, value in scene.variables(machine).items():
            patch.setenv(name, value)
        patch.chdir(scene.folders[machine])
        yield
