"""`accelerate launch`, or `torchrun`, with the exit code of the worker that failed first.

    python -m soda.training.run.workers --multi_gpu --num_processes 8 -m soda train ...
    python -m soda.training.run.workers torchrun -m soda train ...

They themselves end with 1 whatever happened, and a refusal (2) could not be told from a worker that
was killed. On the nodes of a TrainJob it is torchrun, which reads from the environment what the
Kubeflow Trainer says.
"""

import subprocess
import sys

__all__ = ["main"]


def main() -> None:
    """Launch what the command line says."""
    from accelerate.commands.launch import main as launch
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    try:
        if sys.argv[1:2] == ["torchrun"]:
            torchrun(sys.argv[2:])
        else:
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
