"""tlee-build on boards: whole builds with each release of TensorRT, on doubles of their Python interfaces."""

import re
import shutil

import pytest
from helpers.boards import ENGINES, NANO_KEY, record, table, tlee_build

from tlee.bundle import Bundle
from tlee.engines.store import EngineStore


@pytest.mark.parametrize(
    "release, device, cuda, options, precisions",
    [
        pytest.param(
            *("8.6", "orin", "cuda_python", ["--precision", "int8"], ["int8", "int8", "int8", "fp16"]),
            marks=pytest.mark.full,
        ),
        pytest.param(
            "8.6",
            "orin",
            "pycuda",
            ["--precision", "int8", "--int8-from", "caches", "--dla", "0"],
            ["int8", "int8", "int8", "fp16"],
            marks=pytest.mark.full,
        ),
        (
            "10",
            "orin",
            "cuda_python",
            ["--precision", "int8", "--segment", "split0=fp16"],
            ["fp16", *["int8"] * 2, "fp16"],
        ),
        pytest.param("10", "desktop", "pycuda", ["--precision", "fp32"], ["fp32"] * 4, marks=pytest.mark.full),
    ],
    ids=["orin-8.6-int8", "orin-8.6-int8-caches-dla", "orin-10-int8", "desktop-10-fp32"],
)
def test_every_engine_is_built_checked_and_ready(board, release, device, cuda, options, precisions):
    result = tlee_build(board, *options, release=release, device=device, cuda=cuda, apart=True)
    assert (result.returncode, result.stderr) == (0, "")
    found = table(result)
    assert [found[name][0] for name in ENGINES] == precisions
    assert [found[name][-1] for name in ENGINES] == ["ready"] * 4
    for entry in record(board).values():
        assert all(value <= entry["check"]["tolerance"] for value in entry["check"]["differences"].values())


def test_on_a_nano_engines_are_built_in_fp16_with_delicate_layers_in_fp32(built):
    engines = record(built)
    assert sorted(engines) == sorted(ENGINES) and {e["identity"]["precision"] for e in engines.values()} == {"fp16"}
    split, exit = ({layer["name"]: layer["precision"] for layer in engines[n]["layers"]} for n in ("split0", "exit0"))
    assert "fp16" in split.values()
    delicate = {name: p for name, p in exit.items() if re.match("(head|gate|frm)/", name)}
    assert set(delicate.values()) == {"fp32"} and "fp16" in {p for name, p in exit.items() if name not in delicate}
    assert engines["split0"]["check"]["passed"] and engines["split0"]["workspace"] >= 32 << 20


@pytest.mark.parametrize(
    "release, device, options",
    [
        ("8.2", "nano", []),
        pytest.param("8.6", "orin", ["--precision", "int8", "--int8-from", "caches"], marks=pytest.mark.full),
        pytest.param("10", "orin", ["--precision", "int8", "--exit-graphs", "separate"], marks=pytest.mark.full),
    ],
    ids=["nano", "orin-8.6-int8-caches", "orin-10-int8"],
)
def test_engines_for_several_videos_are_built_and_answer_in_every_place(board, release, device, options):
    result = tlee_build(board, "--batch", 3, *options, release=release, device=device)
    assert (result.returncode, result.stderr) == (0, "")
    assert {cells[-1] for cells in table(result).values()} == {"ready"}
    assert {entry["identity"]["batch"] for entry in record(board).values()} == {3}
    assert "up to 3 videos" in tlee_build(board, "--list", release=release, device=device).stdout


def test_what_is_there_is_not_built_again(nano):
    result = tlee_build(nano)
    assert (result.returncode, result.stderr) == (0, "")
    assert {cells[1] for cells in table(result).values()} == {"before"}


def test_the_runtime_can_read_what_was_built_and_the_bundle_is_still_one(nano):
    Bundle.open(str(nano)).verify()
    store = EngineStore(str(nano / "engines" / NANO_KEY))
    assert [file.split(".")[0] for file in store.active["small"]] == ENGINES
    assert all(len(store.read(file)) == store.entries[file]["bytes"] for file in store.active["small"])


def test_engines_can_be_kept_elsewhere(nano, tmp_path):
    shutil.move(str(nano / "engines"), str(tmp_path / "elsewhere"))
    result = tlee_build(nano, "--engine-dir", tmp_path / "elsewhere")
    assert result.returncode == 0 and {cells[1] for cells in table(result).values()} == {"before"}
    assert not (nano / "engines").exists()


def test_layers_are_printed_on_request(nano):
    result = tlee_build(nano, "--layers")
    assert re.search(r"^exit0 in fp16:$", result.stdout, re.MULTILINE)
    assert re.search(r"^fp32 +SoftMax +head//Softmax$", result.stdout, re.MULTILINE)


def test_tensorrt_rtx_builds_without_a_gpu_and_says_that_nothing_was_checked(board):
    result = tlee_build(board, "--target", "rtx", release=None, cuda=None)
    assert (result.returncode, result.stderr) == (0, "")
    assert {cells[-1] for cells in table(result).values()} == {"not checked"}
    assert "not checked: run the same on the machine with the GPU" in result.stdout


def test_int8_on_a_nano_is_one_line_that_explains(board):
    result = tlee_build(board, "--precision", "int8")
    assert result.returncode == 2 and result.stdout == ""
    assert re.fullmatch(r"tlee-build: NVIDIA Tegra X1: .* has no fast INT8: .*--allow-fallback\n", result.stderr)
    assert not (board / "engines").exists()


@pytest.mark.parametrize(
    "double, line",
    [
        ({"release": None}, "tensorrt: not installed; it comes with JetPack"),
        ({"cuda": None}, "CUDA: neither PyCUDA nor cuda-python is installed; pip install"),
        ({"device": "none"}, "GPU: CUDA finds none"),
        ({"device": "none", "cuda": "cuda_python"}, "GPU: CUDA finds none"),
    ],
    ids=["no TensorRT", "no CUDA", "no GPU by PyCUDA", "no GPU by cuda-python"],
)
def test_what_the_machine_lacks_is_one_line(board, double, line):
    result = tlee_build(board, apart=True, **double)
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and line in result.stderr


def test_engines_are_listed_with_what_can_be_used(nano):
    file = next((nano / "engines" / NANO_KEY).glob("split0.*"))
    file.write_bytes(b"x" * file.stat().st_size)
    listed = tlee_build(nano, "--list")
    assert listed.returncode == 0 and len(listed.stdout.splitlines()) == 5
    assert re.search(rf"^{NANO_KEY} +split0 +fp16 +.* MB +altered$", listed.stdout, re.MULTILINE)
    assert listed.stdout.count(" ready, in use\n") == 3


def test_clean_removes_what_cannot_be_used_here_and_nothing_else(nano, built):
    stray, altered = nano / "engines" / NANO_KEY / "old.engine", next((nano / "engines" / NANO_KEY).glob("split0.*"))
    stray.write_bytes(b"from nowhere")
    altered.write_bytes(b"x")
    another = nano / "engines" / NANO_KEY.replace("nvidia-tegra-x1", "another")
    shutil.copytree(built / "engines" / NANO_KEY, another)  # the record is for the first device
    cleaned = tlee_build(nano, "--clean")
    assert cleaned.returncode == 0 and cleaned.stderr == ""
    assert cleaned.stdout.count("removed ") == 8 and cleaned.stdout.count(", or damaged\n") == 6
    kept = {path.name.split(".")[0] for path in nano.glob("engines/*/*.engine")}
    assert kept == {"split1", "exit0", "exit1"} and len(list(nano.glob("engines/*/*.engine"))) == 3
    assert list(another.iterdir()) == [] and {cells[1] for cells in table(tlee_build(nano)).values()} != {"before"}


def test_without_tensorrt_engines_are_listed_and_those_of_other_devices_left(nano):
    listed = tlee_build(nano, "--list", release=None)
    assert listed.returncode == 0 and listed.stdout.count(" ready, in use\n") == 4
    cleaned = tlee_build(nano, "--clean", release=None)
    assert cleaned.returncode == 0 and cleaned.stdout == "" and len(list(nano.glob("engines/*/*.engine"))) == 4


def test_engines_of_another_export_are_named_not_used_and_cleaned(nano, exported):
    other = Bundle.open(str(nano))
    store = EngineStore(str(nano / "engines" / NANO_KEY))
    (old,) = [file for file in store.entries if file.startswith("split0")]
    store.entries[old]["identity"]["source"] = "0" * 64
    store.activate("small", store.active["small"])
    result = tlee_build(other.path, fault="none:x0")
    assert re.search(rf"{re.escape(old)}: .*; built again", result.stderr) and result.returncode == 1
    assert "of another export or calibration" in tlee_build(nano, "--list").stdout
