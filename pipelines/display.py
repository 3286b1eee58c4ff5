"""What a person sees of a local run: a line a step. All that the steps say goes into a log file."""

import contextlib
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from kfp.local import task_dispatcher
from kfp.local.status import Status
from tqdm import tqdm

from soda.progress import share_done

__all__ = ["Display", "clock_time"]

# Between two lines of a step at work, where there is no terminal: at first, and at most.
_FIRST_SECONDS, _MOST_SECONDS = 30.0, 120.0
# soda's own lines, such as `train: going on from checkpoint-1-20`, and none of kfp's
_SAID = re.compile(r"[a-z][a-z-]*: (?!'|\w+\( name=)\S")
_REUSED = ": nothing to do, reusing "
_BAR = "{desc}{percentage:3.0f} %|{bar:20}| {elapsed}{postfix}"
_NO_BAR = "{desc}{elapsed}{postfix}"  # of a step that has not said how far it is
_LEFT_OUT = re.compile(r" \(\d+ %\)|, \S+ elapsed")  # what the bar says already
_TAIL = 12  # lines of a failing step that said nothing of why


@dataclass(eq=False)
class _Step:
    title: str
    began: float
    shown: float  # when something was last shown of it
    wait: float = _FIRST_SECONDS  # until something is shown again
    bar: Any = None
    note: str = ""
    is_failed: bool = True
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=200))


class Display:
    """Shows steps as they run, in a block of `showing`.

    Args:
        titles: what to call a step, by the name of its component in the spec.
        log: where every line goes.
        stream: where a person looks; standard output if left out.
        clock: seconds, from anywhere.
    """

    def __init__(
        self,
        titles: Mapping[str, str],
        log: TextIO,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.failed: list[str] = []  # titles
        self._titles, self._log, self._clock = titles, log, clock
        self._stream = stream or sys.stdout
        self._running: list[_Step] = []
        self._lock = threading.RLock()
        self._thread = threading.local()  # a loop's steps run in threads: `step`, a `begun` line

    @contextlib.contextmanager
    def showing(self) -> Iterator[None]:
        """Show every step that kfp's local runner runs in the block.

        kfp has no hook for this, so its function that runs a step is wrapped.
        """
        run, over = task_dispatcher.run_single_task_implementation, threading.Event()

        def shown(**how: Any) -> Any:
            with self._step(how["component_name"]) as step:
                outputs, status = run(**how)
                step.is_failed = status != Status.SUCCESS
                step.note = outputs.get("Output", step.note)  # what kfp calls the only output
                return outputs, status

        ticking = threading.Thread(target=self._tick, args=(over,), daemon=True)
        task_dispatcher.run_single_task_implementation = shown
        ticking.start()
        try:
            with contextlib.redirect_stdout(self), contextlib.redirect_stderr(self):
                yield
        finally:
            task_dispatcher.run_single_task_implementation = run
            over.set()
            ticking.join()

    def write(self, text: str) -> int:
        """Take what kfp prints and, through it, the step that runs in this thread."""
        *lines, self._thread.begun = (getattr(self._thread, "begun", "") + text).split("\n")
        for line in lines:
            with self._lock:
                self._take(getattr(self._thread, "step", None), line.strip())
        return len(text)

    def flush(self) -> None:
        """Write the log out."""
        self._log.flush()

    def isatty(self) -> bool:
        """Say that what is written here is seen by nobody."""
        return False

    @contextlib.contextmanager
    def _step(self, component: str) -> Iterator[_Step]:
        title = self._titles.get(component, component.removeprefix("comp-"))
        now = self._clock()
        step = self._thread.step = _Step(title, began=now, shown=now)
        with self._lock:
            self._running.append(step)
            if self._stream.isatty():
                how = {"file": self._stream, "bar_format": _NO_BAR, "dynamic_ncols": True}
                step.bar = tqdm(total=1, desc=f"{title:<26}", leave=False, **how)
        try:
            yield step
        finally:
            self._thread.step = None
            with self._lock:
                self._running.remove(step)
                if step.bar is not None:
                    step.bar.close()
                self._end(step)

    def _end(self, step: _Step) -> None:
        note = "failed" if step.is_failed else step.note
        taken = clock_time(self._clock() - step.began)
        self._show(f"{step.title:<26}{taken:>9}  {note}".rstrip())
        if step.is_failed:
            self.failed.append(step.title)
            for line in _reason(list(step.tail)):
                self._show(f"    {line}")

    def _take(self, step: _Step | None, line: str) -> None:
        self._log.write(f"{time.strftime('%H:%M:%S')} {step.title if step else 'kfp'}: {line}\n")
        if step is None or not line or line.startswith("[KFP Executor "):
            return
        step.tail.append(line)
        if _REUSED in line:
            step.note = "reused"
        if not _SAID.match(line):
            return
        if step.bar is not None:
            _draw(step.bar, line)
        elif (now := self._clock()) - step.shown >= step.wait:
            step.shown, step.wait = now, min(2 * step.wait, _MOST_SECONDS)
            self._show(f"{step.title}: {line}")

    def _show(self, line: str) -> None:
        tqdm.write(line, file=self._stream)
        self._stream.flush()

    def _tick(self, over: threading.Event) -> None:
        """Let the bars' clocks go on."""
        while not over.wait(1):
            with self._lock:
                for step in self._running:
                    if step.bar is not None:
                        step.bar.refresh()


def clock_time(seconds: float) -> str:
    """Return a duration as people write it: `3.2 s`, `4:12`, `1:02:03`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _draw(bar: Any, line: str) -> None:
    share = share_done(line)
    if share is not None:
        bar.n, bar.bar_format = share, _BAR
    bar.set_postfix_str(_LEFT_OUT.sub("", line), refresh=False)
    bar.refresh()


def _reason(tail: list[str]) -> list[str]:
    """Return the lines that say why a step failed: its refusal, or its traceback."""
    for number in range(len(tail) - 1, -1, -1):
        if tail[number].startswith("soda: "):
            return tail[number:]
    return tail[-_TAIL:]
