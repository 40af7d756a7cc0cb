#!/usr/bin/env bash
# Ubuntu 18.04 in a folder: what JetPack 4.6 is made of, with its Python 3.6.9, NumPy 1.13.3, PyGObject 3.26 and GStreamer 1.14.5.
# tests/python36/bionic.sh ROOT: makes it where it is not there yet. Needs root and debootstrap. Two minutes and more, 700 MB.
set -euo pipefail
ROOT=${1:?a folder}
UBUNTU=http://archive.ubuntu.com/ubuntu
[ ! -e "$ROOT/complete" ] || exit 0

rm -rf --one-file-system "$ROOT"
mkdir -p "$ROOT"
{
    debootstrap --no-check-gpg --variant=minbase bionic "$ROOT" $UBUNTU # its keys are not in Debian
    for pocket in "" -updates -security; do
        echo "deb $UBUNTU bionic$pocket main universe"
    done >"$ROOT/etc/apt/sources.list"
    # The names that this machine asks and trusts.
    cp -L /etc/resolv.conf "$ROOT/etc/resolv.conf"
    chroot "$ROOT" apt-get -q update
    DEBIAN_FRONTEND=noninteractive chroot "$ROOT" apt-get -q -y --no-install-recommends install \
        ca-certificates python3-venv python3-numpy python3-gi gir1.2-gst-plugins-base-1.0 \
        gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly \
        gstreamer1.0-libav
    chroot "$ROOT" apt-get -q clean
    cp -L /etc/ssl/certs/ca-certificates.crt "$ROOT/etc/ssl/certs/ca-certificates.crt"
} >"$ROOT.log" 2>&1 || { echo "Ubuntu 18.04 could not be set up: $(tail -n 1 "$ROOT.log"); see $ROOT.log" >&2; exit 1; }
touch "$ROOT/complete"
