"""The folders of the source, as the tree has them: tests that go through all of them cannot miss a new one."""

from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OTHERS = {"build", "tests", "docs", "examples"}


@cache
def packages() -> list[str]:
    """Dotted names below `tlee` of all its subpackages; "" is the shared folder `tlee/` itself."""
    found = [path.parent.relative_to(ROOT) for path in ROOT.glob("[a-z]*/**/__init__.py")]
    names = [".".join(path.parts) for path in sorted(found) if path.parts[0] not in OTHERS]
    return [name for name in names if name != "tlee"] + [""]


@cache
def folders() -> list[str]:
    """The folders at the root that are subpackages, and `tlee/`."""
    return sorted({name.split(".")[0] for name in packages()} - {""}) + ["tlee"]
