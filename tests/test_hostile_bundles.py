"""A bundle that means harm is refused in one line by every command that opens bundles, before anything of it runs."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tlee import cli
from tlee.commands import MODULES
from tlee.files import sha256
from tlee.manifest import MANIFEST

COMMANDS = {  # with the bundle's name first among the arguments that are missing here
    "tlee-info": [],
    "tlee-run": ["clip"],
    "tlee-build": [],
    "tlee-bench": ["clip"],
    "tlee-doctor": [],
    "tlee-eval": ["--data", "data"],
    "tlee-tune": ["--data", "data"],
    "tlee-calibrate": ["--data", "data"],
}


def manifest(bundle, change):
    content = json.loads((bundle / MANIFEST).read_text())
    change(content)
    (bundle / MANIFEST).write_text(json.dumps(content))


def graph(bundle, change, name="segments/head.onnx"):
    """Changes a graph; the manifest says what it has become, as whoever writes a bundle can."""
    model = onnx.load(bundle / name)
    change(model.graph)
    content = model.SerializeToString()
    (bundle / name).write_bytes(content)
    manifest(bundle, lambda m: m["files"].update({name: {"size": len(content), "sha256": sha256(content)}}))


def external(graph):
    """A tensor whose numbers are another file's bytes, to be given out as confidences."""
    tensor = graph.initializer[0]
    size = 4 * int(np.prod(tensor.dims))
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "../../../../etc/passwd"), ("offset", "0"), ("length", str(size))):
        tensor.external_data.add(key=key, value=value)


def endless(graph):
    """Round and round, for ever."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["still"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, [])],
        [value("still", TensorProto.BOOL, [])],
    )
    graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    graph.node.append(helper.make_node("Loop", ["", "yes"], [], body=body))


def doubling(graph):
    last = graph.node[0].output[0]
    for i in range(40):
        graph.node.append(helper.make_node("Concat", [last, last], [f"twice{i}"], axis=1))
        last = f"twice{i}"


def link(bundle):
    (bundle / "a").symlink_to(".")


def foreign(bundle):
    shutil.move(bundle / "segments", bundle / "elsewhere")
    (bundle / "segments").symlink_to("elsewhere")


HOSTILE = {
    "external data": (lambda b: graph(b, external), "lies in another file"),
    "an endless loop": (lambda b: graph(b, endless), "operator 'Loop'|which no bundle may hold|yes"),
    "values that double": (lambda b: graph(b, doubling), "head.onnx"),
    "a form in half precision": (lambda b: graph(b, endless, "variants/fp16/tail.onnx"), "variants/fp16/tail.onnx"),
    "a link to itself": (link, "a: a link"),
    "a linked folder": (foreign, "segments: a link"),
    "branches without end": (lambda b: manifest(b, lambda m: m["model"].update(branches=10**12)), "more than 32"),
    "frames without end": (lambda b: manifest(b, lambda m: m["frames"].update(count=10**15)), "more than"),
    "a huge picture": (lambda b: manifest(b, lambda m: m["frames"].update(resize=10**9, crop=10**9)), "more than"),
    "a label that is obeyed": (lambda b: manifest(b, lambda m: m["model"]["labels"].insert(0, "\x1b[2J")), "control"),
    "a manifest of 40 GB": (lambda b: os.truncate(b / MANIFEST, 40 << 30), "42,949,672,960 bytes"),
    "a graph of 40 GB": (lambda b: os.truncate(b / "segments" / "head.onnx", 40 << 30), "42949672960 bytes"),
    "a pipe": (lambda b: os.mkfifo(b / "pipe"), "not a plain file"),
    "thousands of brackets": (lambda b: (b / MANIFEST).write_text("[" * 10**6), "nested too deeply"),
}


@pytest.fixture
def copy(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "a.tlee", symlinks=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from conftest import write_clip

    folder = tmp_path_factory.mktemp("data")
    for name in ("walk", "run", "jump"):
        (folder / name).mkdir()
        for i in range(2):
            write_clip(folder / name / f"{i}.avi")
    return folder


@pytest.mark.parametrize("program", [p for p in COMMANDS if p != "tlee-doctor"])
@pytest.mark.parametrize("what", HOSTILE)
def test_it_is_refused_in_a_line(copy, data, program, what, capsys):
    harm, words = HOSTILE[what]
    harm(copy)
    before = sorted(os.listdir(copy))
    named = {"clip": str(data / "walk" / "0.avi"), "data": str(data)}
    arguments = [str(copy), *(named.get(word, word) for word in COMMANDS[program])]
    assert cli.run(program, importlib.import_module(MODULES[program]).command, arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert said.err[:-1].isprintable() and said.err.startswith(f"{program}: {copy}")
    with pytest.raises(ValueError, match=words):
        raise ValueError(said.err)
    assert sorted(os.listdir(copy)) == before


@pytest.mark.full
@pytest.mark.parametrize("program", COMMANDS)
@pytest.mark.parametrize("what", ["external data", "a manifest of 40 GB", "values that double", "a graph of 40 GB"])
def test_refusing_takes_little(copy, data, program, what):
    """As a process: memory, and the time of its processor, which no other program takes."""
    HOSTILE[what][0](copy)
    named = {"clip": str(data / "walk" / "0.avi"), "data": str(data)}
    arguments = [str(copy), *(named.get(word, word) for word in COMMANDS[program])]
    code = (
        f"import sys; sys.argv[0] = {program!r}; from tlee.commands import main\n"
        "try: main()\n"
        "finally: import os; os.write(1, open('/proc/self/status', 'rb').read())"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    run = subprocess.Popen([sys.executable, "-c", code, *arguments], text=True, **pipes)
    said, peak = run.stderr.read(), int(re.search(r"VmHWM:\s+(\d+) kB", run.stdout.read())[1])
    _, status, used = os.wait4(run.pid, 0)
    assert os.WEXITSTATUS(status) == 2 and said.count("\n") == 1, said
    assert peak < 500_000
    assert used.ru_utime + used.ru_stime < 2
