"""Work in a process of its own that is killed at a given moment."""

import os
import signal
import threading
import time
from collections.abc import Callable

from tqdm import tqdm


def killed_after(
    seconds: float, work: Callable[[], object], number: signal.Signals = signal.SIGKILL
) -> bool:
    """Do the work in a process of its own and kill it; returns whether it had come to its end.

    Raises:
        RuntimeError: the work failed, or did not end within a minute of the signal.
    """
    child = os.fork()
    if not child:
        # tqdm's own is one semaphore for parent and children: a child that is killed with it in
        # its hand would stop all that come after
        tqdm.set_lock(threading.RLock())
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            work()
        except SystemExit as error:
            os._exit(error.code if isinstance(error.code, int) else 1)
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = _ended(child, seconds)
    if status is not None:
        if status:
            raise RuntimeError(f"the work ended with {os.waitstatus_to_exitcode(status)}")
        return True
    os.kill(child, number)
    status = _ended(child, 60)
    if status is None:
        os.kill(child, signal.SIGKILL)
        raise RuntimeError(f"the work did not end within 60 s of {number.name}")
    return status == 0


def _ended(child: int, seconds: float) -> int | None:
    """Wait for a process; return its status, or None if it still runs."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.001)
    return None
