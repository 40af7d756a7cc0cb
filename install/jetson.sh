#!/usr/bin/env bash
# Installs tlee's device side on a Jetson with JetPack 4.6.1, 5 or 6, beside JetPack's own TensorRT, OpenCV and NumPy, which stay
# as they are. Looks first, shows every command, asks, runs them, and ends with tlee-doctor.
set -euo pipefail

usage() {
    cat <<EOF
usage: install/jetson.sh [--env DIR] [--no-jtop] [--dry-run | --yes]

Installs tlee from this checkout into a virtual environment on a Jetson with JetPack 4.6, 5 or 6.

  --env DIR    the virtual environment (default: ~/tlee-env)
  --no-jtop    leave out jetson-stats, whose service tlee-bench reads power and temperature from
  --dry-run    look, show the commands, change nothing
  --yes        do not ask

Exit status: 0 done or declined, 1 a command failed (run it again: it starts over), 2 wrong use, or the board lacks something,
130 interrupted.
EOF
}

root=${TLEE_INSTALL_ROOT:-} # where the board's files are read from: for tests alone
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$root/usr/bin/python3 # JetPack's libraries are installed for this one
disk_needed=500              # MB: virtual environment, and what compiling takes meanwhile

fail() { # STATUS TEXT
    echo "jetson.sh: $2" >&2
    exit "$1"
}

env=$HOME/tlee-env yes=false dry=false jtop=true
while [ $# -gt 0 ]; do
    case $1 in
        --env)
            [ $# -ge 2 ] || fail 2 "--env: a folder is missing; see --help"
            env=$2
            shift
            ;;
        --env=*) env=${1#*=} ;;
        --no-jtop) jtop=false ;;
        --dry-run) dry=true ;;
        --yes | -y) yes=true ;;
        --help | -h)
            usage
            exit 0
            ;;
        *) fail 2 "$1: unknown; see --help" ;;
    esac
    shift
done
case $env in
    "") fail 2 "--env: a folder is missing; see --help" ;;
    *[[:space:]]*) fail 2 "$env: pip takes no spaces here; choose another --env" ;;
    /*) ;;
    *) env=$PWD/$env ;;
esac
env=${env%/}
unfinished=$env.unfinished # lies beside the environment from its first command to its last
[ -z "${SUDO_USER:-}" ] || fail 2 "run it without sudo: it asks where it needs that, and the environment shall be yours"

# The board

file=$root/etc/nv_tegra_release
[ -r "$file" ] || fail 2 "/etc/nv_tegra_release: missing, so this is no Jetson; on a PC: pip install '.[cpu]'"
line=$(head -n 1 "$file")
if [[ $line =~ R([0-9]+)\ \(release\),\ REVISION:\ ([0-9]+)(\.[0-9]+)* ]]; then
    major=${BASH_REMATCH[1]} minor=${BASH_REMATCH[2]}
    release=$major.${line#*REVISION: }
    release=${release%%,*}
else
    fail 2 "/etc/nv_tegra_release: has no release of L4T in its first line; is it JetPack 4.6, 5 or 6?"
fi
known="JetPack 4.6.1 and later (r32.7), 5 (r35) and 6 (r36) are known" # r32.6 has TensorRT 8.0; tlee needs 8.2
case $major.$minor in
    32.7) jetpack=4 wanted=3.6 ;;
    35.*) jetpack=5 wanted=3.8 ;;
    36.*) jetpack=6 wanted=3.10 ;;
    *)
        [ "$major" -gt 32 ] || fail 2 "L4T r$release is too old: $known; flash a newer JetPack"
        fail 2 "L4T r$release: $known"
        ;;
esac
case $jetpack in
    4) get_tensorrt=python3-libnvinfer get_opencv=libopencv-python get_cuda=cuda-toolkit-10-2 ;;
    *) get_tensorrt=nvidia-jetpack get_opencv=nvidia-jetpack get_cuda=nvidia-jetpack ;;
esac

problems=()
problem() { problems+=("$1"); }
advices=()
advice() { advices+=("$1"); }

ask_python() { # PROGRAM: what it prints, or nothing where it fails. A child for each: a library that crashes is one missing.
    "$python" -c "$1" 2>/dev/null | tail -n 1 || true
}

version=$(ask_python 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ -z "$version" ]; then
    fail 2 "/usr/bin/python3: missing or does not start; sudo apt-get install python3"
elif [ "$version" != "$wanted" ]; then
    fail 2 "/usr/bin/python3 is Python $version, JetPack $jetpack's is $wanted; sudo ln -sf python$wanted /usr/bin/python3"
fi

numpy=$(ask_python 'import numpy; print(numpy.__version__)')
[ -n "$numpy" ] || problem "NumPy: python3 cannot import it; sudo apt-get install python3-numpy"
opencv=$(ask_python 'import cv2; print(cv2.__version__)')
gstreamer=$(ask_python 'import cv2, re; print(re.search(r"GStreamer:\s+(\w+)", cv2.getBuildInformation()).group(1))')
if [ -z "$opencv" ]; then
    problem "OpenCV: python3 cannot import it; sudo apt-get install $get_opencv"
elif [ "$gstreamer" != YES ]; then
    place=$(ask_python 'import cv2; print(cv2.__file__)')
    case $place in
        */.local/* | */usr/local/*) get_opencv="python3 -m pip uninstall opencv-python opencv-python-headless, with sudo if need be" ;;
        *) get_opencv="sudo apt-get install $get_opencv" ;;
    esac
    advice "OpenCV $opencv is without GStreamer, so no csi:// camera; $get_opencv"
fi
tensorrt=$(ask_python 'import tensorrt; print(tensorrt.__version__)')
[ -n "$tensorrt" ] || problem "TensorRT: python3 cannot import it; sudo apt-get install $get_tensorrt"

if [ "$jetpack" = 6 ]; then
    cuda="cuda-python's wheel"
else
    cuda="PyCUDA, to be compiled"
    for header in cuda.h cudaProfiler.h; do
        [ -r "$root/usr/local/cuda/include/$header" ] ||
            problem "CUDA: no /usr/local/cuda/include/$header to compile PyCUDA with; sudo apt-get install $get_cuda"
    done
    [ -e "$root/usr/local/cuda/lib64/stubs/libcuda.so" ] ||
        [ -e "$root/usr/lib/aarch64-linux-gnu/tegra/libcuda.so" ] ||
        problem "CUDA: no libcuda.so in /usr/local/cuda/lib64/stubs to link PyCUDA with; sudo apt-get install $get_cuda"
fi

parent=$env
while [ ! -d "$parent" ]; do parent=$(dirname "$parent"); done
[ -w "$parent" ] || problem "$env: no right to write there; choose another --env"
if [ -e "$env" ] && [ ! -e "$env/tlee-installed" ] && [ ! -e "$unfinished" ]; then
    problem "$env: was not made by this script; choose another --env, or remove it"
fi
disk=$(df -Pm "$parent" | awk 'NR == 2 { print $4 }')
[ "$disk" -ge $disk_needed ] ||
    problem "$parent: $disk MB of disk are free, $disk_needed are needed; sudo apt-get clean, or --env on another disk"

meminfo() { awk -v name="$1:" '$1 == name { print int($2 / 1024) }' "$root/proc/meminfo"; }
memory=$(meminfo MemTotal)
swap=$(awk 'NR > 1 && $1 !~ /zram/ { sum += $3 } END { print int(sum / 1024) }' "$root/proc/swaps")
zram=$(awk 'NR > 1 && $1 ~ /zram/ { sum += $3 } END { print int(sum / 1024) }' "$root/proc/swaps")
if [ "$memory" -lt 6000 ] && [ "$swap" -lt 2000 ]; then
    advice "$memory MB of memory and hardly any swap on disk: building engines, or compiling, may be killed. Add 4 GB:
    sudo fallocate -l 4G /mnt/4GB.swap && sudo chmod 600 /mnt/4GB.swap
    sudo mkswap /mnt/4GB.swap && sudo swapon /mnt/4GB.swap
    echo '/mnt/4GB.swap none swap sw 0 0' | sudo tee -a /etc/fstab"
fi

modes() { # of nvpmodel: "ID NAME" lines
    sed -n 's/^ *< *POWER_MODEL  *ID=\([0-9]*\)  *NAME=\([^ >]*\).*/\1 \2/p' "$root/etc/nvpmodel.conf" 2>/dev/null || true
}
mode=$(sed -n 's/^pmode:0*\([0-9][0-9]*\).*/\1/p' "$root/var/lib/nvpmodel/status" 2>/dev/null || true)
power=$(modes | awk -v id="$mode" '$1 == id { print $2 " (mode " $1 ")" }')
highest=$(modes | awk '$2 ~ /^MAXN/ { id = $1; if ($2 ~ /SUPER/) exit } END { print id }')
[ -z "$power" ] || [ -z "$highest" ] || [ "$mode" = "$highest" ] ||
    advice "power mode: $power is not the fastest; sudo nvpmodel -m $highest"

model=$(tr -d '\0' 2>/dev/null <"$root/proc/device-tree/model" || true)
gstreamer_words="without GStreamer"
[ "$gstreamer" != YES ] || gstreamer_words="with GStreamer"
cat <<EOF
board   ${model:-unknown}, L4T r$release (JetPack $jetpack), Python $version
found   TensorRT ${tensorrt:-none}, OpenCV ${opencv:-none}${opencv:+ $gstreamer_words}, NumPy ${numpy:-none}
CUDA    through $cuda
disk    $disk MB free below $parent
memory  $(meminfo MemAvailable) of $memory MB available, $swap MB of swap on disk, $zram MB compressed in memory
power   ${power:-mode unknown}
EOF
for text in ${advices[@]+"${advices[@]}"}; do echo "advice  $text"; done
if [ ${#problems[@]} -gt 0 ]; then
    for text in "${problems[@]}"; do echo "jetson.sh: $text" >&2; done
    exit 2
fi

# The commands

sudo="sudo " sudo_home="sudo -H "
if ! command -v sudo >/dev/null; then
    [ "$(id -u)" = 0 ] || fail 2 "sudo: not installed, and apt-get needs it"
    sudo="" sudo_home=""
fi
installed() { # PACKAGE of Debian
    awk -v RS= -v name="$1" -F '\n' '
        $1 == "Package: " name { for (i = 2; i <= NF; i++) if ($i ~ /^Status: .* installed$/) found = 1 }
        END { exit !found }' "$root/var/lib/dpkg/status" 2>/dev/null
}
packages=(python3-venv)
[ "$jetpack" = 6 ] || packages+=(python3-dev g++)
# There is no PyAV for Python 3.6: GStreamer reads video.
[ "$jetpack" != 4 ] || packages+=(python3-gi gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-{base,good,bad} gstreamer1.0-libav)
lacking=()
for package in "${packages[@]}"; do
    installed "$package" || lacking+=("$package")
done

quote() { printf %q "$1"; }
source=$(quote "$checkout")
requirements=$checkout/install/jetpack$jetpack.txt
in_env=$(quote "$env")
steps=()
[ ${#lacking[@]} -eq 0 ] || steps+=("${sudo}apt-get update && ${sudo}apt-get install -y --no-install-recommends ${lacking[*]}")
clear=""
[ ! -e "$unfinished" ] || clear=" --clear"
if [ -n "$clear" ] || [ ! -e "$env" ]; then
    steps+=("$(quote "$python") -m venv --system-site-packages$clear $in_env")
fi
# pip.conf makes every pip of this environment keep to what the board has, now and later.
pins="numpy==$numpy 'opencv-python<0' 'opencv-python-headless<0' 'opencv-contrib-python<0' 'tensorrt<0'"
steps+=(
    "printf '%s\\n' $pins > $in_env/constraints.txt && printf '[install]\\nconstraint = %s\\n' $in_env/constraints.txt > $in_env/pip.conf"
    "$in_env/bin/python -m pip install -r $source/install/tools.txt"
    "grep -vE '^(jetson-stats|distro|smbus2)==' $(quote "$requirements") > $in_env/requirements.txt"
)
if [ "$jetpack" = 6 ]; then
    steps+=("$in_env/bin/python -m pip install --no-build-isolation -r $in_env/requirements.txt")
else # PyCUDA reads its settings from the home directory
    steps+=("cp $source/install/aksetup-defaults.py $in_env/.aksetup-defaults.py && HOME=$in_env $in_env/bin/python -m pip install --no-cache-dir --no-build-isolation -r $in_env/requirements.txt")
fi
steps+=(
    "rm -rf $source/build/lib && $in_env/bin/python -m pip install --no-deps --no-build-isolation --force-reinstall $source"
    "$in_env/bin/python -c 'import cv2, numpy, tensorrt; assert numpy.__version__ == \"$numpy\" and cv2.__version__ == \"$opencv\"'"
)
installs=${#steps[@]} # with these the environment is complete
if $jtop; then
    service=$(ask_python 'import jtop; print(jtop.__version__)')
    if [[ $service =~ ^[4-9] ]] && [ -e "$root/etc/systemd/system/jtop.service" ]; then
        echo "jtop    $service is installed; it stays as it is"
    else
        pinned=$(grep -E '^(jetson-stats|distro|smbus2)==' "$requirements" | tr '\n' ' ')
        if ! { installed python3-pip && installed python3-setuptools; }; then
            steps+=("${sudo}apt-get install -y --no-install-recommends python3-pip python3-setuptools")
        fi
        steps+=("${sudo_home}python3 -m pip install ${pinned% }" "${sudo}systemctl restart jtop.service")
    fi
fi

echo
echo "To be done:"
number=0
for step in "${steps[@]}"; do
    number=$((number + 1))
    echo "  $number. $step"
done
[ "$jetpack" = 6 ] || [ -e "$env/tlee-installed" ] || echo "PyCUDA is compiled meanwhile: on a Nano this may take ten minutes (an estimate)."
! $dry || exit 0
if ! $yes; then
    printf 'Do it? [y/N] '
    answer=""
    read -r answer || true
    case $answer in
        y | Y | yes) ;;
        "") fail 2 "no answer, so nothing was done; --yes does not ask" ;;
        *)
            echo "Nothing was done."
            exit 0
            ;;
    esac
fi

trap 'echo; fail 130 "interrupted; run it again: it starts over"' INT TERM
mkdir -p "$(dirname "$env")"
number=0
for step in "${steps[@]}"; do
    number=$((number + 1))
    echo
    echo "[$number/${#steps[@]}] $step"
    [ $number -gt "$installs" ] || : >"$unfinished"
    if ! bash -euo pipefail -c "$step"; then
        again="run it again: it starts over"
        [ $number -le "$installs" ] || again="tlee itself is installed; run it again, or with --no-jtop"
        fail 1 "command $number failed: $step; the reason stands above; $again"
    fi
    if [ $number -eq "$installs" ]; then
        : >"$env/tlee-installed"
        rm -f "$unfinished"
    fi
done

echo
if [ -x "$env/bin/tlee-doctor" ]; then
    PATH=$env/bin:$PATH "$env/bin/tlee-doctor" || true # what it finds is for the reader; the installation is done
else
    "$env/bin/tlee-run" --help >/dev/null || fail 1 "tlee-run: does not start in $env"
fi
cat <<EOF

Done. Next:
  source $env/bin/activate
  tlee-build my.tlee               # engines for this board; my.tlee: a bundle, copied from the workstation
  tlee-run my.tlee video.mp4
EOF
