"""What the runtime's tests share: bundles whose answers depend on every frame, and their engines on doubles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import enliven, small_model

from tlee import cli
from tlee.bundle import FUSED, Bundle
from tlee.engines import process, worker
from tlee.engines.builder import Builder
from tlee.engines.planning import BuildOptions
from tlee.export.exporter import export_bundle
from tlee.runtime.cli import PROGRAM, command

TSM = {"backbone": "mobilenetv2_tsm", "width": 0.35, "input_size": 32, "branches": 2, "crm_num": 1, "classes": 3}


@pytest.fixture(scope="session")
def lively(tmp_path_factory, small_checkpoint) -> Bundle:
    """A bundle of three exits with a gate, for four frames of 32 pixels."""
    path = tmp_path_factory.mktemp("lively") / "small.tlee"
    return export_bundle(enliven(small_model()), path, small_checkpoint, verified=False)


@pytest.fixture(scope="session")
def shifted(tmp_path_factory, small_checkpoint) -> Bundle:
    """The same with temporal shift, and thus with splits that have a state."""
    path = tmp_path_factory.mktemp("shifted") / "small.tlee"
    return export_bundle(enliven(small_model(model=TSM)), path, small_checkpoint, verified=False)


@pytest.fixture(scope="session")
def engine_folders(tmp_path_factory):
    """Where engines of a kind are, which are built once."""
    folders: dict[tuple, Path] = {}
    return lambda *kind: folders.setdefault(kind, tmp_path_factory.mktemp("engines") / "engines")


@pytest.fixture
def engines(load, engine_folders, monkeypatch):
    """Loads doubles and, within this process, builds a bundle's engines on them: the fake device, and their folder."""
    monkeypatch.setattr(process, "run", lambda action, folder, request, *_: worker.ACTIONS[action](folder, request))

    def make(bundle, release="8.2", device="nano", cuda="pycuda", exit_graphs=FUSED, batch=1, fault=None, **changes):
        folder = engine_folders(bundle.path, release, device, exit_graphs, batch, fault)
        if not folder.exists():
            load(release, device, cuda, fault)
            said: list[str] = []
            Builder(bundle, str(folder), "tensorrt", None, said.append).build(
                BuildOptions("fp32", exit_graphs=exit_graphs, batch=batch)
            )
            assert said == []
        load(release, device, cuda, **changes)
        return SimpleNamespace(device=sys.modules["cuda_double.device"].DEVICE, folder=str(folder))

    return make


@pytest.fixture
def tlee_run(capsys):
    """The command in this process: a process of its own takes longer to start than to recognise a clip."""

    def run(*arguments) -> subprocess.CompletedProcess:
        capsys.readouterr()
        try:
            status = cli.run(PROGRAM, command, list(map(str, arguments)))
        except SystemExit as left:  # argparse
            status = left.code
        return subprocess.CompletedProcess(arguments, status, *capsys.readouterr())

    return run
