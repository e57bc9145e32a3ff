"""What can go wrong in a run."""


class RunError(RuntimeError):
    """The program cannot run as it was started."""


class CommunicationError(RuntimeError):
    """A collective failed: another process is gone, hangs, or the network does not work."""
