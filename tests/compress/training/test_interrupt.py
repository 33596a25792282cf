"""Signals become a flag, once, and only while the block runs."""

import signal
import threading

import pytest

from compress.training.interrupt import stopping_politely


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_nothing_is_raised(
    number: signal.Signals,
) -> None:
    before = signal.getsignal(number)
    with stopping_politely() as stop:
        assert not stop.asked
        signal.raise_signal(number)
        assert stop.asked

    assert signal.getsignal(number) is before


def test_the_second_signal_is_answered_at_once() -> None:
    """Python's own answer to SIGINT is KeyboardInterrupt."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with stopping_politely():
            signal.raise_signal(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_handlers_come_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), stopping_politely():
        raise ZeroDivisionError

    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_the_main_thread_the_block_just_runs() -> None:
    """Python refuses to set a handler there; that must not stop a training."""
    ran = []

    def body() -> None:
        with stopping_politely() as stop:
            ran.append(stop.asked)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()

    assert ran == [False]
