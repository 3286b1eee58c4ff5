"""`accelerate launch` with the exit code of the worker that failed first.

    python -m soda.training.run.workers --multi_gpu --num_processes 8 -m soda train ...

accelerate itself ends with 1 whatever happened, and a refusal (2) could not be told from a worker
that was killed.
"""

import subprocess

__all__ = ["main"]


def main() -> None:
    """Launch what the command line says."""
    from accelerate.commands.launch import main as launch
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        launch()
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        raise SystemExit(_shell_code(failure.exitcode)) from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(_shell_code(error.returncode)) from None


def _shell_code(code: int) -> int:
    """Return 137 for a process that SIGKILL ended, as a shell would."""
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    main()
