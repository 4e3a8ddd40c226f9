from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from singleshot.training.signals import STOPPING, Interrupted, StopSignals


@pytest.mark.parametrize("number", STOPPING)
def test_f4_f5_f6_the_first_signal_is_noted_and_the_step_goes_on(number: int) -> None:
    with StopSignals() as signals:
        os.kill(os.getpid(), number)
        time.sleep(0.01)
        assert signals.received == number
        assert all(signal.getsignal(each) is signal.SIG_DFL for each in STOPPING)  # a second one would end it all


def test_the_handlers_that_were_there_come_back() -> None:
    before = [signal.getsignal(each) for each in STOPPING]
    with StopSignals():
        os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(each) for each in STOPPING] == before


def test_i1_a_rank_that_meets_an_error_lives_to_say_whose_it_was_though_the_launcher_ends_all() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(RuntimeError), StopSignals(launched=True):
            raise RuntimeError("connection closed by peer")
        os.kill(os.getpid(), signal.SIGTERM)  # the test would end here
        with pytest.raises(RuntimeError), StopSignals():
            raise RuntimeError("of one process alone")
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN  # who was there before gets it back
    finally:
        signal.signal(signal.SIGTERM, before)


def test_where_nothing_is_half_done_the_signal_breaks_in_at_once() -> None:
    with StopSignals() as signals:
        threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
        started = time.monotonic()
        with pytest.raises(Interrupted), signals.interruptible():
            time.sleep(5)
        assert time.monotonic() - started < 3
        with pytest.raises(Interrupted), signals.interruptible():
            pytest.fail("a signal that came before must be heard too")


def test_no_library_can_swallow_the_interruption() -> None:
    assert not issubclass(Interrupted, Exception)


def test_in_another_thread_nothing_is_installed_and_nothing_fails() -> None:
    before = [signal.getsignal(each) for each in STOPPING]
    seen: list[bool] = []

    def work() -> None:
        with StopSignals():
            seen.append([signal.getsignal(each) for each in STOPPING] == before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [True]


TWICE = """
import time
from singleshot.training.signals import StopSignals
with StopSignals():
    print("ready", flush=True)
    for _ in range(100):
        time.sleep(0.1)
"""


def test_f4_the_second_signal_ends_the_process_at_once() -> None:
    process = subprocess.Popen([sys.executable, "-c", TWICE], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == -signal.SIGTERM
    process.stdout.close()


def test_what_the_process_ignores_goes_on_being_ignored_as_under_nohup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
            assert signals.received is None
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            assert signals.received == signal.SIGTERM and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_f5_sigterm_is_heard_though_a_jobs_script_ignores_it_for_itself() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            assert signals.received == signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
