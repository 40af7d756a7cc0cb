"""What can go wrong through no fault of this code. Each error is one line that the user can act on."""


class TleeError(Exception):
    """`SUBJECT: what is wrong; what to do`, on one line."""

    def __init__(self, subject: object, problem: object, remedy: str) -> None:
        self.subject = str(subject)
        self.problem = str(problem)
        self.remedy = remedy
        super().__init__(" ".join("{}: {}; {}".format(subject, problem, remedy).split()))


class UsageError(TleeError):
    """A command or function was asked for something that cannot be."""


class InputError(TleeError):
    """One video, folder or image cannot be recognised; the other inputs can."""


class SegmentError(TleeError):
    """A segment computed something that is not a number, or no probability where it should be one."""


class BundleError(TleeError):
    """A bundle cannot be read, or is not what its manifest says."""


class CheckpointError(TleeError):
    """A checkpoint cannot be read, or does not fit the model."""


class EngineError(TleeError):
    """An engine cannot be built or run, or is not what was recorded of it."""


class VerificationError(TleeError):
    """An exported bundle does not answer as the model it was made from."""
