"""Threads, signals and forks."""
import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import shmif

KIND = b"\x88\xb6"


def outcome(call, results):
    try:
        results.append(call())
    except Exception as failed:
        results.append(failed)


def in_thread(call):
    results = []
    thread = threading.Thread(target=outcome, args=(call, results), daemon=True)
    thread.start()
    return thread, results


def asleep(port):
    """Waits until another thread is in a receive, and probably sleeps."""
    while not port._receiving.locked():
        time.sleep(0.001)
    time.sleep(0.05)


@pytest.mark.parametrize("end, number", [("close", errno.EBADF), ("down", errno.ENETDOWN), ("interrupt", errno.EINTR)])
@pytest.mark.parametrize("wait", ["receive", "receive_many", "receive_into"])
def test_a_wait_of_another_thread_ends(port, wait, end, number):
    call = (lambda: port.receive_into(bytearray(2000))) if wait == "receive_into" else getattr(port, wait)
    thread, results = in_thread(call)
    asleep(port)
    getattr(port, end)()
    thread.join(30)
    assert not thread.is_alive() and results[0].errno == number


def test_an_interrupt_does_not_end_a_later_wait(bus, port):
    port.interrupt()
    with bus.attach("a") as a:
        thread, results = in_thread(lambda: port.receive(timeout=30))
        asleep(port)
        a.send(port.mac + a.mac + KIND)
        thread.join(30)
        assert results[0].source == a.mac


def test_history_does_not_wait_for_a_thread_that_waits(bus, port):
    thread, results = in_thread(port.receive)
    asleep(port)
    assert port.history() == []
    port.interrupt()
    thread.join(30)
    assert results[0].errno == errno.EINTR


def test_an_iteration_ends_when_the_port_closes(bus, port):
    thread, results = in_thread(lambda: [frame.payload for frame in port])
    with bus.attach("a") as a:
        a.send(port.mac + a.mac + KIND + b"one")
        while port.counters().rx_frames == 0:
            time.sleep(0.001)
        port.close()
        thread.join(30)
    assert results == [[b"one"]]


@pytest.mark.bus(ring_bytes=65536, patience=1)
def test_a_send_that_waits_lets_other_threads_run(bus):
    """If a call of C kept the lock of Python, interrupt() could only come before or after it, and never end it."""
    with bus.attach("slow") as slow, bus.attach("a") as a:
        frame = slow.mac + a.mac + KIND + bytes(1000)
        while a.try_send(frame):
            pass
        for _ in range(20):  # a wait of a second each: one that ends by itself proves nothing
            thread, results = in_thread(lambda: a.send(frame))
            while thread.is_alive():
                a.interrupt()
                time.sleep(0.001)
            if isinstance(results[0], InterruptedError):
                assert a.counters().pauses > 0
                return
            while slow.try_receive() is not None:
                pass
            while a.try_send(frame):
                pass
    pytest.fail(f"no send was interrupted: {results}")


@pytest.mark.bus(ring_bytes=1 << 20, patience=1)
def test_threads_share_a_port(bus, port):
    """Four threads send on one port, and three receive from another: each frame arrives once."""
    count = 500
    with bus.attach("a") as a:
        def send(first):
            for i in range(first, first + count):
                a.send(port.mac + a.mac + KIND + i.to_bytes(4, "big"))

        def receive():
            return [int.from_bytes(frame.payload, "big") for frame in port.frames(timeout=2)]
        receivers = [in_thread(receive) for _ in range(3)]
        senders = [in_thread(lambda first=i * count: send(first)) for i in range(4)]
        for thread, results in senders + receivers:
            thread.join(60)
            assert not thread.is_alive()
        assert [results for _, results in senders] == [[None]] * 4
        assert sorted(number for _, results in receivers for number in results[0]) == list(range(4 * count))


def test_closing_while_others_send_is_safe(bus):
    for _ in range(10):
        a = bus.attach("a")
        frame = shmif.BROADCAST + a.mac + KIND

        def send():
            while True:
                a.send(frame)

        def count():
            while True:
                a.counters()
        threads = [in_thread(send), in_thread(send), in_thread(a.receive), in_thread(count)]
        while a.counters().tx_frames < 10:
            time.sleep(0)
        a.close()
        for thread, results in threads:
            thread.join(30)
            assert not thread.is_alive() and results[0].errno in (errno.EBADF, errno.EINTR)


def test_a_child_of_a_fork_cannot_use_the_port(bus, port):
    """Also if a thread of the parent was in a call, and held its lock."""
    thread, results = in_thread(port.receive)
    asleep(port)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        said = b""
        for call in (lambda: port.send(bytes(60)), lambda: port.receive(timeout=5), port.try_receive, port.history, port.counters,
                     port.bus_frames, lambda: port.fault(None), port.interrupt, lambda: port.mac, lambda: port.send_many([]),
                     port.down, port.up, port.fileno, lambda: asyncio.run(port.asynchronous.receive(5)),
                     lambda: asyncio.run(port.asynchronous.send_many([]))):
            try:
                said += b"%r " % call()
            except PermissionError as failed:
                said += b"%d" % (failed.errno + 10 * ("attach another one here" not in str(failed)))
        said += b"%d" % port.is_up
        port.close()
        with bus.attach("child") as own:
            own.send(port_mac + own.mac + KIND + b"from the child")
            os.write(write, said)
            os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        assert pipe.read() == b"1" * 15 + b"0"
    assert os.waitpid(child, 0)[1] == 0
    thread.join(30)
    assert results[0].payload == b"from the child"


@pytest.fixture(autouse=True)
def remember_mac(request):
    global port_mac
    if "port" in request.fixturenames:
        port_mac = request.getfixturevalue("port").mac


WAITS = """
import shmif, sys
with shmif.Bus.create() as bus, bus.attach("a") as port:
    print(bus.path, flush=True)
    try:
        port.receive()
    except KeyboardInterrupt:
        print("interrupted")
"""


def test_ctrl_c_ends_a_receive_and_removes_the_bus():
    with subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, text=True,
                          env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))) as child:
        path = child.stdout.readline().strip()
        while not any(port.name == "a" and port.up for port in shmif.Bus.open(path).ports()):
            time.sleep(0.01)
        time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        assert child.communicate(timeout=60)[0] == "interrupted\n"
    assert child.returncode == 0 and not os.path.exists(path)
