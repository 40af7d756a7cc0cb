#!/bin/sh
# Installs packages that only NVIDIA's apt repository for Jetsons has, and takes the repository away again:
#   install-nvidia.sh r32.7 PACKAGE...
set -eu
release=$1
shift
# No `signed-by`: some bases name the same repository without it, and apt refuses two that differ in that.
key=/etc/apt/trusted.gpg.d/tlee-jetson.asc
list=/etc/apt/sources.list.d/tlee-jetson.list
curl -fsSL --retry 3 https://repo.download.nvidia.com/jetson/jetson-ota-public.asc -o "$key"
chmod 644 "$key"
echo "deb https://repo.download.nvidia.com/jetson/common $release main" > "$list"
apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
rm -rf "$key" "$list" /var/lib/apt/lists/*
