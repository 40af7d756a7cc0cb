#!/usr/bin/env bash
# The device side on Python 3.6 with the oldest NumPy, OpenCV and ONNX Runtime that setup.py admits and that have wheels for it
# (ONNX Runtime 1.10 asks for NumPy 1.16.6), its answers beside this machine's; then, without ONNX Runtime, on JetPack 4.6's
# NumPy 1.13.3. TensorRT's doubles need a newer Python.
# tests/python36/run.sh PYTHON36 BIN: BIN is of a virtual environment where tlee is installed for the workstation.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON36=${1:?a Python 3.6} HOST=${2:?the folder bin of a virtual environment}
"$PYTHON36" -c 'import sys; exit(sys.version_info[:2] != (3, 6))' ||
    { echo "test-device: $PYTHON36: no Python 3.6; make test-device PYTHON36=/path/to/python3.6" >&2; exit 1; }

PINS="opencv-python-headless==4.1.0.25 pytest==7.0.1"
# Tests of parts that need neither ONNX Runtime nor a bundle, and are written so that Python 3.6 and NumPy 1.13 can run them.
TESTS=(tests/tlee/test_{calibration_cache,costs,files,frames,inference,policy}.py tests/engines/test_{memory,store}.py)
TESTS+=(tests/benchmarks/development/test_timing.py tests/power/test_{rapl,recorder,sources}.py)
TESTS+=(--deselect tests/tlee/test_frames.py::test_a_frame_of_the_right_size_is_not_touched)
# Bundle and clips of `make demo`.
BUNDLE=build/digits.tlee CLIPS=(examples/clips/*.mp4)

environment() { # NAME REQUIREMENT...: build/NAME, with these and tlee
    local place=build/$1
    shift
    "$PYTHON36" -m venv "$place"
    "$place/bin/pip" install -q --upgrade "pip<22"
    # shellcheck disable=SC2086 # pins, as many as there are
    "$place/bin/pip" install -q --only-binary=:all: "$@" $PINS
    "$place/bin/pip" install -q --no-deps .
}

export TLEE_ENGINE_KEY=$PWD/build/engine.key # not that of whoever runs this

unit_tests() { # BIN
    "$1/python" -m pytest -c /dev/null --rootdir . --noconftest --import-mode=importlib -p no:cacheprovider -q "${TESTS[@]}"
}

"$HOST/tlee-export" examples/digits.safetensors -o $BUNDLE --replace
rm -rf build/lib build/python36 build/python36-numpy1.13
environment python36 numpy==1.16.6 onnxruntime==1.10.0
environment python36-numpy1.13 numpy==1.13.3

bin=build/python36/bin
unit_tests $bin
$bin/tlee-info $BUNDLE
$bin/tlee-doctor $BUNDLE
for options in "" --no-early-exit "--batch 4"; do
    # shellcheck disable=SC2086
    {
        "$HOST/tlee-run" $BUNDLE "${CLIPS[@]}" --backend cpu --json build/here.jsonl $options >build/here.log
        $bin/tlee-run $BUNDLE "${CLIPS[@]}" --backend cpu --json build/there.jsonl $options
    }
    "$HOST/python" tests/arm64/check.py compare build/here.jsonl build/there.jsonl 1e-4
done
$bin/tlee-bench $BUNDLE "${CLIPS[@]}" --rounds 3 --block 0.3 --cold 1 --sustained 1 --json build/old.json
"$HOST/tlee-report" build/old.json

bin=build/python36-numpy1.13/bin
unit_tests $bin
$bin/tlee-info $BUNDLE
status=0
$bin/tlee-doctor $BUNDLE || status=$?
[ $status = 1 ] || { echo "test-device: tlee-doctor should miss ONNX Runtime" >&2; exit 1; }
said=$($bin/tlee-run $BUNDLE examples/clips/digit0*.mp4 2>&1) || true
grep "ONNX Runtime: not installed" <<<"$said"
echo "test-device: passed in $SECONDS s"
