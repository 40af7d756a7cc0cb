"""What a check finds."""

from typing import NamedTuple

from tlee.doctor.machine import Machine

OK, ADVICE, MISSING, WRONG = "ok", "advice", "missing", "wrong"
MUST = (MISSING, WRONG)


class Finding(NamedTuple):
    severity: str  # OK; ADVICE, it works, but slower or less; MISSING or WRONG, it must be fixed
    subject: str
    text: str
    command: str = ""  # for a shell; nothing where the finding is OK


def pip(machine: Machine, arguments: str) -> str:
    """A command of the pip that belongs to the Python that was looked at."""
    return f"{machine.python.executable} -m pip {arguments}"
