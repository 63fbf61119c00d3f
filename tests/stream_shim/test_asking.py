"""A destination is asked in a thread: whoever asks goes on meanwhile, and waits for nothing without a limit."""

import threading

import pytest

from stream_shim.processor.asking import Asking
from stream_shim.processor.destination import NotTaken


def test_an_answer_and_what_is_raised_come_back_to_whoever_asked() -> None:
    asking, stop = Asking(), threading.Event()
    assert asking.ask(lambda: 7, lambda: None, stop) == 7

    def fails() -> int:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        asking.ask(fails, lambda: None, stop)


def test_a_destination_that_never_answers_is_given_up_and_asked_again_when_it_has() -> None:
    asking, stop, answers = Asking(answer_seconds=2.2), threading.Event(), threading.Event()
    went_on: list[int] = []
    for _ in range(2):
        with pytest.raises(NotTaken, match=r"within 2\.2 s"):
            asking.ask(answers.wait, lambda: went_on.append(1), stop)
    assert len(went_on) >= 4
    answers.set()
    assert asking.ask(lambda: "again", lambda: None, stop) == "again"


def test_who_is_to_stop_waits_for_no_answer() -> None:
    stop, answers = threading.Event(), threading.Event()
    with pytest.raises(NotTaken):
        Asking(answer_seconds=600).ask(answers.wait, stop.set, stop)
    answers.set()
