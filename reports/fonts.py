"""Where matplotlib keeps its list of fonts."""

import contextlib
import os
import stat
import tempfile


def keep_fonts_out_of_home() -> None:
    """Keep matplotlib's list of fonts out of the home of a user who has none of its folders there. To be called before
    matplotlib is imported."""
    home = os.path.expanduser("~")
    own = [os.environ.get(f"XDG_{kind.upper()}_HOME", os.path.join(home, f".{kind}")) for kind in ("cache", "config")]
    if "MPLCONFIGDIR" in os.environ or any(os.path.isdir(os.path.join(folder, "matplotlib")) for folder in own):
        return
    with contextlib.suppress(OSError):
        folder = os.path.join(tempfile.gettempdir(), f"tlee-matplotlib-{os.getuid()}")
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        found = os.lstat(folder)
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():  # and nobody else's
            os.environ["MPLCONFIGDIR"] = folder
