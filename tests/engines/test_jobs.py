import pytest
from helpers.boards import NANO, ORIN, RTX

from tlee.bundle import SEPARATE, Bundle
from tlee.engines.jobs import CACHES, Request, plan
from tlee.errors import UsageError


@pytest.fixture(scope="module")
def bundle(exported):
    return Bundle.open(exported)


def jobs(bundle, machine, **request):
    return {job.graph: job for job in plan(bundle, machine, Request(**request))}


def test_splits_and_exits_are_built_in_the_order_of_the_chain(bundle):
    assert list(jobs(bundle, NANO)) == ["split0", "split1", "exit0", "exit1"]


def test_on_request_every_segment_is_built_for_itself(bundle):
    names = list(jobs(bundle, NANO, exit_graphs=SEPARATE))
    assert names[:2] == ["split0", "split1"] and set(names) == set(bundle.segments)


def test_fp16_is_a_flag_where_the_release_allows_it_and_delicate_parts_stay_in_fp32(bundle):
    found = jobs(bundle, NANO)
    assert found["split0"].source == "segments/split0.onnx" and found["exit0"].source == "fused_exits/exit0.onnx"
    assert all(job.fp16 and not job.int8 for job in found.values())
    assert found["split0"].fp32_layers == () and found["exit1"].fp32_layers == ("frm/", "head/", "gate/")


def test_fp16_is_a_form_where_the_release_reads_precision_from_the_onnx(bundle):
    found = jobs(bundle, RTX)
    assert {job.source for job in found.values()} == {f"variants/fp16/{name}.onnx" for name in found}
    assert not any(job.fp16 or job.fp32_layers for job in found.values())


def test_delicate_segments_are_built_in_fp32_whatever_was_asked_for(bundle):
    found = jobs(bundle, ORIN, precision="int8", exit_graphs=SEPARATE)
    for name in ("frm", "head", "gate"):
        assert (found[name].precision, found[name].fp16, found[name].int8) == ("fp32", False, False)


def test_int8_is_built_from_the_forms_of_calibration_with_fp16_for_the_rest(bundle):
    found = jobs(bundle, ORIN, precision="int8")
    assert found["split0"].source == "variants/int8/split0.onnx" and found["exit0"].source == "variants/int8/exit0.onnx"
    assert all(
        found[name].int8 and found[name].fp16 and not found[name].cache for name in ("split0", "split1", "exit0")
    )
    assert found["exit1"].precision == "fp16"  # there is nothing but pooling in this tail
    typed = jobs(bundle, RTX, precision="int8")
    assert typed["split0"].source == "variants/int8/split0.onnx" and not typed["split0"].int8


def test_int8_can_be_built_from_calibration_caches(bundle):
    split = jobs(bundle, ORIN, precision="int8", int8_from=CACHES)["split0"]
    assert (split.source, split.cache) == ("segments/split0.onnx", "calibration/int8/split0.cache")


def test_what_calibration_kept_out_of_int8_is_built_in_fp16(bundle):
    int8 = {**bundle.manifest["variants"]["int8"], "excluded": ["split0"]}
    kept = Bundle(bundle.path, {**bundle.manifest, "variants": {**bundle.manifest["variants"], "int8": int8}})
    for machine, source in ((ORIN, "segments/split0.onnx"), (RTX, "variants/fp16/split0.onnx")):
        found = jobs(kept, machine, precision="int8")
        assert (found["split0"].precision, found["split0"].source) == ("fp16", source)
        assert found["split1"].precision == "int8"


def test_one_graph_can_have_another_precision(bundle):
    found = jobs(bundle, NANO, overrides={"split0": "fp32"})
    assert found["split0"].precision == "fp32" and not found["split0"].fp16
    assert found["split1"].precision == "fp16"


def test_int8_on_a_gpu_without_it_is_refused_or_falls_back_when_allowed(bundle):
    with pytest.raises(UsageError, match=r"NVIDIA Tegra X1: .* 5\.3\) has no fast INT8: .* --allow-fallback$"):
        jobs(bundle, NANO, precision="int8")
    found = jobs(bundle, NANO, precision="int8", allow_fallback=True)
    assert {job.precision for job in found.values()} == {"fp16"}
    neither = NANO._replace(fast={"fp16": False, "int8": False})
    found = jobs(bundle, neither, precision="int8", allow_fallback=True)
    assert {job.precision for job in found.values()} == {"fp32"} and not found["exit0"].fp32_layers


def test_forms_that_the_bundle_lacks_are_named_with_what_makes_them(bundle):
    bare = Bundle(bundle.path, {**bundle.manifest, "variants": {}})
    with pytest.raises(UsageError, match="has no int8 variant; make it with tlee-calibrate"):
        jobs(bare, ORIN, precision="int8")
    with pytest.raises(UsageError, match="has no fp16 variant; make it with tlee-export --variants fp16"):
        jobs(bare, RTX)
    assert jobs(bare, NANO)  # flags need none


def test_caches_are_refused_by_releases_that_do_not_calibrate(bundle):
    with pytest.raises(UsageError, match=r"^TensorRT-RTX 1\.7\.1: takes no calibration caches"):
        jobs(bundle, RTX, precision="int8", int8_from=CACHES)


def test_a_graph_that_is_not_there_is_refused_with_those_that_are(bundle):
    with pytest.raises(
        UsageError, match="no graph 'branch0' with fused exits; choose of: split0, split1, exit0, exit1"
    ):
        jobs(bundle, NANO, overrides={"branch0": "fp32"})


def test_a_delicate_segment_cannot_be_given_a_lower_precision(bundle):
    with pytest.raises(UsageError, match="^head: always computes in float32"):
        jobs(bundle, ORIN, exit_graphs=SEPARATE, overrides={"head": "fp16"})


def test_a_dla_builds_what_it_computes_in_and_only_where_there_is_one(bundle):
    found = jobs(bundle, ORIN, dla=1, overrides={"split0": "fp32"})
    assert (found["split1"].dla, found["split0"].dla) == (1, None)
    with pytest.raises(UsageError, match="no DLA core 0: NVIDIA Tegra X1 has 0"):
        jobs(bundle, NANO, dla=0)
    with pytest.raises(UsageError, match="^--dla: a DLA does not take Q/DQ graphs: .*; add --int8-from caches"):
        jobs(bundle, ORIN, dla=0, precision="int8")
    assert jobs(bundle, ORIN, dla=0, precision="int8", int8_from=CACHES)["split0"].dla == 0


def test_a_dla_takes_no_engines_for_several_videos(bundle):
    with pytest.raises(UsageError, match="^--dla: a DLA takes no engines for up to 4 videos at once"):
        jobs(bundle, ORIN, dla=0, batch=4)


@pytest.mark.parametrize(
    "machine, request_",
    [
        (ORIN._replace(tensorrt="TensorRT 10.3.1"), {}),
        (ORIN._replace(gpu="Orin NX"), {}),
        (ORIN._replace(capability="8.6"), {}),
        (ORIN, {"precision": "fp32"}),
        (ORIN, {"precision": "int8"}),
        (ORIN, {"precision": "int8", "int8_from": CACHES}),
        (ORIN, {"dla": 0}),
        (ORIN, {"batch": 4}),
    ],
)
def test_an_engines_name_depends_on_all_that_the_engine_does(bundle, machine, request_):
    assert jobs(bundle, machine, **request_)["exit0"].file != jobs(bundle, ORIN)["exit0"].file


def test_engines_of_tensorrt_rtx_do_not_depend_on_the_gpu(bundle):
    here = RTX._replace(gpu="NVIDIA GeForce RTX 3060", capability="8.6")
    assert jobs(bundle, here)["exit0"].file == jobs(bundle, RTX)["exit0"].file and here.key == RTX.key
