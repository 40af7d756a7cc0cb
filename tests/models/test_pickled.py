"""PyTorch's own files: their tensors are read; nothing else is, and nothing that they only claim."""

import argparse
import io
import os
import zipfile

import numpy as np
import pytest
import torch

from tlee.errors import CheckpointError
from tlee.models.tensors import read_state

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.steps": torch.tensor(3)}
NUMPY = {"best": np.float64(0.5), "epoch": np.int64(3), "losses": np.ones((2, 3), np.float32), "best1": np.bool_(True)}
FORMS = [{}, {"_use_new_zipfile_serialization": False}]


def saved(path, content, **form):
    torch.save(content, path, **form)
    return path


def refused(path):
    with pytest.raises(CheckpointError) as error:
        read_state(path)
    line = str(error.value)
    assert line.startswith(f"{path}: ") and "\n" not in line and "\x1b" not in line and len(line) < 400
    return line


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("content", [STATE, {"state_dict": STATE}, {"state_dict": STATE, **NUMPY, "name": "x"}])
def test_the_state_is_read_whatever_plain_lies_beside_it(tmp_path, content, form):
    found = read_state(saved(tmp_path / "a.pth.tar", content, **form))
    assert set(found) == set(STATE) and all(torch.equal(found[name], STATE[name]) for name in STATE)


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


@pytest.mark.parametrize("form", FORMS)
def test_other_objects_are_named_and_never_made(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    line = refused(saved(tmp_path / "a.pth.tar", {"state_dict": STATE, "args": argparse.Namespace(lr=1)}, **form))
    assert "(argparse.Namespace), which are not read; if you trust it, save its tensors alone: python -c" in line
    assert "posix.mkdir" in refused(saved(tmp_path / "b.pth.tar", {"state_dict": STATE, "x": Trap()}, **form))
    assert not (tmp_path / "sprung").exists()


def test_what_is_no_checkpoint_says_what_is_wrong(tmp_path):
    for name, content in (("text", b"epoch 1: loss 3\n"), ("e", b"e"), ("noise", bytes(range(255, 0, -1)))):
        (tmp_path / name).write_bytes(content)
        assert "not a checkpoint of PyTorch" in refused(tmp_path / name)
    (tmp_path / "empty").write_bytes(b"")
    assert "the file is empty" in refused(tmp_path / "empty")
    assert "a folder, not a file" in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "not a plain file" in refused(tmp_path / "pipe")


@pytest.mark.parametrize("content", [{1: torch.ones(2)}, {"a": torch.ones(2).to_sparse()}, {"a": 3}, {}, [STATE], 3])
def test_a_file_without_named_tensors_is_refused(tmp_path, content):
    assert "no state_dict of tensors inside" in refused(saved(tmp_path / "a.pth", content))


def test_a_compressed_archive_is_refused_before_it_inflates(tmp_path):
    with zipfile.ZipFile(saved(tmp_path / "a.pth", STATE)) as good:
        contents = {name: good.read(name) for name in good.namelist()}
    with zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as bomb:
        for name, content in contents.items():
            bomb.writestr(name, content if name.endswith("pkl") else bytes(1 << 20))
    assert "its parts are compressed" in refused(tmp_path / "b.pth")


def test_a_large_file_that_is_none_is_refused_unread(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"PK\x03\x04")
    os.truncate(tmp_path / "a.pth", 40 << 30)
    assert "42,949,672,960 bytes, more than" in refused(tmp_path / "a.pth")


@pytest.mark.parametrize("form", FORMS)
def test_a_storage_that_claims_a_terabyte_is_refused(tmp_path, form):
    stream = io.BytesIO()
    torch.save({"a": torch.ones(7 << 8)}, stream, **form)
    claimed = stream.getvalue().replace(b"M\x00\x07", b"\x8a\x06\x00\x00\x00\x00\x00\x01", 1)  # LONG1 for BININT2
    assert claimed != stream.getvalue()
    (tmp_path / "a.pth").write_bytes(claimed)
    refused(tmp_path / "a.pth")
