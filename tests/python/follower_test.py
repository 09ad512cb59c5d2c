"""Reading a bus without a port: Bus.follow()."""
import errno
import os
import pickle
import signal
import sys
import threading
import time
import warnings

import pytest
import shmif

KIND = b"\x88\xb6"


def frame_from(port, text, to=shmif.BROADCAST):
    return to + port.mac + KIND + text


def test_it_reads_what_all_send_to_all_and_is_not_on_the_bus(bus, port):
    with bus.attach("a") as a:
        a.send(frame_from(a, b"before it"))
        with bus.follow() as now, bus.follow(history=True) as oldest:
            a.send(frame_from(a, b"to another", port.mac))
            port.send(frame_from(port, b"to nobody", shmif.Mac("02:00:00:00:00:99")))
            got = [now.receive(timeout=20), now.receive(timeout=20)]
            assert [frame.payload for frame in got] == [b"to another", b"to nobody"]
            assert [(frame.sender, frame.number, frame.lost) for frame in got] == [(a.slot, 1, 0), (port.slot, 2, 0)]
            assert [frame.payload for frame in oldest.frames(timeout=0)] == [b"before it", b"to another", b"to nobody"]
            assert now.try_receive() is None
            with pytest.raises(TimeoutError, match=f"no frame came on {bus.path} within 0.01 s"):
                now.receive(timeout=0.01)
            assert (oldest.counters().rx_frames, oldest.counters().tx_frames) == (3, 0)
            assert (now.max_frame_bytes, now.bus_path) == (1522, bus.path)
            assert sorted(each.name for each in bus.ports()) == ["a", "test"]


def test_it_needs_only_read_permission(bus, port, tmp_path):
    """As another user, if this one may write everything."""
    port.send(frame_from(port, b"hello"))
    os.chmod(bus.path, 0o444)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        said = b"failed"
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            try:
                shmif.Bus(bus.path).attach()
            except PermissionError:
                with shmif.Bus(bus.path).follow(history=True) as follower:
                    said = follower.receive(timeout=20).payload
        finally:
            os.write(write, said)
            os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        assert pipe.read() == b"hello"
    os.waitpid(child, 0)
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        shmif.Bus(tmp_path / "nothing-here").follow()


@pytest.mark.bus(ring_bytes=65536)
def test_it_counts_what_it_loses(bus):
    with bus.attach("a") as a, bus.follow() as follower:
        a.send_many([frame_from(a, bytes(1000))] * 200)
        got = list(follower.frames(timeout=0))
        lost = sum(frame.lost for frame in got)
        assert lost > 0 and lost + len(got) == 200 and follower.counters().lost_frames == lost


def test_a_wait_ends_with_a_frame_a_close_or_a_signal(bus, port):
    follower, got = bus.follow(), []
    thread = threading.Thread(target=lambda: got.extend(frame.payload for frame in follower))
    thread.start()
    port.send(frame_from(port, b"one"))
    while not got:
        time.sleep(0.001)
    follower.close()
    thread.join(30)
    assert not thread.is_alive() and got == [b"one"]
    follower.close()
    for call in (follower.receive, follower.try_receive, follower.counters):
        with pytest.raises(shmif.Error, match="is closed") as failed:
            call()
        assert failed.value.errno == errno.EBADF
    with bus.follow() as follower:
        timer = threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            follower.receive(timeout=30)
        timer.join()
        with pytest.raises(TypeError, match="call follow"):
            pickle.dumps(follower)


def test_the_end_of_the_bus_closes_it_and_one_that_is_forgotten_warns(tmp_path):
    with shmif.Bus.create(tmp_path / "bus") as bus:
        left = bus.follow()
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            forgotten = bus.follow()
            assert sys.getrefcount(forgotten) == 2
            del forgotten
        assert [each.category for each in said] == [ResourceWarning] and "Follower" in str(said[0].message)
    assert left.closed
