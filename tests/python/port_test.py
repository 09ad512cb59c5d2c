"""Ports and buses: values, errors, limits."""
import asyncio
import copy
import dataclasses
import errno
import gc
import math
import os
import pickle
import select
import shutil
import subprocess
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path

import pytest
import shmif
from shmif._library import ffi

KIND = b"\x88\xb6"


def frame_to(to, sender, text=b"hello"):
    return to.mac + sender.mac + KIND + text


def test_a_frame_arrives_with_its_number_time_and_sender(bus):
    with bus.attach("a", "b2:a0:00:00:00:0a") as a, bus.attach("b", b"\xb2\xa0\0\0\0\x0b") as b:
        before = time.time_ns()
        a.send(frame_to(b, a))
        a.send(bytearray(frame_to(b, a, b"second")))
        first, second = b.receive(timeout=10), b.receive(timeout=10)
        assert first == bytes.fromhex("b2a00000000b b2a00000000a 88b6") + b"hello"
        assert (first.destination, first.source, first.ethertype, first.payload) == (b.mac, a.mac, 0x88B6, b"hello")
        assert str(first.source) == "b2:a0:00:00:00:0a"
        assert (first.number, second.number, first.lost, first.sender) == (0, 1, 0, a.slot)
        assert before <= first.time_ns <= second.time_ns <= time.time_ns()
        assert second.payload == b"second"
        assert b.try_receive() is None


def test_all_that_has_bytes_can_be_sent(bus, port):
    class Packet:
        def __bytes__(self):
            return frame_to(port, sender, b"packet")

    with bus.attach("sender") as sender:
        text = frame_to(port, sender, b"01234567")
        for data in (text, bytearray(text), memoryview(b"xx" + text)[2:], Packet()):
            sender.send(data)
        assert sender.send_many([text, Packet(), memoryview(text)]) == 3
        assert sender.send_many([]) == 0
        assert sender.try_send(text) is True
        assert [frame.payload for frame in port.receive_many(8, timeout=10)] == [b"01234567"] * 3 + [b"packet"] + \
            [b"01234567", b"packet", b"01234567", b"01234567"]
        for wrong in ("text", 14, None, ["x"]):
            with pytest.raises(TypeError):
                sender.send(wrong)


def test_a_port_does_not_receive_its_own_frames_nor_those_for_others(bus, port):
    with bus.attach("a") as a, bus.attach("all", promiscuous=True) as everything:
        a.send(frame_to(a, a, b"to itself"))
        a.send(shmif.BROADCAST + a.mac + KIND + b"to all")
        assert port.receive(timeout=10).payload == b"to all"
        assert [frame.payload for frame in everything.receive_many(timeout=10)] == [b"to itself", b"to all"]
        assert a.try_receive() is None
        counters = port.counters()
        assert (counters.rx_frames, counters.filtered_frames, counters.own_frames) == (1, 1, 0)
        assert a.counters().own_frames == 2
        port.set_promiscuous(True)
        a.send(frame_to(a, a))
        assert port.receive(timeout=10).destination == a.mac
        port.set_mac("b2:a0:00:00:00:77")
        assert port.mac == shmif.Mac("b2:a0:00:00:00:77")


def test_receive_into_fills_the_buffer_of_the_caller(bus, port):
    with bus.attach("a") as a:
        a.send(frame_to(port, a, b"0123456789"))
        a.send(frame_to(port, a, b"0123456789"))
        room = bytearray(64)
        info = port.receive_into(memoryview(room)[4:], timeout=10)
        assert (info.bytes, info.frame_bytes, info.truncated, info.number, info.sender) == (24, 24, False, 0, a.slot)
        assert bytes(room[:30]) == b"\0\0\0\0" + frame_to(port, a, b"0123456789") + b"\0\0"
        small = bytearray(20)
        info = port.receive_into(small, timeout=10)
        assert (info.bytes, info.frame_bytes, info.truncated, info.number) == (20, 24, True, 1)
        assert bytes(small) == frame_to(port, a, b"012345")
        with pytest.raises((TypeError, BufferError, ValueError)):
            port.receive_into(b"not writable", timeout=0)


def test_history_has_what_was_sent_before_the_port_came(bus):
    with bus.attach("a") as a:
        sent = [shmif.BROADCAST + a.mac + KIND + b"%d" % i for i in range(100)]
        a.send_many(sent)
        with bus.attach("late", history=True) as late, bus.attach("new") as new:
            assert late.history() == sent
            assert late.history() == new.history() == []
            a.send(sent[0])
            assert late.history() == new.history() == sent[:1]
            assert late.bus_frames() == 101


@pytest.mark.bus(ring_bytes=65536)
def test_losses_are_counted(bus, port):
    with bus.attach("a") as a:
        for i in range(200):
            a.send(frame_to(port, a, i.to_bytes(2, "big") + bytes(1000)))
        got = list(port.frames(timeout=0.2))
        assert int.from_bytes(got[-1].payload[:2], "big") == 199
        lost = sum(frame.lost for frame in got)
        assert lost > 0 and lost + len(got) == 200
        assert [frame.lost for frame in got[1:]] == [0] * (len(got) - 1)
        counters = port.counters()
        assert (counters.lost_frames, counters.rx_frames, counters.overruns > 0) == (lost, len(got), True)
        assert a.counters().tx_frames == 200
        a.send(frame_to(port, a, bytes(1000)))
        assert port.receive_many(timeout=10)[0].lost == 0


def test_a_port_that_is_down_neither_sends_nor_receives(bus, port):
    with bus.attach("a", up=False) as a:
        assert not a.is_up
        for call in (lambda: a.send(frame_to(port, a)), a.receive, a.try_receive, a.receive_many, a.history):
            with pytest.raises(shmif.Error) as failed:
                call()
            assert failed.value.errno == errno.ENETDOWN and "down" in str(failed.value)
        assert list(a) == []
        a.up()
        a.send(frame_to(port, a))
        port.down()
        port.up()
        a.send(frame_to(port, a, b"after"))
        assert port.receive(timeout=10).payload == b"after"
        assert port.try_receive() is None


def test_errors_say_what_was_tried_and_what_to_do(bus, port, tmp_path):
    for call, number, kind, words in (
            (lambda: shmif.Bus.open(tmp_path / "none"), errno.ENOENT, FileNotFoundError, ["none", "Bus.create()"]),
            (lambda: shmif.Bus.create(bus.path), errno.EEXIST, FileExistsError, [bus.path]),
            (lambda: bus.attach("test"), errno.EEXIST, FileExistsError, ['"test"']),
            (lambda: bus.attach("x" * 32), errno.EINVAL, shmif.Error, ["31"]),
            (lambda: bus.attach(mac=bytes(6)), errno.EINVAL, shmif.Error, ["00:00:00:00:00:00: it is not a unicast MAC"]),
            (lambda: port.set_mac("01:00:5e:00:00:01"), errno.EINVAL, shmif.Error, ["to 01:00:5e:00:00:01: it is not a unicast MAC"]),
            (lambda: bus.attach(faults="in:loss=1%,out:loss=2%"), errno.EINVAL, shmif.Error, ["in:loss=1%;out:delay=5ms"]),
            (lambda: bus.attach("down", up=False).send(bytes(60)), errno.ENETDOWN, shmif.Error, ['send: the port "down"', "up()"]),
            (lambda: bus.attach(faults="loss=1%").asynchronous, errno.EOPNOTSUPP, shmif.Error, ["receive() in a thread"]),
            (lambda: shmif.Bus.create(tmp_path / "x", mtu=10), errno.EINVAL, shmif.Error, ["68"]),
            (lambda: port.send(b"short"), errno.EINVAL, shmif.Error, ["14", "this one has 5 bytes; 14 to 1522"]),
            (lambda: port.send(bytes(1600)), errno.EMSGSIZE, shmif.Error, ["MTU", "1600 bytes"]),
            (lambda: port.receive(timeout=0), errno.ETIMEDOUT, TimeoutError, ['"test"', "within 0 s"]),
            (lambda: bus.fault("test", "loss=1%"), errno.EOPNOTSUPP, shmif.Error, ["takes no changes", "Port.fault()"]),
            (lambda: bus.fault("nobody", "loss=1%"), errno.ENODEV, shmif.Error, ['"nobody"']),
            (lambda: bus.line("nobody"), errno.ENODEV, shmif.Error, ['"nobody"']),
            (lambda: bus.change("nonsense", "test"), errno.EINVAL, shmif.Error, ["nonsense"]),
            (lambda: bus.wait_for("nobody", timeout=0.01), errno.ETIMEDOUT, TimeoutError, ["nobody", "shmifctl stat"]),
            (bus.remove, errno.EBUSY, shmif.Error, [bus.path, "use force=True"])):
        with pytest.raises(kind) as failed:
            call()
        assert isinstance(failed.value, shmif.Error) and failed.value.errno == number, failed.value
        for word in words:
            assert word in str(failed.value)
        again = pickle.loads(pickle.dumps(failed.value))
        assert isinstance(again, kind) and (again.errno, str(again)) == (number, str(failed.value))
    for wrong in ("b2:a0", "b2:a0:00:00:00:zz", b"12345", "b2:a0:00:00:00:001", "b2:a0:00:00:00:-1"):
        with pytest.raises(ValueError):
            shmif.Mac(wrong)
    with pytest.raises(ValueError):
        shmif.Bus.create(format="token ring")


def test_send_many_says_how_many_went_before_the_one_that_failed(bus, port):
    with bus.attach("a") as a:
        with pytest.raises(shmif.Error) as failed:
            a.send_many([frame_to(port, a)] * 70 + [b"short", frame_to(port, a)])
        assert (failed.value.errno, failed.value.sent) == (errno.EINVAL, 70)
        assert "(frame 70 has 5 bytes; 14 to 1522 can be sent)" in str(failed.value)
        assert len(port.history()) == 70


@pytest.mark.bus(mtu=9000, ring_bytes=1 << 20, mode=0o640, patience=0.25)
def test_a_bus_tells_what_it_was_made_with(bus, port):
    info = bus.inspect()
    assert (info.format, info.mtu, info.ring_bytes, info.patience_ns) == ("shmif", 9000, 1 << 20, 250_000_000)
    assert (info.frames, info.ports, info.repairs, port.mtu, port.max_frame_bytes) == (0, 1, 0, 9000, 9022)
    assert abs(info.created_ns - time.time_ns()) < 600e9
    assert os.stat(bus.path).st_mode & 0o777 == 0o640
    row, = bus.ports()
    assert (row.name, row.slot, row.pid, row.kind, row.mac) == ("test", port.slot, os.getpid(), "library", port.mac)
    assert (row.live, row.up, row.takes_changes, row.line_waiting, bus.line("test")) == (True, True, False, None, "")
    port.down()
    assert not bus.ports()[0].up
    many = [bus.attach() for _ in range(70)]
    assert sorted(each.slot for each in bus.ports()) == list(range(71))
    assert {each.name for each in bus.ports()} == {"test", *(each.name for each in many)}


@pytest.mark.bus(format="netbsd")
def test_a_bus_of_netbsd_says_what_it_cannot_tell(bus, port):
    info = bus.inspect()
    assert (info.format, info.created_ns, info.frames, info.ports, info.max_ports) == ("netbsd", None, None, None, None)
    with bus.attach() as a:
        a.send(frame_to(port, a))
        frame = port.receive(timeout=10)
        assert (frame.payload, frame.sender) == (b"hello", None)
    with pytest.raises(shmif.Error) as failed:
        bus.ports()
    assert failed.value.errno == errno.EOPNOTSUPP


def test_the_end_of_with_detaches_and_removes(tmp_path):
    with shmif.Bus.create(tmp_path / "bus") as bus:
        with bus.attach("a") as port:
            assert port.name == "a"
        assert port.closed and bus.ports() == []
        port.close()
        with pytest.raises(shmif.Error) as failed:
            port.send(bytes(60))
        assert failed.value.errno == errno.EBADF
        left_open = bus.attach("b")
        with shmif.Bus.open(bus.path) as other:
            assert os.fspath(other) == bus.path
        assert os.path.exists(bus.path)
    assert left_open.closed and not os.path.exists(bus.path)
    with pytest.raises(ZeroDivisionError), shmif.Bus.create(tmp_path / "bus") as bus, bus.attach() as port:
        1 / 0
    assert port.closed and not os.path.exists(bus.path)


def test_the_environment_can_name_the_bus(bus, monkeypatch):
    monkeypatch.setenv("SHMIF_BUS", bus.path)
    assert shmif.Bus.open().path == bus.path
    monkeypatch.setenv("SHMIF_BUS", "")
    with pytest.raises(FileNotFoundError, match="SHMIF_BUS"):
        shmif.Bus.open()


def test_a_port_that_is_forgotten_is_detached_with_a_warning(bus):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        bus.attach("forgotten")
        gc.collect()
    assert [each.category for each in said] == [ResourceWarning] and "forgotten" in str(said[0].message)
    assert bus.ports() == []
    unraisable = []
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "unraisablehook", lambda what: unraisable.append(what.exc_type))
        warnings.simplefilter("error")
        bus.attach("forgotten")
        gc.collect()
    assert (unraisable, bus.ports()) == ([ResourceWarning], [])


def test_the_descriptor_is_readable_while_frames_wait(bus, port):
    with bus.attach("a") as a:
        fd = port.fileno()
        assert select.select([port], [], [], 0)[0] == []
        a.send_many([frame_to(port, a)] * 3)
        for _ in range(3):
            assert select.select([port], [], [], 10)[0] == [port]
            assert port.receive(timeout=0).payload == b"hello"
        assert select.select([port], [], [], 0)[0] == []
        assert port.fileno() == fd
        with pytest.raises(TimeoutError):
            port.receive(timeout=0.05)
        a.send(frame_to(port, a))
        assert port.receive(timeout=10).payload == b"hello"


def test_a_port_has_faults_of_its_own(bus, port):
    with bus.attach("a", faults="in:loss=100%;out:delay=30ms") as a:
        began = time.monotonic()
        a.send(frame_to(port, a))
        port.send(frame_to(a, port, b"is lost"))
        assert port.try_receive() is None
        with pytest.raises(TimeoutError):
            a.receive(timeout=0.2)  # our frame goes on meanwhile
        assert time.monotonic() - began >= 0.03 and port.receive(timeout=0).payload == b"hello"
        a.fault(None)
        a.send(frame_to(port, a, b"at once"))
        assert port.receive(timeout=10).payload == b"at once"
        port.send(frame_to(a, port, b"arrives"))
        assert a.receive(timeout=10).payload == b"arrives"
        for wrong, number, words in ((lambda: a.fault("loss=200%"), errno.EINVAL, "200%"),
                                     (a.fileno, errno.EOPNOTSUPP, "event loop for a port with faults")):
            with pytest.raises(shmif.Error, match=words) as failed:
                wrong()
            assert failed.value.errno == number
    with pytest.raises(TimeoutError):
        port.receive(timeout=0.3)  # long enough to wait, however busy the machine is
    with pytest.raises(shmif.Error, match=r"the port has waited \(give them to attach\(\)\)") as failed:
        port.fault("loss=1%")
    assert failed.value.errno == errno.EBUSY


def test_threads_share_a_port_with_faults(bus, port):
    """A frame that waits for its delay goes on, although the thread that receives sleeps."""
    with bus.attach("a", faults="out:delay=20ms") as a:
        receiver = threading.Thread(target=lambda: pytest.raises(shmif.Error, lambda: [a.receive() for _ in range(2)]))
        receiver.start()
        while not a._receiving.locked():
            time.sleep(0.001)
        time.sleep(0.05)
        for i in range(20):
            a.send(frame_to(port, a, b"%d" % i))
            assert port.receive(timeout=4).payload == b"%d" % i
        port.send(frame_to(a, port, b"the end"))
        until = time.monotonic() + 30
        while receiver.is_alive() and time.monotonic() < until:  # it can come between two receives
            a.interrupt()
            receiver.join(0.05)
        assert not receiver.is_alive()


def test_what_is_of_another_type_or_out_of_range_is_named(bus, port, tmp_path):
    for call, kind, words in (
            (lambda: bus.attach(5), TypeError, "the name of a port is a str, and not 5"),
            (lambda: bus.attach("a\0b"), ValueError, "embedded null byte in the name of a port"),
            (lambda: bus.attach(mac=5), TypeError, "a MAC address is a str or bytes, and not 5"),
            (lambda: bus.fault(port, "loss=1%"), TypeError, "the name of a port is a str, and not <shmif.Port"),
            (lambda: bus.fault("test\0x", "loss=1%"), ValueError, "embedded null byte"),
            (lambda: bus.fault("test", "loss=1%\0"), ValueError, "embedded null byte in faults"),
            (lambda: port.fault("loss=1%\0"), ValueError, "embedded null byte in faults"),
            (lambda: bus.line("test\0"), ValueError, "embedded null byte"),
            (lambda: bus.link("test", "down"), TypeError, "up is True or False, and not 'down'"),
            (lambda: bus.partition("web", "db"), TypeError, "partition takes groups"),
            (bus.partition, TypeError, "partition takes groups"),
            (lambda: bus.host("a\0b"), ValueError, "embedded null byte in the name of a host"),
            (lambda: port.send("hello"), TypeError, "a frame is bytes, or another buffer, and not 'hello'"),
            (lambda: shmif.Bus.create(tmp_path / "x", mtu="1500"), TypeError, "mtu is an int, and not '1500'"),
            (lambda: shmif.Bus.create(tmp_path / "x", mtu=-1), ValueError, "mtu is out of range: -1 (68 to 65521)"),
            (lambda: shmif.Bus.create(tmp_path / "x", mode=0o200), ValueError, "mode 0o200: the owner must be able"),
            (lambda: shmif.Bus.create(tmp_path / "x", mode=0o7777), ValueError, "mode 0o7777: a bus has permission bits only"),
            (lambda: shmif.Bus.create(tmp_path / "x", mode=0o1600), ValueError, "mode 0o1600: a bus has permission bits only"),
            (lambda: bus.partition(["test"]), ValueError, "two groups or more"),
            (lambda: bus.partition(["test"], []), ValueError, "two groups or more"),
            (lambda: bus.partition(["test"], [5]), TypeError, "the name of a port is a str, and not 5"),
            (lambda: bus.wait_for(["test"]), TypeError, "the name of a port is a str, and not ['test']"),
            (lambda: bus.host("a", ip=5), TypeError, "ip is a text or a list of texts, and not 5"),
            (lambda: bus.host("a", 5), TypeError, "a program is a command for a shell, or a list"),
            (lambda: bus.host("a", []), ValueError, "and not []"),
            (lambda: port.receive_into(bytearray()), ValueError, "no room"),
            (lambda: shmif.Bus.create(tmp_path / "x", patience=-1), ValueError, "patience is out of range: -1"),
            (lambda: shmif.Bus.create(f"{tmp_path}/x\0y"), ValueError, "embedded null byte in the path"),
            (lambda: shmif.Bus(bus.path + "\0y").remove(force=True), ValueError, "embedded null byte in the path"),
            (lambda: pickle.dumps(port), TypeError, "give the other one the bus")):
        with pytest.raises(kind) as failed:
            call()
        assert type(failed.value) is kind and words in str(failed.value)
    gc.collect()
    assert os.listdir(tmp_path) == [] and [each.name for each in bus.ports()] == ["test"]


def test_timeouts_have_one_rule_everywhere(bus, port):
    """What is no limit for one call is none for another, and what no call can mean is refused."""
    def soon(call):
        return lambda timeout: asyncio.run(asyncio.wait_for(call(timeout), 30))
    with bus.attach("a") as a, bus.follow() as follower:
        waits = [port.receive, lambda timeout: port.receive_many(timeout=timeout), soon(port.asynchronous.receive),
                 lambda timeout: port.receive_into(bytearray(2000), timeout), lambda timeout: next(port.frames(timeout)),
                 lambda timeout: next(port.frames(within=timeout)), lambda timeout: bus.wait_for("a", timeout=timeout),
                 soon(lambda timeout: port.asynchronous.receive_many(timeout=timeout)), follower.receive]
        refuses = [*waits, lambda timeout: bus.change("fault none", "a", timeout), lambda timeout: shmif.Lab({}, timeout=timeout)]
        for timeout, kind in (math.nan, ValueError), (-1, ValueError), (-math.inf, ValueError), ("1", TypeError), (True, TypeError):
            for call in refuses:
                with pytest.raises(kind, match=f"(timeout|within) is a number of seconds.*, and not {timeout!r}"):
                    call(timeout)
        for timeout in math.inf, 1e300, 10**30, 2.5e6, None:
            for call in waits:
                a.send(frame_to(port, a))
                call(timeout)


def test_frames_end_in_time_also_while_others_talk(bus, port):
    async def talk_to_a_task():
        count = 0
        async for _ in port.asynchronous.frames(within=0.02):
            a.send(frame_to(port, a))
            count += 1
            assert count < 100_000
    with bus.attach("a") as a, bus.follow() as follower:
        a.send(frame_to(port, a))
        for reader in port, follower:
            assert next(reader.frames(within=100)).source == a.mac
            a.send(frame_to(port, a))
            for count, _ in enumerate(reader.frames(within=0.02)):
                a.send(frame_to(port, a))
                assert count < 100_000
        asyncio.run(talk_to_a_task())
        port.history()
        assert list(port.frames(0, within=100)) == list(port.frames(within=0.001)) == []


def test_nothing_is_sent_if_the_frames_to_send_are_not_all_there(bus, port):
    def frames():
        yield frame_to(port, a)
        raise ZeroDivisionError
    with bus.attach("a") as a:
        with pytest.raises(ZeroDivisionError):
            a.send_many(frames())
        assert a.counters().tx_frames == 0
        a.close()
        with pytest.raises(shmif.Error, match="is closed"):
            a.send_many([])


def test_a_bus_stays_the_same_after_a_change_of_the_folder(tmp_path, monkeypatch):
    for name in ("d", "e"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "e")
    other = shmif.Bus.create("lan")
    monkeypatch.chdir(tmp_path / "d")
    with shmif.Bus.create("lan") as bus:
        monkeypatch.chdir(tmp_path / "e")
        assert bus.path == str(tmp_path / "d/lan")
        with bus.attach("a"):
            assert (len(bus.ports()), len(other.ports())) == (1, 0)
    assert not (tmp_path / "d/lan").exists() and (tmp_path / "e/lan").exists()


def test_a_pickled_bus_is_the_same_one_but_removes_nothing(bus):
    with bus.attach("a"), pickle.loads(pickle.dumps(bus)) as again, copy.copy(bus) as copied:
        assert [each.name for each in again.ports()] == ["a"] and copied.path == again.path == bus.path
    assert bus.ports() == []


def test_an_error_has_its_public_name(bus):
    with pytest.raises(shmif.Error) as failed:
        shmif.Bus.open("/nowhere")
    assert traceback.format_exception_only(failed.value)[0].startswith("shmif.Error: cannot open the bus /nowhere")
    unsupported = shmif.Unsupported(1, "x")
    assert traceback.format_exception_only(unsupported) == ["shmif.Unsupported: x\n"]


def test_every_member_of_the_c_structures_has_a_place():
    for kind, shape in (("struct shmif_counters", shmif.Counters), ("struct shmif_bus_info", shmif.BusInfo),
                        ("struct shmif_port_info", shmif.PortInfo)):
        members = {name for name, _ in ffi.typeof(kind).fields} - {"size", "flags", "reserved"}
        fields = {field.name for field in dataclasses.fields(shape)}
        assert members - fields == set(), kind
    flags = {name[len("SHMIF_PORT_"):].lower() for name in dir(shmif._library.lib) if name.startswith("SHMIF_PORT_")}
    fields = {field.name for field in dataclasses.fields(shmif.PortInfo)}
    assert flags - {"carrier_known", "line_counted"} - fields == set()


def test_a_library_that_is_not_there_is_told_with_what_to_do():
    run = subprocess.run([sys.executable, "-c", "import shmif"], capture_output=True, text=True, check=False,
                         env=dict(os.environ, SHMIF_LIBRARY="/nowhere/libshmif.so.0"))
    assert run.returncode == 1
    assert "cannot load the C library of shmif: " in run.stderr and "install libshmif0" in run.stderr


def test_a_library_that_is_older_is_told(tmp_path):
    """Of the calls, it has only the version."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no compiler of C")
    (tmp_path / "old.c").write_text('const char* shmif_version(void) { return "0.1.0"; }\n')
    subprocess.run([compiler, "-shared", "-fPIC", "-o", tmp_path / "old.so", tmp_path / "old.c"], check=True)
    run = subprocess.run([sys.executable, "-c", "import shmif"], capture_output=True, text=True, check=False,
                         env=dict(os.environ, SHMIF_LIBRARY=str(tmp_path / "old.so")))
    assert run.returncode == 1 and "ImportError: the C library of shmif is older than this package" in run.stderr


def test_the_example_measures_each_way_and_every_frame_arrives():
    example = Path(__file__).parents[2] / "examples" / "port_speed.py"
    run = subprocess.run([sys.executable, example, "64", "100"], capture_output=True, text=True, check=True, timeout=60)
    rows = [line.rsplit(maxsplit=5) for line in run.stdout.splitlines()]
    assert [row[0].strip() for row in rows] == ["send, try_receive", "send, receive", "send, receive_into",
                                                "send_many, receive_many (32)"]
    for wrong in ["0"], ["20"], ["-5"], ["64", "13"], ["64", "1515"]:
        run = subprocess.run([sys.executable, example, *wrong], capture_output=True, text=True, check=False, timeout=60)
        assert (run.returncode, run.stderr) == (1, "port_speed.py: FRAMES is at least 32, and BYTES 14 to 1514\n")
    for _, median, _, least, _, most in rows:
        assert 0 < float(least.strip("(")) <= float(median) <= float(most.strip(")"))
