"""Programs that are not here, or must not do here what they do: a folder of links to this file stands first on PATH.

Under each name a program checks that it was called as it can be called, records the call and, where it moves files or
starts other programs, does so within the scene. What it does not know is an error, as a mistyped option is.
"""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

SCENE = Path(os.environ.get("TLEE_SCENE", ""))  # holds a folder for each machine
CHECKOUT = Path(os.environ.get("TLEE_CHECKOUT", ""))
MACHINE = os.environ.get("TLEE_MACHINE", "")

# Modes of `nvpmodel`. The Orins differ: AGX Orin has 0 to 3, Orin NX 0 to 4, Orin Nano 0 to 2.
POWER_MODES = {"nano": ("0", "1"), "orin": ("0", "1", "2", "3", "4")}
SERVICES = ("jtop", "docker", "nvargus-daemon", "nvzramconfig", "multi-user.target", "graphical.target", "gdm", "gdm3")
# Of Ubuntu 18.04 to 22.04 and of NVIDIA's repository for Jetsons.
APT_NAMES = """
    build-essential debootstrap docker.io docker-compose docker-compose-plugin docker-compose-v2 g++
    gir1.2-gst-plugins-base-1.0 git gstreamer1.0-libav gstreamer1.0-plugins-bad gstreamer1.0-plugins-base
    gstreamer1.0-plugins-good libopencv-python
    nvidia-container nvidia-container-runtime nvidia-container-toolkit nvidia-docker2 nvidia-jetpack
    nvidia-opencv nvidia-tensorrt python3-dev python3-gi python3-libnvinfer python3-libnvinfer-dev python3-matplotlib
    python3-numpy python3-opencv python3-pip python3-setuptools python3-venv qemu-user-static rsync tensorrt v4l-utils
"""
APT_PACKAGES = set(APT_NAMES.split())
# Beside what setup.py asks for.
PIP_NAMES = """
    cuda-python distro docker-compose jetson-stats matplotlib nvidia-ml-py onnxruntime-gpu pip setuptools smbus2
    tensorboard tensorrt_rtx wheel
"""
PIP_PACKAGES = set(PIP_NAMES.split())


class Refused(Exception):
    """The program would not take this."""


def arguments(given, flags="", values="", anywhere=True):
    """Positional arguments and {option: [values]}; an unknown option is refused.

    Args:
        flags, values: options without and with a value, separated by blanks.
        anywhere: options may follow positional arguments; otherwise the first of these ends them.
    """
    rest, options, found = list(given), {}, []
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if word in flags.split():
            options.setdefault(word, [])
        elif name in values.split():
            if not equals and not rest:
                raise Refused(f"{name} has no value")
            options.setdefault(name, []).append(value if equals else rest.pop(0))
        elif word.startswith("-") and word != "-":
            raise Refused(f"no option {word}")
        else:
            found.append(word)
            if not anywhere:
                return found + rest, options
    return found, options


def one_of(what, value, known):
    if value not in known:
        raise Refused(f"no {what} '{value}'; known: {', '.join(sorted(known))}")


def needs(path):
    if not Path(path).exists():
        raise Refused(f"{path}: no such file")
    return Path(path)


def execute(command):
    """The next program of a chain; the first word is found on PATH, where stand-ins come first."""
    return subprocess.run(command).returncode


def sudo(given):
    words, _ = arguments(given, "-H -E -n", "-u", anywhere=False)
    while words and "=" in words[0] and not words[0].startswith("-"):
        words.pop(0)  # VARIABLE=value
    if not words:
        raise Refused("nothing to do")
    # As root only stand-ins run.
    one_of("stand-in that may run as root", os.path.basename(words[0]), PROGRAMS)
    return PROGRAMS[os.path.basename(words[0])](words[1:])


def apt_get(given):
    words, _ = arguments(given, "-y --yes --no-install-recommends -q -qq", "-o")
    one_of("command", words[0], {"update", "install", "upgrade", "dist-upgrade", "remove"})
    for name in words[1:]:
        one_of("package", name, APT_PACKAGES)


def nvpmodel(given):
    words, options = arguments(given, "-q --query --verbose", "-m -p -f")
    if words or not options:
        raise Refused("give -m MODE or -q")
    for mode in options.get("-m", []):
        one_of(f"power mode of {MACHINE}", mode, POWER_MODES[MACHINE])


def jetson_clocks(given):
    arguments(given, "--show --fan", "--store --restore")


def systemctl(given):
    words, _ = arguments(given, "--now --no-pager -q")
    actions = {"start", "stop", "restart", "enable", "disable", "status", "isolate", "is-active", "set-default"}
    if words == ["daemon-reload"]:
        return
    one_of("action", words[0], actions)
    for name in words[1:]:
        one_of("service", name[: -len(".service")] if name.endswith(".service") else name, SERVICES)


def fallocate(given):
    words, options = arguments(given, "", "-l --length")
    size = (options.get("-l") or options.get("--length") or [""])[0]
    if not size.rstrip("GMK").isdigit() or len(words) != 1:
        raise Refused("give -l SIZE FILE")


def a_file(flags=""):
    """A program that takes one file, which is not made or changed here."""

    def program(given):
        words, _ = arguments(given, flags)
        if len(words) != 1:
            raise Refused("give one file")

    return program


def chmod(given):
    words, _ = arguments(given, "-R")
    if len(words) < 2 or not (words[0].isdigit() or "+" in words[0] or "-" in words[0]):
        raise Refused("give MODE FILE")


def tee(given):
    words, _ = arguments(given, "-a --append")
    if not sys.stdin.read() or len(words) != 1 or not words[0].startswith("/etc/"):
        raise Refused("a line for a file below /etc was expected")


def usermod(given):
    words, options = arguments(given, "-a -aG", "-G")
    names = words[:1] if "-aG" in options else options.get("-G", [])
    for group in ",".join(names).split(","):
        one_of("group", group, {"jtop", "video", "docker", "i2c"})


def nothing_but(flags, values="", words=0):
    """A program that only says something, with these options and at most so many words."""

    def program(given):
        found, _ = arguments(given, flags, values)
        if len(found) > words:
            raise Refused(f"not expected: {found[words]}")

    return program


def ssh(given):
    words, _ = arguments(given, "-t -A", "-p -i -L", anywhere=False)
    home = host(words[0])
    environment = {**os.environ, "TLEE_MACHINE": home.name, "HOME": str(home)}
    return subprocess.run(["bash", "-ec", " ".join(words[1:])], cwd=home, env=environment).returncode


def host(name):
    name = name.split("@")[-1]
    one_of("host", name, {"nano", "orin", "workstation"})
    (SCENE / name).mkdir(exist_ok=True)
    return SCENE / name


def place(text):
    """A local path, or one on a host, relative to the home there."""
    name, colon, path = text.partition(":")
    return host(name) / (path.replace("~/", "") or ".") if colon else Path(text)


def scp(given):
    copy(arguments(given, "-r -p -q -C", "-P -i")[0])


def rsync(given):
    copy(arguments(given, "-a -z -r -v -az -av -avz --delete --progress", "--exclude -e")[0])


def copy(words):
    *sources, target = [place(word) for word in words]
    if not sources:
        raise Refused("give SOURCE and TARGET")
    if len(sources) > 1 and not target.is_dir():
        raise Refused(f"{target}: not a folder")
    for source in sources:
        into = target / needs(source).name if target.is_dir() else target
        if source.is_dir():
            shutil.copytree(source, into, dirs_exist_ok=True, ignore_dangling_symlinks=True)
        else:
            shutil.copy(source, into)


def python3(given):
    """`-m venv` makes an environment without pip, which takes seconds; everything else is Python's own."""
    if given[:2] == ["-m", "venv"]:
        words, options = arguments(given[2:], "--system-site-packages --clear")
        for folder in words:
            made = subprocess.run([sys.executable, "-m", "venv", "--without-pip", *options, folder])
            if made.returncode:
                return made.returncode
            for name in ("python", "python3"):
                os.remove(Path(folder) / "bin" / name)
                os.symlink(Path(os.environ["TLEE_STANDINS"]) / name, Path(folder) / "bin" / name)
            for name in ("pip", "pip3", "tlee-run", "tlee-info", "tlee-build", "tlee-bench", "tlee-doctor"):
                found = shutil.which(name, path=f"{os.environ['TLEE_STANDINS']}:{os.environ['TLEE_PATH']}")
                if found and not os.path.lexists(Path(folder) / "bin" / name):
                    os.symlink(found, Path(folder) / "bin" / name)
        return 0
    if given[:2] == ["-m", "pip"]:
        return pip(given[2:])
    board = os.environ.get("TLEE_INSTALL_ROOT")
    if board and given[:1] == ["-c"]:  # with the libraries that the board has
        os.environ["PYTHONPATH"] = f"{board}/usr/lib/python3/dist-packages"
    return execute([sys.executable, *given])


def pip(given):
    """Checks that what is to be installed is there: extras are setup.py's, files are read, names are known."""
    words, options = arguments(
        given,
        "-U --upgrade -q --no-deps --user -e --editable --no-build-isolation --no-cache-dir --force-reinstall",
        "-r -c --index-url",
    )
    if words[:1] in (["list"], ["--version"], ["show"], ["check"]):
        return
    one_of("command", words[0] if words else "", {"install"})
    for file in options.get("-r", []) + options.get("-c", []):
        if not any(line.strip() and not line.startswith("#") for line in needs(file).read_text().splitlines()):
            raise Refused(f"{file}: empty")
    for word in words[1:]:
        bare, _, extra = word.rstrip("]").partition("[")
        for name in extra.split(",") if extra else []:
            one_of("extra", name, extras())
        if bare.startswith((".", "/")) or os.path.isdir(bare):
            needs(Path(bare) / "setup.py")
        elif bare != "tlee":
            known_package(requirement_name(bare))
    if not words[1:] and not options.get("-r"):
        raise Refused("nothing to install")


def known_package(name):
    if name not in PIP_PACKAGES:  # setup.py is only read where it has to be
        required = {requirement_name(text) for extra in extras().values() for text in extra}
        one_of("package", name, required | PIP_PACKAGES)


def requirement_name(text):
    for sign in "<>=!;[ ":
        text = text.split(sign)[0]
    return text


def extras():
    from distutils.core import run_setup

    before = os.getcwd()
    os.chdir(CHECKOUT)
    try:
        return run_setup("setup.py", stop_after="init").extras_require
    finally:
        os.chdir(before)


def make(given):
    """Says what it would do: running these within a test would run the tests again."""
    program = shutil.which("make", path=os.environ["TLEE_PATH"])
    if program is None or Path(program).parent == Path(sys.argv[0]).parent:
        raise Refused("not installed")
    return execute([program, "--dry-run", *given])


def git(given):
    """`git archive HEAD` gives the files as they are now, without the tests; everything else is git's own."""
    if given != ["archive", "HEAD"]:
        program = shutil.which("git", path=os.environ["TLEE_PATH"])
        return execute([program or "/usr/bin/git", *given])
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as tar:
        for path in sorted(CHECKOUT.iterdir()):
            if path.name not in ("tests", "build") and not path.name.startswith(".") and path.suffix != ".egg-info":
                tar.add(path, path.name)


def srun(given):
    """Slurm's, with one process in place of all."""
    words, _ = arguments(
        given, "", "--ntasks-per-node --nodes -N -n --ntasks --gpus-per-node --cpus-per-task", anywhere=False
    )
    return execute(words)


def docker(given):
    if given[:1] == ["compose"]:
        return docker_compose(given[1:])
    command, *rest = given
    one_of("command", command, {"build", "run", "logs", "ps", "exec", "stop", "images", "info", "inspect", "rm"})
    if command == "build":
        words, options = arguments(rest, "--pull --no-cache", "-f --file -t --tag --build-arg --target --platform")
        for file in options.get("-f", []) + options.get("--file", []):
            needs(file)
        if len(words) != 1 or not Path(words[0]).is_dir():
            raise Refused("give the folder to build from")
    if command == "run":
        values = "-v --volume -e --env --device --name --runtime --group-add --gpus --entrypoint --user -u --network"
        words, options = arguments(
            rest, "--rm -it -i -t -d --init --privileged", values + " --ipc --restart", anywhere=False
        )
        if not words:
            raise Refused("give an image")
        for volume in options.get("-v", []) + options.get("--volume", []):
            source = volume.split(":")[0]
            if source.startswith((".", "/")) and not source.startswith(("/tmp/argus_socket", "/run/jtop.sock")):
                needs(os.path.expandvars(source))


def docker_compose(given):
    import yaml

    words, options = arguments(given, "", "-f --file --env-file -p", anywhere=False)
    files = options.get("-f", []) + options.get("--file", [])
    if not files:
        raise Refused("give -f FILE")
    services: set = set()
    for file in files:
        services |= set((yaml.safe_load(needs(file).read_text()) or {}).get("services", {}))
    actions = {"up", "down", "build", "logs", "run", "ps", "config", "exec", "restart", "stop", "pull"}
    if not words:
        raise Refused("no command")
    one_of("command", words[0], actions)
    inside = words[0] in ("run", "exec")  # what follows the service is its command
    found, _ = arguments(words[1:], "-d --detach --build --rm --follow -f -T", "-e -v --tail", anywhere=not inside)
    for name in found[:1] if inside else found:
        one_of("service", name, services)


PROGRAMS = {
    "sudo": sudo,
    "apt-get": apt_get,
    "apt": apt_get,
    "nvpmodel": nvpmodel,
    "jetson_clocks": jetson_clocks,
    "systemctl": systemctl,
    "fallocate": fallocate,
    "mkswap": a_file(),
    "swapon": a_file(),
    "swapoff": a_file(),
    "chmod": chmod,
    "tee": tee,
    "usermod": usermod,
    "reboot": nothing_but(""),
    "free": nothing_but("-m -h -g"),
    "jtop": nothing_but("--health"),
    "jetson_release": nothing_but("-v"),
    "tegrastats": nothing_but("--stop", "--interval"),
    "ssh": ssh,
    "scp": scp,
    "rsync": rsync,
    "python": python3,
    "python3": python3,
    "git": git,
    "pip": pip,
    "pip3": pip,
    "make": make,
    "srun": srun,
    "docker": docker,
    "docker-compose": docker_compose,
}


AS_ROOT_ONLY = {"chmod", "tee"}  # harmless for users, and then the real ones run


def main():
    program, given = os.path.basename(sys.argv[0]), sys.argv[1:]
    with open(SCENE / "calls", "a", encoding="utf-8") as stream:
        stream.write(f"{MACHINE}: {program} {' '.join(given)}\n")
    try:
        sys.exit(PROGRAMS[program](given) or 0)
    except (Refused, IndexError) as error:
        sys.exit(f"{program} {' '.join(given)}: {error}")


if __name__ == "__main__":
    main()
