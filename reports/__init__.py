"""Reports, on the workstation: rows, plots, pages, statistics and estimates from measured files."""

import contextlib
import os
import stat
import tempfile


def _keep_fonts_out_of_home() -> None:
    """Before matplotlib is imported: keep its list of fonts out of the home of a user who has none of its folders."""
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


_keep_fonts_out_of_home()
