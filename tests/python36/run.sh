#!/usr/bin/env bash
# The device side on Python 3.6 with the oldest NumPy, OpenCV and ONNX Runtime that setup.py admits and that have wheels for it
# (ONNX Runtime 1.10 asks for NumPy 1.16.6), its answers beside this machine's; then, without ONNX Runtime, on JetPack 4.6's
# NumPy 1.13.3. TensorRT's doubles need a newer Python.
# tests/python36/run.sh BIN: in an Ubuntu 18.04, whose Python, NumPy and GStreamer are JetPack 4.6's; needs root and debootstrap.
# tests/python36/run.sh BIN PYTHON36: on this Python 3.6, without root and without video files, for which it has no reader.
# BIN is of a virtual environment where tlee is installed for the workstation.
set -euo pipefail
cd "$(dirname "$0")/../.."
HOST=${1:?the folder bin of a virtual environment} PYTHON36=${2:-} ROOT=$PWD/build/bionic

PINS="opencv-python-headless==4.1.0.25 pytest==7.0.1"
# Tests of parts that need neither ONNX Runtime nor a bundle, and are written so that Python 3.6 and NumPy 1.13 can run them.
TESTS=(tests/tlee/test_{calibration_cache,costs,files,frames,inference,policy}.py tests/engines/test_{memory,store}.py)
TESTS+=(tests/benchmarks/development/test_timing.py tests/power/test_{rapl,recorder,sources}.py)
# Bundle and clips of `make demo`, and the clips as folders of pictures.
BUNDLE=build/digits.tlee CLIPS=(examples/clips/*.mp4) PICTURES=build/python36-pictures VIDEOS=build/python36-videos
PLAIN=1e-4 # of confidences, of pictures, which are the same pixels everywhere
CODED=2e-1 # of confidences, of videos, whose colours GStreamer rounds otherwise than FFmpeg; seen: 0.1

die() {
    echo "test-device: $*" >&2
    exit 1
}

ubuntu() { # this folder in an Ubuntu 18.04, by the same name, in mounts of its own, which end with this process
    if [ "$(id -u)" != 0 ] || ! command -v debootstrap >/dev/null; then
        die "needs root and debootstrap; without them, and without videos: make test-device PYTHON36=/path/to/python3.6"
    fi
    [ "${TLEE_OWN_MOUNTS:-}" ] || TLEE_OWN_MOUNTS=yes exec unshare --mount tests/python36/run.sh "$HOST"
    tests/python36/bionic.sh "$ROOT"
    mkdir -p "$ROOT$PWD"
    mount --bind "$PWD" "$ROOT$PWD"
    mount -t proc proc "$ROOT/proc"
    PYTHON36=python3
}

there() { # COMMAND...
    if [ -n "$chrooted" ]; then
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TLEE_ENGINE_KEY="$TLEE_ENGINE_KEY" \
            PIP_INDEX_URL=https://pypi.org/simple PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
            ${https_proxy:+https_proxy="$https_proxy"} chroot "$ROOT" env -C "$PWD" "$@"
    else
        "$@"
    fi
}

environment() { # NAME REQUIREMENT...: build/NAME, with these and tlee
    local place=build/$1
    shift
    there "$PYTHON36" -m venv ${chrooted:+--system-site-packages} "$place"
    there "$place/bin/pip" install -q -r install/tools.txt
    # shellcheck disable=SC2086 # pins, as many as there are
    there "$place/bin/pip" install -q --only-binary=:all: "$@" $PINS
    there "$place/bin/pip" install -q --no-deps --no-build-isolation .
}

unit_tests() { # BIN
    there "$1/python" -m pytest -c /dev/null --rootdir . --noconftest --import-mode=importlib -p no:cacheprovider -q "${TESTS[@]}"
}

same() { # TOLERANCE INPUT...: answers here and there
    local tolerance=$1 options
    shift
    for options in "" --no-early-exit "--batch 4"; do
        # shellcheck disable=SC2086
        {
            "$HOST/tlee-run" $BUNDLE "$@" --backend cpu --json build/here.jsonl $options >build/here.log
            there $bin/tlee-run $BUNDLE "$@" --backend cpu --json build/there.jsonl $options
        }
        "$HOST/python" tests/arm64/check.py compare build/here.jsonl build/there.jsonl "$tolerance"
    done
}

export TLEE_ENGINE_KEY=$PWD/build/engine.key # not that of whoever runs this
chrooted=
if [ -z "$PYTHON36" ]; then
    ubuntu
    chrooted=yes
fi
there "$PYTHON36" -c 'import sys; exit(sys.version_info[:2] != (3, 6))' || die "$PYTHON36: no Python 3.6"

"$HOST/tlee-export" examples/digits.safetensors -o $BUNDLE --replace
rm -rf build/lib build/python36 build/python36-numpy1.13 $PICTURES $VIDEOS
"$HOST/python" tests/arm64/check.py pictures $PICTURES $BUNDLE "${CLIPS[@]}"
environment python36 numpy==1.16.6 onnxruntime==1.10.0
environment python36-numpy1.13 numpy==1.13.3

bin=build/python36/bin
unit_tests $bin
there $bin/tlee-info $BUNDLE
inputs=("$PICTURES"/*)
same $PLAIN "${inputs[@]}"
if [ -n "$chrooted" ]; then
    there $bin/tlee-doctor $BUNDLE
    inputs=("${CLIPS[@]}")
    same $CODED "${inputs[@]}"
fi
there $bin/tlee-bench $BUNDLE "${inputs[@]}" --rounds 3 --block 0.3 --cold 1 --sustained 1 --json build/old.json
"$HOST/tlee-report" build/old.json

bin=build/python36-numpy1.13/bin
unit_tests $bin
there $bin/tlee-info $BUNDLE
status=0
there $bin/tlee-doctor $BUNDLE || status=$?
[ $status = 1 ] || die "tlee-doctor should miss ONNX Runtime"
said=$(there $bin/tlee-run $BUNDLE "${inputs[@]}" 2>&1) || true
grep "ONNX Runtime: not installed" <<<"$said"
if [ -n "$chrooted" ]; then
    PYTHONPATH=tests "$HOST/python" tests/python36/videos.py make $VIDEOS
    "$HOST/python" tests/python36/videos.py read $VIDEOS
    there $bin/python tests/python36/videos.py compare $VIDEOS
else
    said=$(there $bin/python -c "from tlee.data.clips import open_clip; open_clip('${CLIPS[0]}')" 2>&1) || true
    grep "UsageError" <<<"$said"
    echo "test-device: without video files: Python 3.6 has no PyAV, and GStreamer is there in make test-device as root"
fi
echo "test-device: passed in $SECONDS s"
