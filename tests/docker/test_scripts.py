"""What starts in the images, run as it is: with stand-ins for the commands, and with the real ones on a CPU."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DOCKER = Path(__file__).parents[2] / "docker"
ENTRYPOINT, HEALTHCHECK = DOCKER / "entrypoint.sh", DOCKER / "healthcheck.sh"


class Container:
    """The folders that an image has, and the commands that a test puts on its PATH; each notes how it was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("bin", "bundle", "engines", "output"):
            (folder / name).mkdir()
        (folder / "bundle/manifest.json").write_text("{}")
        self.state, self.results, self.calls = folder / "state", folder / "output/results.jsonl", folder / "calls"
        self.command("tlee-build")
        self.command("tlee-run", "echo a result")

    def command(self, name: str, does: str = "") -> None:
        path = self.folder / "bin" / name
        path.write_text(f'#!/bin/sh\necho {name} "$@" $(cat "$STATE") >> {self.calls}\n{does}\n')
        path.chmod(0o755)

    def environment(self, **settings: str) -> dict[str, str]:
        places = {
            "BUNDLE_DIR": self.folder / "bundle",
            "ENGINE_DIR": self.folder / "engines",
            "OUTPUT": self.results,
            "STATE": self.state,
            "PATH": f"{self.folder}/bin:/usr/bin:/bin",
        }
        return {**{name: str(place) for name, place in places.items()}, **settings}

    def start(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess:
        command = [str(ENTRYPOINT), *arguments]
        return subprocess.run(command, env=self.environment(**settings), capture_output=True, text=True, timeout=300)

    def healthy(self, **settings: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [str(HEALTHCHECK)], env=self.environment(**settings), capture_output=True, text=True, timeout=300
        )

    def called(self) -> list[str]:
        return [line.replace(str(self.folder), "") for line in self.calls.read_text().splitlines()]

    @property
    def says(self) -> str:
        return self.state.read_text().strip()


@pytest.fixture
def container(tmp_path) -> Container:
    return Container(tmp_path)


def wait_for(condition) -> None:
    limit = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_builds_engines_then_recognises_the_camera(container):
    result = container.start()
    assert result.returncode == 0, result.stderr
    assert container.called() == [
        "tlee-build /bundle --engine-dir /engines --precision fp16 building",
        "tlee-run /bundle csi://0 --json - --engine-dir /engines --backend tensorrt running",
    ]
    assert container.results.read_text() == "a result\n"


def test_settings_reach_both_commands(container):
    settings = {"INPUT": "rtsp://a rtsp://b", "PRECISION": "int8", "BUILD_OPTIONS": "--batch 2"}
    container.start(**settings, RUN_OPTIONS="--batch 2 --point fast")
    build, run = container.called()
    assert build == "tlee-build /bundle --engine-dir /engines --precision int8 --batch 2 building"
    assert run.startswith("tlee-run /bundle rtsp://a rtsp://b --json - ")
    assert run.endswith("--batch 2 --point fast running")


def test_inputs_may_be_a_pattern(container):
    for name in ("a.mp4", "b.mp4"):
        (container.folder / name).touch()
    container.start(INPUT=f"{container.folder}/*.mp4")
    assert container.called()[1].startswith("tlee-run /bundle /a.mp4 /b.mp4 --json")


def test_results_of_an_earlier_start_are_kept(container):
    container.start()
    container.start()
    assert container.results.read_text() == "a result\n" * 2


def test_results_may_go_to_standard_output(container):
    result = container.start(OUTPUT="-")
    assert result.stdout == "a result\n"
    assert not container.results.exists()


def test_without_engines_nothing_is_built(container):
    container.start(ENGINE_DIR="none")
    assert container.called() == ["tlee-run /bundle csi://0 --json - running"]


def test_a_command_of_ones_own_runs_instead(container):
    container.command("tlee-info", "exit 7")
    assert container.start("tlee-info", "/bundle", "two words").returncode == 7
    assert container.called() == ["tlee-info /bundle two words other"]


def test_the_status_is_that_of_recognition(container):
    container.command("tlee-run", "exit 1")
    assert container.start().returncode == 1


@pytest.mark.parametrize("missing", ["bundle", "output", "engines"])
def test_what_is_not_mounted_or_not_writable_is_one_line(container, missing):
    if missing == "bundle":
        (container.folder / "bundle/manifest.json").unlink()
    elif missing == "output":
        container.results.mkdir()
    else:
        (container.folder / "engines").rmdir()
    result = container.start()
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"tlee: {container.folder}/{missing}")
    assert not container.calls.exists()


def test_no_recognition_without_engines(container):
    container.command("tlee-build", "echo tlee-build: split0: why >&2; exit 1")
    result = container.start()
    assert result.returncode == 1
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["tlee-build", "tlee"]
    assert len(container.called()) == 1


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_build_at_once(container, number, status):
    container.command("tlee-build", "exec sleep 600")
    process = subprocess.Popen([str(ENTRYPOINT)], env=container.environment(), stderr=subprocess.PIPE, text=True)
    wait_for(container.calls.exists)
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == status
    assert said.splitlines() == ["tlee: stopped while engines were built; those that are finished are kept"]
    assert len(container.called()) == 1


def test_recognition_is_the_process_that_docker_signals(container):
    container.command("tlee-run", f"echo $$ > {container.folder}/process; exec sleep 600")
    process = subprocess.Popen([str(ENTRYPOINT)], env=container.environment())
    wait_for(lambda: (container.folder / "process").exists() and (container.folder / "process").read_text())
    assert int((container.folder / "process").read_text()) == process.pid
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=300) == -signal.SIGINT


def test_healthy_while_engines_are_built(container):
    container.state.write_text("building\n")
    result = container.healthy()
    assert (result.returncode, result.stdout) == (0, "building\n")


def test_not_healthy_before_anything_started(container):
    assert container.healthy().returncode == 1


def test_healthy_as_long_as_results_come(container):
    container.start()
    assert container.healthy().returncode == 0
    ago = time.time() - 61
    os.utime(container.results, (ago, ago))
    assert container.healthy().returncode == 1
    assert container.healthy(HEALTHY_SECONDS="36000").returncode == 0


def test_a_start_gives_old_results_a_new_chance(container):
    container.start()
    os.utime(container.results, (0, 0))
    container.command("tlee-run")
    container.start()
    assert container.healthy().returncode == 0


def test_results_that_are_gone_are_not_healthy(container):
    container.start()
    container.results.unlink()
    result = container.healthy()
    assert (result.returncode, result.stdout) == (1, f"{container.results}: gone\n")


@pytest.fixture
def real(container, small_bundle) -> Container:
    """The container with the real commands, of this Python."""
    modules = {"run": "tlee.runtime.cli", "info": "tlee.info", "build": "tlee.engines.cli"}
    for name, module in modules.items():
        path = container.folder / f"bin/tlee-{name}"
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
    (container.folder / "bundle/manifest.json").unlink()
    (container.folder / "bundle").rmdir()
    (container.folder / "bundle").symlink_to(small_bundle)
    return container


def test_real_recognition_on_a_cpu(real, clip):
    result = real.start(ENGINE_DIR="none", INPUT=str(clip))
    assert result.returncode == 0, result.stderr
    (line,) = real.results.read_text().splitlines()
    assert json.loads(line)["label"] in ("walk", "run", "jump")
    assert real.healthy().returncode == 0


def test_a_real_camera_writes_as_it_goes_and_stops_cleanly(real, tmp_path):
    """A long film in place of a camera: its first results are there before its end."""
    from conftest import write_clip

    film = write_clip(tmp_path / "film.mp4", frames=3000)
    settings = {"ENGINE_DIR": "none", "INPUT": f"file://{film}", "RUN_OPTIONS": "--seconds 0.4"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([str(ENTRYPOINT)], env=real.environment(**settings), text=True, **pipes)
    fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)  # nobody reads it: it does not come to the film's end
    wait_for(lambda: real.results.exists() and real.results.stat().st_size)
    process.send_signal(signal.SIGSTOP)
    first = real.results.read_text()
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert json.loads(first.splitlines()[0])["label"] in ("walk", "run", "jump")
    assert process.returncode == 130, said
    assert said.splitlines() == ["tlee-run: interrupted"]
    assert all(json.loads(line) for line in real.results.read_text().splitlines())


def test_a_real_build_without_a_gpu_says_so_in_lines(real):
    result = real.start()
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith(f"tlee: {real.folder}/bundle: no engines")
