"""The stand-in for Socket.IO and the log: a server goes on at its `await`s when it is let."""

from support import tutorial

from chatlab.course.game_server import Log, Sio
from chatlab.messages import CHAT_MESSAGE, Message


def test_handler_stands_at_each_await_until_it_goes_on():
    """It does nothing by itself, and what it returns is handed on."""
    emitted, answers = [], []
    sio, log = Sio(lambda *packet: emitted.append(packet)), Log()
    tutorial(sio, log)
    sio.handle(CHAT_MESSAGE, "ann 1", "hello", then=answers.append)
    [task] = sio.tasks
    assert (task.wait.label, log.rows) == ('the server stores "hello"', [])
    task.go_on()
    assert (log.rows, emitted) == ([Message(1, "hello")], [])
    task.go_on()
    assert (emitted, answers, task.wait) == ([(None, Message(1, "hello"))], [1], None)


def test_server_that_waits_for_a_newer_row_is_ready_when_there_is_one():
    """Until then it cannot be let go on."""
    log = Log()
    waiting, storing = log.newer(0), log.append("hello")
    assert not waiting.ready()
    storing.act()
    assert waiting.ready()


def test_event_without_a_handler_changes_nothing():
    """As with a server that registers nothing for it."""
    sio = Sio(None)
    sio.handle("connect", "ann 1", {}, {})
    assert sio.tasks == []
