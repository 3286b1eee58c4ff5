"""SIGTERM, noted instead of died of."""

import os
import signal
import threading

import pytest

from soda.training.run.interrupt import listen


def test_sigterm_is_noted_and_then_what_it_was():
    before = signal.getsignal(signal.SIGTERM)
    with listen() as interrupt:
        assert not interrupt.came
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.came
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_error_brings_the_handler_back_too():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyError), listen():
        raise KeyError
    assert signal.getsignal(signal.SIGTERM) is before


def test_beside_the_main_thread_nothing_is_changed():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work():
        with listen() as interrupt:
            seen.append((interrupt.came, signal.getsignal(signal.SIGTERM) is before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, True)]
