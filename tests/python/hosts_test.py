"""Hosts, captures, and changes of lines: with programs of shmif."""
import contextlib
import errno
import os
import signal
import subprocess
import threading
import time
import warnings

import pytest
import shmif

KIND = b"\x88\xb6"
# Answers each frame of KIND that comes to its interface with the same payload. It says when it listens.
ECHO = """
import socket
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88b6))
link.bind(("tap0", 0x88b6))
mine = link.getsockname()[4]
print("listens", flush=True)
while True:
    frame = link.recv(2000)
    link.send(frame[6:12] + mine + frame[12:])
"""


@pytest.fixture
def echo(host):
    made = host("echo", ["python3", "-c", ECHO], mac="b2:a0:00:00:00:05")
    made.wait_output("listens")
    return made


def ask(port, text, timeout):
    """The answer of the host, or None. Its kernel sends other frames, too."""
    port.send(shmif.Mac("b2:a0:00:00:00:05") + port.mac + KIND + text.ljust(46, b"\0"))
    until = time.monotonic() + timeout
    with contextlib.suppress(TimeoutError):
        while True:
            frame = port.receive(max(until - time.monotonic(), 0))
            if frame[12:14] == KIND:
                return frame.payload.rstrip(b"\0")
    return None


def row(bus, name):
    found, = (port for port in bus.ports() if port.name == name)
    return found


def test_a_host_answers_and_is_gone_after_the_test(bus, host, port):
    web = host("web", ip=["198.18.0.1/24", "fd00::1/64"], env={"COLOUR": "blue"})
    said = web.run("ip -brief address show tap0").stdout
    assert "198.18.0.1/24" in said and "fd00::1/64" in said
    assert web.run(["cat"], input="given").stdout == "given"
    assert web.run("exit 3", check=False).returncode == 3
    with pytest.raises(subprocess.CalledProcessError, match="no such thing"):
        web.run("echo no such thing >&2; exit 1")
    with web.popen("cat /proc/1/environ", stdout=subprocess.PIPE) as process:
        process.communicate()
    assert row(bus, "web").pid and web.running and web.pid > 0
    web.close()
    assert not web.running and "web" not in [each.name for each in bus.ports()]


def test_a_host_that_does_not_start_says_why(bus, host):
    with pytest.raises(FileNotFoundError, match='"web" on .*no program "no-such-program"'):
        host("web", ["no-such-program"])
    with pytest.raises(shmif.Error, match="198.18.0.999"):
        host("other", ip="198.18.0.999/24")


def test_a_host_that_has_ended_says_what_it_has_printed(bus, host, monkeypatch):
    """Also if it ends while another program is about to enter it."""
    web = host("web", "no-such-program")
    assert web.wait(30) == 127
    with monkeypatch.context() as patch:
        real = web._must_run
        patch.setattr(web, "_must_run", lambda within=0: real(within) if within else None)
        with pytest.raises(shmif.Error, match='the host "web" has ended'):
            web.run("true", check=False)
    for call in (lambda: web.run("true", check=False), lambda: web.popen("true"), lambda: web.wait_output("never")):
        with pytest.raises(shmif.Error, match='(?s)the host "web" has ended.*no-such-program: not found') as failed:
            call()
        assert failed.value.errno == errno.ECHILD


def test_a_name_that_is_taken_is_told_at_once(bus, host):
    web = host("web")
    port = bus.attach("python", up=False)
    for name in ("web", "python"):
        with pytest.raises(FileExistsError, match=f'the host "{name}" on .*another port has this name'):
            host(name)
    assert not port.closed and [row(bus, name).pid for name in ("web", "python")] == [web.pid, os.getpid()]


def test_a_host_is_there_only_when_the_port_is_its_own(bus, port, monkeypatch, tmp_path):
    """Another port takes the name after we looked."""
    program = tmp_path / "shmifctl"
    program.write_text("#!/bin/sh\nsleep 0.3; echo 'the name is taken' >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("SHMIFCTL", os.fspath(program))
    attached = []
    threading.Timer(0.1, lambda: attached.append(bus.attach("web"))).start()
    with pytest.raises(shmif.Error, match="the name is taken"):
        bus.host("web")
    assert row(bus, "web").pid == os.getpid()


def test_a_mac_address_is_text_or_bytes(bus, host):
    for name, mac in (("a", shmif.Mac("b2:a0:00:00:00:05")), ("b", b"\xb2\xa0\0\0\0\6"), ("c", "B2:A0:0:0:0:7")):
        host(name, mac=mac)
        assert row(bus, name).mac == shmif.Mac(mac)


def test_waiting_for_output_ends_with_the_host(bus, host):
    web = host("web", "echo begins; read line; sleep 0.2; echo 'it is broken' >&2; exit 3")
    with pytest.raises(shmif.Error, match='the host "web" has ended before it was heard to say "ready": begins\nit is broken'):
        web.wait_output("ready", timeout=60)
    with pytest.raises(TimeoutError, match="after 0.05 s"):
        host("other").wait_output("ready", timeout=0.05)
    said = host("third", "echo listens; sleep 60").wait_output("listens")
    assert said == "listens\n"


def test_a_program_that_runs_too_long_is_killed_with_all_that_it_started(bus, host):
    web, mark = host("web"), f"77.{os.getpid()}"
    with pytest.raises(TimeoutError, match="after 0.5 s, and was killed\nbegun") as late:
        web.run(f"sleep {mark} & echo begun; sleep {mark}; echo never", timeout=0.5)
    assert isinstance(late.value, shmif.Error) and isinstance(late.value, subprocess.TimeoutExpired)
    assert (late.value.errno, late.value.timeout, late.value.stdout) == (errno.ETIMEDOUT, 0.5, "begun\n")
    assert "the host has ended" not in str(late.value)
    assert mark not in web.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout
    with pytest.raises(TimeoutError, match='"web" has not ended after 0.01 s'):
        web.wait(timeout=0.01)
    assert web.running


@pytest.mark.parametrize("left", ["sleep {} & echo hi", "setsid sleep {} & setsid sleep {} > /dev/null & echo hi",
                                  "sleep {} & yes"])
def test_what_a_program_that_ran_too_long_has_left_behind_is_killed(bus, host, left):
    web, mark = host("web"), f"78.{os.getpid()}"
    with pytest.raises(TimeoutError, match="after 1 s, and was killed\n") as late:
        web.run(left.replace("{}", mark), timeout=1)
    assert len(str(late.value)) < 100_000
    assert mark not in web.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout


def test_text_at_the_end_of_a_long_output_is_found_and_messages_are_short(host):
    web = host("web", "truncate -s 100M /proc/self/fd/1; sleep 0.1; echo READY >> /proc/self/fd/1; sleep 1")
    said = web.wait_output("READY")
    assert said.endswith("READY\n") and len(said) < 2e6
    for text, timeout, message in (("never", 60, "has ended"), ("never", 0, "after 0 s")):
        with pytest.raises(shmif.Error, match=message) as failed:
            web.wait_output(text, timeout)
        assert len(str(failed.value)) < 100_000
    with pytest.raises(subprocess.CalledProcessError) as failed:
        host("other").run("head -c 1M /dev/zero; exit 1")
    assert len(str(failed.value)) < 100_000 and len(failed.value.stdout) == 1 << 20


def test_text_is_found_wherever_it_begins(monkeypatch, host):
    monkeypatch.setattr(shmif.hosts, "_KEPT_BYTES", 3)
    web = host("web", "printf 'xxxx\\303\\244READY\\n'; sleep 60")
    assert web.wait_output("\xe4READY").endswith("DY\n")


def test_no_program_runs_in_another_host_of_the_same_name(bus):
    """After another program has moved the one."""
    with shmif.Bus.create() as second, bus.host("web", env={"WHO": "first"}) as web:
        subprocess.run([shmif.hosts.shmifctl(), "move", bus.path, "web", second.path], check=True, stdout=subprocess.DEVNULL)
        with bus.host("web") as other:
            with pytest.raises(shmif.Error, match='"web" is not on .* another program has moved it') as failed:
                web.run("true")
            assert failed.value.errno == errno.ENODEV and other.run("true").returncode == 0


def test_a_move_is_followed_by_any_path_of_the_bus_and_by_open_hosts_only(bus, tmp_path):
    folder, name = os.path.split(bus.path)
    (tmp_path / "alias").symlink_to(folder)
    closed = bus.host("web")
    closed.close()
    with shmif.Bus.create() as second, bus.host("web") as web:
        shmif.Bus(tmp_path / "alias" / name).move("web", second)
        assert web.bus is second and closed.bus is bus and web.run("echo there").stdout == "there\n"


def test_what_a_terminal_would_obey_is_not_shown(bus, host, monkeypatch):
    web = host("web", "printf 'a\\033]0;b\\007\\302\\233\\n'; exit 1")
    web.wait(30)
    with pytest.raises(shmif.Error, match=r"a\?\]0;b\?\?$"):
        web.run("true")
    assert web.output() == "a\033]0;b\007\x9b\n"
    monkeypatch.setattr(shmif.bus, "text_of", lambda room: "fault \033]0;loss")
    assert host("other") and bus.line("other") == "fault ?]0;loss"


def test_a_host_that_commands_take_for_an_option_is_refused(bus):
    with pytest.raises(ValueError, match='does not begin with "-", and is not "-x"'):
        bus.host("-x")


def test_a_capture_that_fails_does_not_know_its_loss(bus, tmp_path, monkeypatch):
    capture = bus.capture(tmp_path / "x.pcap")
    monkeypatch.setattr(capture._program, "output", lambda: "10 frames captured, 0 filtered out, 5 lost\n")
    os.kill(capture._program.pid, signal.SIGKILL)
    with pytest.raises(shmif.Error, match="how many frames it lacks is not known"):
        capture.close()
    assert capture.lost is None


def test_a_capture_that_had_to_be_killed_says_so(bus, tmp_path, monkeypatch):
    monkeypatch.setattr(shmif.hosts, "_PATIENCE", 0.1)
    capture = bus.capture(tmp_path / "x.pcap")
    os.kill(capture._program.pid, signal.SIGSTOP)
    with pytest.raises(shmif.Error, match="did not end within 0.1 s, and was killed"):
        capture.close()


def test_bytes_that_are_no_text_go_in_and_come_out_replaced(host):
    web = host("web")
    assert web.run(["cat"], input=b"a\xffb").stdout == "a\ufffdb"
    assert web.run(["cat"], input="\xe4").stdout == "\xe4"


def test_the_output_stays_after_the_end(bus):
    with bus.host("web", "echo said; sleep 60") as web:
        web.wait_output("said")
    assert web.output() == "said\n" and web.closed
    web.close()


def test_the_end_of_the_bus_ends_hosts_and_captures(tmp_path):
    with shmif.Bus.create() as bus:
        web, capture = bus.host("web"), bus.capture(tmp_path / "x.pcap")
        with bus.attach("a") as a:
            a.send(shmif.BROADCAST + a.mac + KIND + b"recorded")
    assert web.closed and not web.running and b"recorded" in capture.path.read_bytes()
    with pytest.raises(ProcessLookupError):
        os.kill(web.pid, 0)


def test_faults_links_and_partitions_act_on_a_host(bus, port, echo, fault):
    assert ask(port, b"before", 20) == b"before"
    assert "loss=100%" in fault("echo", "in:loss=100%")
    assert bus.line("echo") == "fault in:loss=100%"
    assert ask(port, b"lost", 0.1) is None
    fault("echo", None)
    assert bus.line("echo") == ""
    assert ask(port, b"again", 20) == b"again"
    bus.link("echo", False)
    assert bus.line("echo") == "link down" and ask(port, b"no cable", 0.1) is None
    bus.link("echo", True)
    bus.wait_for("echo")
    assert ask(port, b"cable", 20) == b"cable"
    with pytest.raises(shmif.Error) as failed:
        bus.fault("echo", "loss=200%")
    assert failed.value.errno == errno.ECANCELED and "200%" in str(failed.value)
    with bus.host("other"):
        bus.partition(["echo"], ["other"])
        assert row(bus, "echo").partitioned and row(bus, "echo").takes_changes
        bus.heal()
        assert not row(bus, "echo").partitioned
    with shmif.Bus.create() as second:
        bus.fault("echo", "duplicate=1%")
        bus.move("echo", second)
        assert [each.name for each in bus.ports()] == ["test"]
        assert second.line("echo") == "fault duplicate=1%" and echo.bus is second
        assert echo.run("echo there").stdout == "there\n"
        second.fault("echo", None)
        with second.attach() as there:
            assert ask(there, b"moved", 20) == b"moved"


def test_what_a_line_drops_is_counted(bus, port, echo):
    bus.fault("echo", "in:loss=100%")
    before = row(bus, "echo").line_dropped_in or 0
    for _ in range(5):
        ask(port, b"lost", 0)
    until = time.monotonic() + 30
    while (row(bus, "echo").line_dropped_in or 0) < before + 5 and time.monotonic() < until:
        time.sleep(0.05)
    assert row(bus, "echo").line_dropped_in >= before + 5


def test_a_capture_has_each_frame_from_its_start_to_its_end(bus, port, tmp_path):
    with bus.attach("a") as a:
        for name, magic in (("x.pcap", b"\x4d\x3c\xb2\xa1"), ("x.pcapng", b"\x0a\x0d\x0d\x0a")):
            a.send(port.mac + a.mac + KIND + b"before it")
            with bus.capture(tmp_path / name) as capture:
                for i in range(50):
                    a.send(port.mac + a.mac + KIND + b"frame %03d" % i)
            a.send(port.mac + a.mac + KIND + b"after it")
            data = capture.path.read_bytes()
            assert data[:4] == magic and b"before it" not in data and b"after it" not in data
            assert [data.count(b"frame %03d" % i) for i in range(50)] == [1] * 50
        with bus.capture(tmp_path / "y.pcap", "ether proto 0x88b7") as capture:
            a.send(port.mac + a.mac + KIND + b"another kind")
            a.send(port.mac + a.mac + b"\x88\xb7" + b"this kind")
        data = capture.path.read_bytes()
        assert b"this kind" in data and b"another kind" not in data
        with pytest.raises(shmif.Error, match="nonsense"):
            bus.capture(tmp_path / "z.pcap", "nonsense")
        for wrong in ("z.txt", "z", "pcap"):
            with pytest.raises(ValueError, match='a capture is a file "x.pcapng" or "x.pcap", and not'):
                bus.capture(tmp_path / wrong)


@pytest.mark.parametrize("patience, remedy", [(0, r"create\(patience=1\)"), (0.001, "larger ring_bytes.* at most 0.001 s")])
def test_a_capture_that_has_missed_frames_says_how_many(patience, remedy, tmp_path):
    with shmif.Bus.create(ring_bytes=65536, patience=patience) as bus, bus.attach() as port:
        frame = shmif.BROADCAST + port.mac + KIND + bytes(1000)
        capture = bus.capture(tmp_path / "x.pcap")
        os.kill(capture._program.pid, signal.SIGSTOP)
        port.send_many([frame] * 200)
        os.kill(capture._program.pid, signal.SIGCONT)
        with pytest.warns(shmif.CaptureLoss, match=r"x.pcap has missed \d+ frames.*" + remedy) as said:
            capture.close()
        written = capture.path.read_bytes().count(frame[:14])
        assert 0 < capture.lost == 200 - written and f"missed {capture.lost} frames" in str(said[0].message)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with bus.capture(tmp_path / "y.pcap") as capture:
                port.send(frame)
        assert capture.lost == 0


def test_a_capture_has_its_file_when_it_is_made_and_says_if_it_fails(bus, port, tmp_path):
    for _ in range(10):
        with pytest.raises(shmif.Error, match="/nowhere/x.pcap"):
            bus.capture("/nowhere/x.pcap")
    capture = bus.capture(tmp_path / "x.pcap")
    assert capture.path.stat().st_size >= 24
    os.kill(capture._program.pid, signal.SIGKILL)
    with pytest.raises(shmif.Error, match="x.pcap is not complete"):
        capture.close()
    capture.close()


def test_attached_means_that_nothing_is_missed(bus):
    """200 times: a port that was attached gets the next frame, and a port that has received is not ahead of it."""
    with bus.attach("a") as a:
        for i in range(200):
            with bus.attach("b") as b:
                a.send(b.mac + a.mac + KIND + b"%d" % i)
                frame = b.receive(timeout=20)
                assert (frame.payload, frame.number, frame.lost) == (b"%d" % i, i, 0)


def test_a_capture_that_has_begun_misses_nothing(bus, port, tmp_path):
    for i in range(40):
        with bus.capture(tmp_path / "x.pcap") as capture:
            port.send(shmif.BROADCAST + port.mac + KIND + b"frame %03d" % i)
        assert capture.path.read_bytes().count(b"frame %03d" % i) == 1


def test_without_the_program_the_error_says_what_to_do(bus, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("SHMIFCTL", raising=False)
    with pytest.raises(FileNotFoundError, match="shmif-tools"):
        bus.host("web")


def test_a_machine_that_cannot_run_hosts_is_told_apart(bus, tmp_path, monkeypatch):
    program = tmp_path / "shmifctl"
    program.write_text("#!/bin/sh\necho 'shmifctl: user namespaces are not allowed' >&2\nexit 77\n")
    program.chmod(0o755)
    monkeypatch.setenv("SHMIFCTL", os.fspath(program))
    for start in (lambda: bus.host("web"), lambda: shmif.Lab({"bus": {"lan": {}}}).up()):
        with pytest.raises(shmif.Unsupported, match="user namespaces are not allowed"):
            start()
    program.write_text("#!/bin/sh\necho 'cannot read config' >&2\nexit 77\n")  # as a program that ends before it is seen
    with pytest.raises(shmif.Error, match="cannot read config") as failed:
        bus.host("web")
    assert not isinstance(failed.value, shmif.Unsupported)
    network = {"bus": {"lan": {}}, "host": {"a": {"on": "lan", "run": "echo 'cannot read config'; exit 77", "ready": "log never"}}}
    monkeypatch.undo()
    with pytest.raises(shmif.Error, match="cannot read config") as failed:
        shmif.Lab(network).up()
    assert not isinstance(failed.value, shmif.Unsupported)
    program.write_text("#!/bin/sh\nif [ $1 = ls ]; then echo '{\"labs\":[]}'; exit; fi\necho 'shmifctl: cannot start the lab x: host a "
                       "ended with exit code 77 before it was ready\n  a | shmifctl: cannot make it' >&2\nexit 77\n")
    monkeypatch.setenv("SHMIFCTL", os.fspath(program))
    with pytest.raises(shmif.Unsupported, match="cannot make it"):
        shmif.Lab(network).up()
