#!/usr/bin/env bash
# Installs the device side on aarch64 under emulation, on Debian 12's Python and, if asked, on the Nano's own 3.6.9, and
# compares what it answers with this machine. Needs root, debootstrap, qemu-user-static and gcc-aarch64-linux-gnu.
# tests/arm64/run.sh BIN [3.6]: BIN is of a virtual environment where tlee is installed for the workstation.
set -euo pipefail
cd "$(dirname "$0")/../.."

HOST=$(realpath -s "${1:?the folder bin of a virtual environment}")
PLACE=$PWD/build/arm64
ROOT=$PLACE/root
LIMIT=1800 # seconds of one command there: a hang ends with the place in Python where it stood
VIDEO=2e-1 # of confidences: OpenCV's wheels round decoded pixels otherwise on aarch64, by up to 2 of 255; seen: 0.09
PICTURE=1e-4 # of confidences, of pictures that are neither scaled nor coded with loss
SOURCE=http://archive.ubuntu.com/ubuntu/pool/main/p/python3.6/python3.6_3.6.9.orig.tar.xz
SUM=5e2f5f554e3f8f7f0296f7e73d8600c4e9acbaee6b2555b83206edf5153870da

die() {
    echo "test-arm64: $*" >&2
    exit 1
}

times=()
phase_start=$SECONDS
took() {
    times+=("$(printf '%6d s  %s' $((SECONDS - phase_start)) "$1")")
    echo "== $1: $((SECONDS - phase_start)) s"
    phase_start=$SECONDS
}

trap 'echo "test-arm64: interrupted" >&2; exit 130' INT TERM

needed() {
    [ "$(uname -m)" = x86_64 ] || die "emulates aarch64 on x86_64, this is $(uname -m)"
    [ "$(id -u)" = 0 ] || die "needs root, for debootstrap and chroot: call it with sudo"
    [ -x "$HOST/tlee-run" ] || die "$HOST/tlee-run: not there; call it as make test-arm64"
    local program package missing=()
    for program in debootstrap qemu-aarch64-static:qemu-user-static aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu \
        make xz:xz-utils curl git pkg-config unshare:util-linux flock:util-linux; do
        package=${program#*:}
        command -v "${program%:*}" >/dev/null || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] || die "not installed: ${missing[*]}; apt-get install ${missing[*]}"
    local formats=/proc/sys/fs/binfmt_misc
    [ -e $formats/register ] || mount -t binfmt_misc none $formats || die "$formats cannot be mounted; load binfmt_misc"
    [ -e $formats/qemu-aarch64 ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf >$formats/register ||
        die "the kernel does not take qemu-aarch64; see /usr/lib/binfmt.d/qemu-aarch64.conf"
}

# Without the kernel's /sys: there onnxruntime 1.32's look at the processor meets x86's and falls. 1.10 insists on a list.
inside() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 PYTHONFAULTHANDLER=1 PIP_NO_CACHE_DIR=1 \
        PIP_DISABLE_PIP_VERSION_CHECK=1 ${https_proxy:+https_proxy="$https_proxy"} \
        timeout --foreground -s ABRT -k 10 "$LIMIT" chroot "$ROOT" "$@"
}

debian() {
    [ -e "$ROOT/complete" ] && return
    rm -rf --one-file-system "$ROOT"
    debootstrap --arch=arm64 --variant=minbase \
        --include=python3,python3-venv,ca-certificates,zlib1g-dev,libffi-dev \
        bookworm "$ROOT" http://deb.debian.org/debian >"$PLACE/debootstrap.log" 2>&1 ||
        die "debootstrap failed: $(tail -n 1 "$PLACE/debootstrap.log")"
    touch "$ROOT/complete"
}

# GStreamer, and what PyGObject is compiled against; Debian's PyGObject is for its own Python.
gstreamer() {
    [ -e "$ROOT/complete-gstreamer" ] && return
    inside sh -c 'apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install \
        libgirepository1.0-dev gir1.2-gst-plugins-base-1.0 gstreamer1.0-libav \
        gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad' >"$PLACE/gstreamer.log" 2>&1 ||
        die "GStreamer could not be installed: $(tail -n 1 "$PLACE/gstreamer.log")"
    touch "$ROOT/complete-gstreamer"
}

checkout() {
    rm -rf "$ROOT/tlee" "$ROOT/digits.tlee" "$ROOT/pictures"
    mkdir "$ROOT/tlee"
    git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' file; do
        [ ! -e "$file" ] || printf '%s\0' "$file"
    done | tar --null -T - -c | tar -x -C "$ROOT/tlee"
    "$HOST/tlee-export" examples/digits.safetensors -o build/digits.tlee --replace >"$PLACE/export.log"
    cp -r build/digits.tlee "$ROOT/digits.tlee"
    "$HOST/python" tests/arm64/check.py pictures "$ROOT/pictures" build/digits.tlee examples/clips/*.mp4
    # The names that this machine trusts and asks, also those of a company's proxy.
    cp -L /etc/resolv.conf "$ROOT/etc/resolv.conf"
    cp -L /etc/ssl/certs/ca-certificates.crt "$ROOT/etc/ssl/certs/ca-certificates.crt"
    mkdir -p "$ROOT/sys/devices/system/cpu"
    echo 0-1 | tee "$ROOT/sys/devices/system/cpu/possible" >"$ROOT/sys/devices/system/cpu/present"
    mountpoint -q "$ROOT/proc" || mount -t proc proc "$ROOT/proc"
}

# $1: what is compared; $2: where tlee is installed there; $3: tolerance; $4...: inputs as both machines name them, options.
same() {
    local bin=$2 tolerance=$3
    echo "  $1"
    shift 3
    (cd "$ROOT/tlee" && "$HOST/tlee-run" ../digits.tlee "$@" --backend cpu --json "$PLACE/here.jsonl" >"$PLACE/here.log")
    # shellcheck disable=SC2016
    inside sh -c 'cd /tlee && exec "$@"' - "$bin/tlee-run" ../digits.tlee "$@" --backend cpu --threads 1 \
        --json - >"$PLACE/there.jsonl" 2>"$PLACE/there.log" || die "tlee-run failed there: $(tail -n 3 "$PLACE/there.log")"
    "$HOST/python" tests/arm64/check.py compare "$PLACE/here.jsonl" "$PLACE/there.jsonl" "$tolerance"
}

compared() {
    local bin=$1 all_videos all_pictures
    all_videos=$(cd "$ROOT/tlee" && ls examples/clips/*.mp4)
    all_pictures=$(cd "$ROOT/tlee" && ls -d ../pictures/*)
    local one=examples/clips/digit0_easy_00010.mp4 few
    few=$(head -n 2 <<<"$all_pictures")
    # shellcheck disable=SC2086
    {
        same "videos" "$bin" $VIDEO $all_videos
        same "the same as pictures" "$bin" $PICTURE $all_pictures
        same "as pictures, four at once" "$bin" $PICTURE $all_pictures --batch 4
        same "a video, no early exit" "$bin" $VIDEO $one --no-early-exit
        same "two as pictures, no early exit" "$bin" $PICTURE $few --no-early-exit
        same "two as pictures, no early exit, both at once" "$bin" $PICTURE $few --no-early-exit --batch 4
    }
}

# Files as users bring them: the same pictures as here.
case_files() {
    rm -rf "$ROOT/videos"
    PYTHONPATH=tests "$HOST/python" tests/python36/videos.py make "$ROOT/videos"
    "$HOST/python" tests/python36/videos.py read "$ROOT/videos"
    inside "$1/python" /tlee/tests/python36/videos.py compare /videos || die "videos are read otherwise there"
}

# The other commands: they must end as they should; tlee-doctor may find what must be fixed.
commands() {
    local bin=$1 status=0
    inside "$bin/tlee-info" /digits.tlee >"$PLACE/info.log" || die "tlee-info failed there"
    inside "$bin/tlee-doctor" /digits.tlee >"$PLACE/doctor.log" 2>&1 || status=$?
    [ $status -le 1 ] || die "tlee-doctor failed there: $(tail -n 1 "$PLACE/doctor.log")"
    inside "$bin/tlee-bench" /digits.tlee /tlee/examples/clips/digit4_medium_00004.mp4 --modes early --rounds 1 --block 0.1 \
        --cold 1 --sustained 0.1 --threads 1 --power none >"$PLACE/bench.log" 2>&1 ||
        die "tlee-bench failed there: $(tail -n 1 "$PLACE/bench.log")"
    echo "  tlee-info, tlee-doctor, tlee-bench"
}

python36() {
    [ -e "$ROOT/opt/python3.6/complete" ] && return
    local source=$PLACE/python3.6 log=$PLACE/python3.6.log
    rm -rf "$source" "$ROOT/opt/python3.6" && mkdir -p "$source"
    curl -fsS -o "$PLACE/python3.6.tar.xz" $SOURCE || die "$SOURCE cannot be loaded"
    echo "$SUM  $PLACE/python3.6.tar.xz" | sha256sum -c --quiet || die "$SOURCE: not the file that it was"
    tar -x -C "$source" --strip-components 1 -f "$PLACE/python3.6.tar.xz"
    # A cross compiler, and a Python that runs emulated where it builds itself. Nothing is compiled to bytecode but what
    # is imported, for under emulation that takes longest. OpenSSL 3 does not fit: no ssl, so wheels come from here.
    (
        cd "$source"
        unset MAKEFLAGS MFLAGS MAKELEVEL
        export QEMU_LD_PREFIX=$ROOT
        ./configure -q --prefix=/opt/python3.6 --without-ensurepip --with-system-ffi \
            CC="aarch64-linux-gnu-gcc --sysroot=$ROOT" AR=aarch64-linux-gnu-ar READELF=aarch64-linux-gnu-readelf OPT="-DNDEBUG -O1 -w"
        make -s -j"$(nproc)"
        make -s sharedinstall DESTDIR="$ROOT"
        make -s bininstall libinstall inclinstall DESTDIR="$ROOT" PYTHON_FOR_BUILD=:
    ) >"$log" 2>&1 || die "Python 3.6.9 could not be built, see $log"
    inside /opt/python3.6/bin/python3.6 -c "import ctypes, zlib" || die "Python 3.6.9 lacks modules, see $log"
    touch "$ROOT/opt/python3.6/complete"
}

# The registry's oldest; JetPack has 3.26.1. Compiled here, as Python is, without setup.py, which asks for cairo.
pygobject() {
    local source=$PLACE/pygobject target=$ROOT/opt/python3.6/lib/python3.6/site-packages/gi flags
    [ -e "$target/complete" ] && return
    rm -rf "$source" && mkdir -p "$source"
    "$HOST/pip" download -q --no-deps --no-binary :all: --no-build-isolation -d "$source" pygobject==3.27.0 ||
        die "PyGObject cannot be loaded"
    tar -x -C "$source" --strip-components 1 -f "$source"/pygobject-*.tar.gz
    flags=$(PKG_CONFIG_SYSROOT_DIR=$ROOT PKG_CONFIG_LIBDIR=$ROOT/usr/lib/aarch64-linux-gnu/pkgconfig \
        pkg-config --cflags --libs gio-2.0 gobject-introspection-1.0 libffi)
    (
        cd "$source/gi"
        rm pygi-foreign-cairo.c
        echo '#define PYGOBJECT_MAJOR_VERSION 3' >config.h
        echo '#define PYGOBJECT_MINOR_VERSION 27' >>config.h
        echo '#define PYGOBJECT_MICRO_VERSION 0' >>config.h
        # shellcheck disable=SC2086 # flags, as many as there are
        aarch64-linux-gnu-gcc --sysroot="$ROOT" -shared -fPIC -O1 -w -DHAVE_CONFIG_H -I. \
            -I"$ROOT/opt/python3.6/include/python3.6m" ./*.c -o _gi.so $flags
    ) >"$PLACE/pygobject.log" 2>&1 || die "PyGObject could not be built, see $PLACE/pygobject.log"
    cp -r "$source/gi" "$target"
    inside /opt/python3.6/bin/python3.6 -c "import gi; gi.require_version('Gst', '1.0'); from gi.repository import Gst" ||
        die "PyGObject does not work on Python 3.6.9"
    touch "$target/complete"
}

# numpy 1.19.5, onnxruntime 1.10.0 and OpenCV 4.5.1 are the oldest wheels for this Python on aarch64 that fit.
wheels36() {
    rm -rf "$ROOT/wheels"
    "$HOST/pip" download -q --no-deps --only-binary=:all: -d "$ROOT/wheels" --python-version 3.6 --implementation cp \
        --abi cp36m --abi abi3 --abi none --platform manylinux2014_aarch64 --platform manylinux_2_17_aarch64 \
        numpy==1.19.5 onnxruntime==1.10.0 opencv-python-headless==4.5.1.48 protobuf==3.19.6 \
        flatbuffers==2.0 pip==21.3.1 setuptools==59.6.0 wheel==0.37.1 || die "wheels for Python 3.6 cannot be loaded"
}

needed
mkdir -p "$PLACE"
# In mounts of its own: nobody else walks into /proc there, and they end with this process however it ends.
[ "${TLEE_OWN_MOUNTS:-}" ] || TLEE_OWN_MOUNTS=yes exec unshare --mount tests/arm64/run.sh "$@"
exec 9>"$PLACE/lock"
flock -n 9 || die "another one is at work in build/arm64; wait for it"
debian
took "Debian 12, arm64"
checkout
took "checkout, bundle and pictures"
rm -rf "$ROOT/venv" "$ROOT/venv36"
inside python3 -m venv /venv
inside /venv/bin/pip install -q "/tlee[cpu]"
took "installation, Python 3.11"
compared /venv/bin
took "answers, Python 3.11"
commands /venv/bin
took "other commands, Python 3.11"
case_files /venv/bin
took "case files by PyAV, Python 3.11"
if [ "${2:-}" = 3.6 ]; then
    python36
    took "building Python 3.6.9"
    gstreamer
    took "GStreamer"
    pygobject
    took "building PyGObject"
    wheels36
    inside /opt/python3.6/bin/python3.6 -m venv --system-site-packages /venv36 # for PyGObject
    # Its pip of 2018 takes the setting for no cache for the cache's folder.
    inside env -u PIP_NO_CACHE_DIR /venv36/bin/pip install -q --no-index -f /wheels pip==21.3.1 setuptools==59.6.0 wheel==0.37.1
    inside /venv36/bin/pip install -q --no-index -f /wheels --no-build-isolation "/tlee[cpu]"
    took "installation, Python 3.6.9"
    compared /venv36/bin
    took "answers, Python 3.6.9"
    commands /venv36/bin
    took "other commands, Python 3.6.9"
    case_files /venv36/bin
    took "case files by GStreamer, Python 3.6.9"
fi

echo
printf '%s\n' "${times[@]}"
echo "test-arm64: passed in $SECONDS s"
