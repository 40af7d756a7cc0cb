"""Finds the source of power readings that this machine has."""

from typing import Optional, Tuple

from tlee.errors import TleeError, UsageError
from tlee.power import jtop, nvml, rapl
from tlee.power.source import Source

OPENERS = {  # in the order in which they are tried
    "jtop": lambda: jtop.Jtop(),
    "nvml": lambda: nvml.Nvml(),
    "rapl": lambda: rapl.Rapl(),
}
SOURCES = tuple(OPENERS)
CHOICES = ("auto",) + SOURCES + ("none",)


def open_source(choice: str = "auto") -> Tuple[Optional[Source], Optional[str]]:
    """The source that this machine has, or None and a line that says why.

    Args:
        choice: a name of `SOURCES`; "auto" for the first of them that works, "none" for none.

    Raises:
        UsageError: a source was named that does not work here, or that does not exist.

    Examples:
        >>> source, reason = open_source()  # doctest: +SKIP
        >>> if source is not None:  # doctest: +SKIP
        ...     print(source.read().watts, "W:", source.total)
        ...     source.close()
    """
    if choice == "none":
        return None, "no power source was asked for"
    if choice not in CHOICES:
        raise UsageError("power source", f"there is no {choice!r}", "choose from " + ", ".join(CHOICES))
    if choice != "auto":
        return OPENERS[choice](), None
    tried = []
    for name, opener in OPENERS.items():
        try:
            return opener(), None
        except TleeError as error:
            tried.append(f"{name}: {error.problem} ({error.remedy})")
        except Exception as error:  # whatever a vendor's library throws, a measurement goes on without power
            tried.append(f"{name}: {error!r}")
    return None, " ".join("; ".join(tried).split())
