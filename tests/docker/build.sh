#!/usr/bin/env bash
# Executes the build steps of the Dockerfiles with a real builder, on stand-ins for their bases, and uses what comes out.
# Needs: root, debootstrap, buildah, podman; Debian's, Ubuntu's and Python's registries; 12 GB of disk; a Python with tlee.
#   tests/docker/build.sh [cpu | jetpack4 | jetpack5 | jetpack6]...
# ROOTS=FOLDER keeps the systems that debootstrap makes for the next run.
set -euo pipefail
cd "$(dirname "$0")/../.."
for tool in debootstrap buildah podman; do
    command -v "$tool" > /dev/null || { echo "tests/docker/build.sh: $tool is missing; apt-get install debootstrap buildah podman"; exit 2; }
done
[ "$(id -u)" = 0 ] || { echo "tests/docker/build.sh: needs root, to unpack whole systems; run it with sudo"; exit 2; }

WORK=$(mktemp -d "${TMPDIR:-/tmp}/tlee-docker.XXXXXX")
ROOTS=${ROOTS:-$WORK/roots}
PYTHON=${PYTHON:-python3}
UBUNTU=${UBUNTU:-http://archive.ubuntu.com/ubuntu}
DEBIAN=${DEBIAN:-http://deb.debian.org/debian}
mkdir -p "$ROOTS" "$WORK/out"
# A store of our own, so that nobody's images are touched and one `rm` takes all away.
printf '[storage]\ndriver = "vfs"\ngraphroot = "%s/store"\nrunroot = "%s/run"\n' "$WORK" "$WORK" > "$WORK/storage.conf"
export CONTAINERS_STORAGE_CONF=$WORK/storage.conf BUILDAH_ISOLATION=chroot
trap 'rm -rf "$WORK"' EXIT

say() { printf '%s\n' "$*"; }
die() { say "FAILED: $*"; exit 1; }

system() { # NAME SUITE: a fresh one, and what this machine needs to reach registries
    local root=$ROOTS/$1 suite=$2
    [ -e "$root/made" ] && return
    rm -rf "$root"
    if [ "$suite" = bookworm ]; then
        debootstrap --variant=minbase bookworm "$root" "$DEBIAN" > "$WORK/debootstrap.log" 2>&1 || die "debootstrap, $WORK/debootstrap.log"
    else
        debootstrap --no-check-gpg --variant=minbase "$suite" "$root" "$UBUNTU" > "$WORK/debootstrap.log" 2>&1 || die "debootstrap, $WORK/debootstrap.log"
        for pocket in "" -updates -security; do
            say "deb $UBUNTU $suite$pocket main restricted universe multiverse"
        done > "$root/etc/apt/sources.list"
    fi
    if ls /usr/local/share/ca-certificates/*.crt > /dev/null 2>&1; then
        mkdir -p "$root/usr/local/share/ca-certificates"
        cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/"
        printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' > "$root/etc/pip.conf"
    fi
    touch "$root/made"
}

cuda() { # ROOT PLACE: CUDA's headers and the driver's stub, as Ubuntu has them, where NVIDIA's packages put them
    local root=$ROOTS/$1 place=$ROOTS/$1$2
    [ -e "$place" ] && return
    chroot "$root" sh -ec 'apt-get -qq update; cd /tmp; apt-get -qq download nvidia-cuda-dev; dpkg -x nvidia-cuda-dev_*.deb cuda'
    mkdir -p "$place/lib64/stubs"
    mv "$root/tmp/cuda/usr/include" "$place/include"
    find "$root/tmp/cuda" -name libcuda.so -path '*stubs*' -exec cp {} "$place/lib64/stubs/libcuda.so" \;
    rm -rf "$root"/tmp/* "$root"/var/lib/apt/lists/*
}

opencv() { # ROOT: the OpenCV of JetPack 4.6, which only NVIDIA packages for Ubuntu 18.04
    local place=$ROOTS/$1/usr/lib/python3.6/dist-packages
    [ -e "$place/cv2" ] && return
    mkdir -p "$place"
    "$PYTHON" -m pip download -q --no-deps --only-binary :all: --python-version 3.6 --platform manylinux1_x86_64 \
        -d "$WORK/wheel" opencv-python-headless==4.1.1.26
    "$PYTHON" -m zipfile -e "$WORK"/wheel/*.whl "$place"
}

tensorrt() { # ROOT PYTHON: a module of that name, in place of the one that the base may bring
    mkdir -p "$ROOTS/$1/usr/lib/$2/dist-packages/tensorrt"
    say "# stands in for NVIDIA's" > "$ROOTS/$1/usr/lib/$2/dist-packages/tensorrt/__init__.py"
}

image() { # NAME DOCKERFILE ROOT
    local started=$SECONDS size
    tar -C "$3" -c . | podman import -q - "localhost/base-$1" > /dev/null
    buildah bud --format docker --build-arg "BASE=localhost/base-$1" -f "docker/$2.Dockerfile" -t "tlee-$1" . > "$WORK/$1.log" 2>&1 ||
        { tail -n 30 "$WORK/$1.log"; die "docker/$2.Dockerfile"; }
    buildah from --name "$1" "tlee-$1" > /dev/null
    # In this container alone, not the image: buildah mounts folders of its own there, at times over ours.
    buildah config --volume /bundle- --volume /engines- --volume /key- --volume /output- "$1"
    size=$(du -sm "$(buildah mount "$1")" | cut -f1)
    say "$1: built in $((SECONDS - started)) s; $size MB, of which $(du -sm "$3" | cut -f1) MB are the base"
}

gone() { # NAME
    buildah rm "$1" > /dev/null
    buildah rmi -a -f > /dev/null
}

within() { # NAME [buildah's options] -- COMMAND...
    local name=$1 options=()
    shift
    while [ "$1" != -- ]; do options+=("$1"); shift; done
    buildah run "${options[@]}" -v "$BUNDLE:/bundle:ro" "$name" "$@"
}

told() { # NAME [buildah's options] -- COMMAND...: what it says on both outputs, without what buildah adds of its status
    within "$@" 2>&1 | grep -vE '^(subprocess exited with|Error: exit) status [0-9]+$' || :
}

common() { # NAME: what must hold in every image
    local answer
    answer=$(within "$1" -- id)
    say "$1: $answer"
    case $answer in *"uid=1000(tlee)"*"44(video)"*) ;; *) die "$1: not the user tlee with the group video" ;; esac
    within "$1" -- entrypoint.sh tlee-info /bundle | grep -q "exits" || die "$1: tlee-info"
    [ "$(within "$1" -- healthcheck.sh)" = other ] || die "$1: healthcheck beside a command of one's own"
    answer=$(buildah run "$1" -- entrypoint.sh 2>&1 || :)
    answer=$(say "$answer" | grep -vE 'exit(ed with)? status') # buildah's own
    case $answer in "tlee: /bundle: no bundle"*) ;; *) die "$1: without a bundle: $answer" ;; esac
    [ "$(say "$answer" | wc -l)" = 1 ] || die "$1: without a bundle: $answer"
    # shellcheck disable=SC2016 # for the shell in the image
    buildah run --user root "$1" -- sh -c 'for left in /root/.cache /home/tlee/.cache /var/lib/apt/lists/* /build; do [ ! -e "$left" ] || exit 1; done' 2> /dev/null ||
        die "$1: caches are left"
}

cpu() { # NAME ROOT
    image "$1" cpu "$2"
    common "$1"
    mkdir -p "$WORK/out/$1" && chown 1000 "$WORK/out/$1"
    within "$1" -v "$PWD/examples/clips:/videos:ro" -v "$WORK/out/$1:/output" -- \
        env "INPUT=/videos/*.mp4" entrypoint.sh || die "$1: entrypoint.sh"
    within "$1" -v "$WORK/out/$1:/output" -- healthcheck.sh || die "$1: healthcheck.sh"
    "$PYTHON" - "$WORK/host.jsonl" "$WORK/out/$1/results.jsonl" << 'END' || die "$1: other answers than the host's"
import json, os, sys
host, image = ([json.loads(line) for line in open(path)] for path in sys.argv[1:])
assert len(host) == len(image) == 12, (len(host), len(image))
for one, two in zip(host, image):
    for key in ("label", "exit_frame", "exit_layer"):
        assert one[key] == two[key], (key, one, two)
    assert abs(one["confidence"] - two["confidence"]) < 1e-4, (one, two)
print("answers as on the host: 12 clips")
END
    say "$1: $(within "$1" -- python -c 'import platform, cv2, numpy, onnxruntime as o; print(platform.machine(), "Python", platform.python_version(), "ONNX Runtime", o.__version__, "OpenCV", cv2.__version__, "NumPy", numpy.__version__)')"
    gone "$1"
}

jetpack() { # NAME ROOT MODULES [buildah's options]: what JetPack's images can show without a board
    local name=$1 root=$2 modules=$3 answer
    shift 3
    image "$name" "$name" "$root"
    common "$name"
    within "$name" "$@" -- python -c "import platform, cv2, numpy, tensorrt, jtop, $modules; import tlee.runtime, tlee.engines.cli; print('Python', platform.python_version(), 'OpenCV', cv2.__version__, 'NumPy', numpy.__version__, 'GStreamer', [l.split()[1] for l in cv2.getBuildInformation().splitlines() if 'GStreamer' in l])" ||
        die "$name: a module is missing"
    answer=$(within "$name" -- sh -c 'ls /opt/tlee/lib/python3.*/site-packages | grep -iE "^(numpy|opencv|cv2|tensorrt)"' || :)
    [ -z "$answer" ] || die "$name: has its own $answer"
    within "$name" -- entrypoint.sh > /dev/null 2>&1 && die "$name: entrypoint.sh without a GPU ended well"
    answer=$(told "$name" -- entrypoint.sh)
    say "$name: without a GPU: $answer"
    case $answer in *Traceback*) die "$name: a traceback" ;; *"no engines could be built"*) ;; *) die "$name: another error" ;; esac
    answer=$(told "$name" -- tlee-doctor)
    case $answer in *Traceback*) die "$name: tlee-doctor: $answer" ;; esac
    say "$name: tlee-doctor says:"
    say "$answer"
    gone "$name"
}

BUNDLE=$WORK/digits.tlee
"$PYTHON" -m tlee.export.cli examples/digits.safetensors -o "$BUNDLE" > /dev/null
chmod -R go+rX "$WORK" # the images' user reads it
"$PYTHON" -m tlee.runtime.cli "$BUNDLE" examples/clips/*.mp4 --backend cpu --json "$WORK/host.jsonl" > /dev/null

[ $# -gt 0 ] || set -- cpu jetpack4 jetpack5 jetpack6
for name in "$@"; do
    case $name in
        cpu)
            system bookworm bookworm
            cpu cpu "$ROOTS/bookworm"
            ;;
        jetpack4)
            system jetpack4 bionic
            cuda jetpack4 /usr/local/cuda-10.2
            opencv jetpack4
            # As the nvidia runtime does there: TensorRT's module and the driver come with the container's start.
            mkdir -p "$WORK/tensorrt" && say "# stands in for NVIDIA's" > "$WORK/tensorrt/__init__.py"
            jetpack jetpack4 "$ROOTS/jetpack4" "pycuda.driver, gi" \
                -v "$WORK/tensorrt:/usr/lib/python3.6/dist-packages/tensorrt:ro" \
                -v "$ROOTS/jetpack4/usr/local/cuda-10.2/lib64/stubs/libcuda.so:/usr/lib/x86_64-linux-gnu/libcuda.so.1:ro"
            ;;
        jetpack5)
            system jetpack5 focal
            cuda jetpack5 /usr/local/cuda-11.4
            tensorrt jetpack5 python3.8
            jetpack jetpack5 "$ROOTS/jetpack5" "pycuda.driver, av" \
                -v "$ROOTS/jetpack5/usr/local/cuda-11.4/lib64/stubs/libcuda.so:/usr/lib/x86_64-linux-gnu/libcuda.so.1:ro"
            ;;
        jetpack6)
            system jetpack6 jammy
            tensorrt jetpack6 python3.10
            jetpack jetpack6 "$ROOTS/jetpack6" "cuda.bindings, av"
            ;;
        *) die "$name: no such image" ;;
    esac
done
say "all built and used"
