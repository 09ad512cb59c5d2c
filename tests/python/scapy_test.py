"""scapy on a bus, as an ordinary user, against a host of `shmifctl exec`."""
import logging
import os
import threading
import time

import pytest
import shmif

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
pytest.importorskip("scapy.layers.l2", reason="python3-scapy is not installed")
from scapy.config import conf  # noqa: E402  (scapy.all takes twice as long)
from scapy.layers.inet import ICMP, IP, UDP, traceroute  # noqa: E402
from scapy.layers.inet6 import IPv6  # noqa: E402
from scapy.layers.l2 import ARP, Ether, arping  # noqa: E402
from scapy.sendrecv import send, sendp, sniff, sr, sr1, srflood, srp, srp1  # noqa: E402
import shmif.scapy  # noqa: E402
from shmif.scapy import ShmifSocket  # noqa: E402

conf.verb = 0
OURS, THEIRS = "198.18.0.9", "198.18.0.1"
COUNT = 1000


@pytest.fixture
def target(host):
    return host("target", ip=f"{THEIRS}/24")


def mac_of(socket):
    """The MAC address of the host. By this question, its kernel also learns ours."""
    answer = socket.sr1(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(psrc=OURS, hwsrc=str(socket.port.mac), pdst=THEIRS), timeout=20)
    return answer[ARP].hwsrc


def pings(mac, count=COUNT):
    return [Ether(dst=mac) / IP(src=OURS, dst=THEIRS) / ICMP(id=7, seq=i) / b"data" for i in range(count)]


def test_it_runs_as_an_ordinary_user():
    assert os.geteuid() != 0


def test_sr_on_a_socket_answers_all(bus, target):
    with ShmifSocket(bus, ip=OURS) as socket:
        answered, unanswered = socket.sr(pings(mac_of(socket), 200), timeout=30)
        assert (len(answered), len(unanswered)) == (200, 0)
        assert sorted(reply[ICMP].seq for _, reply in answered) == list(range(200))
        assert all(reply[IP].src == THEIRS and reply.time >= sent.sent_time - 1 for sent, reply in answered)
        assert socket.port.counters().lost_frames == 0
    assert "target" in [port.name for port in bus.ports()] and len(bus.ports()) == 1


def test_the_functions_of_scapy_run_on_a_bus(bus, target):
    before = conf.L2socket, conf.L3socket, conf.L2listen, conf.route.routes
    with shmif.scapy.use(bus, ip=OURS):
        answer = srp1(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(psrc=OURS, pdst=THEIRS), timeout=20)
        assert answer[ARP].psrc == THEIRS
        answered, unanswered = srp(pings(answer[ARP].hwsrc, COUNT), timeout=30)
        assert (len(answered), len(unanswered)) == (COUNT, 0)
        answered, unanswered = sr([IP(dst=THEIRS) / ICMP(id=8, seq=i) for i in range(COUNT)], timeout=30)
        assert (len(answered), len(unanswered)) == (COUNT, 0)
        assert sr1(IP(dst=THEIRS) / UDP(dport=9) / b"x", timeout=20)[ICMP].type == 3
    assert (conf.L2socket, conf.L3socket, conf.L2listen, conf.route.routes) == before


def test_sniff_gets_every_frame(bus, target):
    with ShmifSocket(bus) as socket, bus.attach("sender") as sender:
        sent = [bytes(Ether(src=str(sender.mac), dst="02:00:00:00:00:01", type=0x88B6) / (b"%04d" % i)) for i in range(COUNT)]
        sniffed = socket.sniff(count=COUNT, timeout=60, lfilter=lambda packet: packet.type == 0x88B6,
                               started_callback=lambda: sender.send_many(sent))
        assert [bytes(packet) for packet in sniffed] == sent
        assert abs(float(sniffed[0].time) - time.time()) < 600
        sendp(Ether(src="02:00:00:00:00:02", dst=str(sender.mac), type=0x88B6) / b"sent", socket=socket)
        assert next(frame for frame in sender if frame.ethertype == 0x88B6).payload == b"sent"
    with bus.attach("again") as port:
        with ShmifSocket(port) as socket:
            ours = sniff(opened_socket=socket, count=1, timeout=0.05, lfilter=lambda packet: packet.type == 0x88B6)
            assert len(ours) == 0
        assert port.is_up and not port.closed


def test_the_host_learns_our_address_by_arp(bus, target):
    """It asks for the address that the socket says it has, and gets an answer while scapy reads."""
    with ShmifSocket(bus, ip=OURS) as socket:
        with target.popen(f"ping -c 1 -W 30 {OURS}", stdout=-3) as ping:
            seen = socket.sniff(timeout=60, stop_filter=lambda packet: ICMP in packet)
            assert seen[-1][IP].src == THEIRS
            ping.kill()


def test_a_filter_of_the_kernel_is_refused(bus):
    with shmif.scapy.use(bus, ip=OURS), pytest.raises(ValueError, match="lfilter"):
        srp(Ether() / IP(), filter="icmp", timeout=1)


def test_a_capture_of_a_bus_that_one_may_only_read(bus, port, tmp_path):
    os.chmod(bus.path, 0o400)
    assert not os.access(bus.path, os.W_OK)
    with bus.capture(tmp_path / "x.pcap") as capture:
        assert [each.name for each in bus.ports()] == ["test"]
        for i in range(50):
            port.send(shmif.BROADCAST + port.mac + b"\x88\xb6" + b"frame %03d" % i)
    data = capture.path.read_bytes()
    assert [data.count(b"frame %03d" % i) for i in range(50)] == [1] * 50


def test_what_has_no_sender_is_from_the_port(bus, port):
    broadcast = "ff:ff:ff:ff:ff:ff"
    with ShmifSocket(bus, ip=OURS) as socket:
        socket.send(Ether(src="00:00:00:00:00:00", dst=broadcast) / ARP(hwsrc="00:00:00:00:00:00", pdst=THEIRS))
        socket.send(Ether(src="02:00:00:00:00:55", dst=broadcast) / IP(dst=THEIRS))
        asked, said = port.receive(timeout=10), port.receive(timeout=10)
        assert asked.source == socket.port.mac and asked[22:28] == socket.port.mac
        assert said.source == shmif.Mac("02:00:00:00:00:55")


def test_packets_for_a_group_or_for_all_go_to_its_address(bus):
    with shmif.scapy.use(bus, ip=f"{OURS}/24"), bus.attach("other", promiscuous=True) as other:
        for ip, mac in (("239.129.2.3", "01:00:5e:01:02:03"), ("198.18.0.255", "ff:ff:ff:ff:ff:ff"),
                        ("255.255.255.255", "ff:ff:ff:ff:ff:ff")):
            send(IP(dst=ip) / ICMP())
            frame = other.receive(timeout=10)
            assert (str(frame.destination), IP(frame.payload).src, IP(frame.payload).dst) == (mac, OURS, ip)


def test_packets_to_nobody_are_told_and_have_no_answer(bus, caplog, capsys):
    caplog.set_level(logging.WARNING, "scapy.runtime")
    with shmif.scapy.use(bus, ip=OURS):
        assert sr1(IP(dst="198.18.0.77") / ICMP(), timeout=0.2) is None
    assert f"nobody on {bus.path} has the address 198.18.0.77: 1 packets were not sent" in caplog.text
    assert "Traceback" not in caplog.text + "".join(capsys.readouterr())


def test_protocols_without_ip_need_no_address(bus, port, caplog):
    caplog.set_level(logging.WARNING, "scapy.runtime")
    with shmif.scapy.use(bus):
        sendp(Ether(dst=str(port.mac), type=0x88B6) / b"hello")
        frame = port.receive(timeout=10)
        assert frame.payload == b"hello" and frame.source not in (bytes(6), port.mac)
        with pytest.raises(shmif.Error, match="give use\\(\\) an ip"):
            send(IP(dst=THEIRS) / ICMP())
    with shmif.scapy.use(bus, ip=OURS):
        sendp(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(pdst=THEIRS))
        frame = port.receive(timeout=10)
        assert frame.source == frame[22:28] != bytes(6) and frame[28:32] == bytes([198, 18, 0, 9])
    assert caplog.text == ""


def test_a_socket_says_that_it_is_the_sender(bus, port, target):
    """Where the packet does not say it. Otherwise scapy writes addresses of this machine, and nobody answers."""
    with ShmifSocket(bus, ip=OURS) as socket:
        theirs = socket.sr1(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(pdst=THEIRS), timeout=20)[ARP].hwsrc
        pinged = [Ether(dst=theirs) / IP(dst=THEIRS) / ICMP(seq=i) for i in range(3)]
        answered, unanswered = socket.sr(pinged, timeout=20)
        assert (len(answered), len(unanswered), answered[0][0][IP].src) == (3, 0, OURS)
        packet = Ether(dst="ff:ff:ff:ff:ff:ff") / IP(dst=THEIRS) / UDP()
        socket.send(packet)
        sent = next(frame for frame in port if frame[12:14] == b"\x08\0")
        assert sent.source == socket.port.mac and IP(sent.payload).src == OURS
        assert "src" not in packet.fields and "src" not in packet[IP].fields


def test_one_thread_sends_while_another_receives(bus, target, caplog, monkeypatch):
    """Between its look at the frames that it keeps, and that at its pipe, the one is slow."""
    real = os.write
    monkeypatch.setattr(shmif.scapy.os, "write", lambda *what: (time.sleep(0.002), real(*what))[1])
    caplog.set_level(logging.ERROR, "scapy.runtime")
    with shmif.scapy.use(bus, ip=OURS):
        for _ in range(20):
            answered, _ = srflood(IP(dst=THEIRS) / ICMP(), timeout=0.3)
            if answered:
                break
    assert answered and caplog.text == ""


def test_what_no_socket_on_a_bus_can_do_is_told_without_a_traceback(bus, caplog):
    caplog.set_level(logging.WARNING, "scapy.runtime")
    with shmif.scapy.use(bus, ip=OURS):
        assert sr1(IPv6(dst="fd00::1"), timeout=0.05) is None
        with pytest.raises(ValueError, match="traceroute"):
            traceroute(THEIRS, timeout=0.05)
    assert "packet to fd00::1 was not sent" in caplog.text and "Traceback" not in caplog.text


def test_arping_finds_who_is_there(bus, target):
    with shmif.scapy.use(bus, ip=OURS):
        until = time.monotonic() + 60
        found = []
        while not found and time.monotonic() < until:
            found = [answer[ARP].psrc for _, answer in arping("198.18.0.0/30", timeout=0.3, verbose=0)[0]]
        assert found == [THEIRS]


@pytest.mark.parametrize("end", ["down", "close"])
def test_sniff_ends_when_the_port_does(port, end):
    timer = threading.Timer(0.1, getattr(port, end))
    timer.start()
    with ShmifSocket(port) as socket:
        assert len(sniff(opened_socket=socket, timeout=60)) == 0
        assert not port.is_up
    timer.join(30)


@pytest.mark.parametrize("wrong", [5, "300.1.1.1", "hello", "fd00::1", "198.18.0.9/33", ""])
def test_a_wrong_address_is_refused_at_once_and_leaves_no_port(bus, wrong):
    with pytest.raises(ValueError, match="ip is an IPv4 address"):
        ShmifSocket(bus, ip=wrong, name="again")
    with pytest.raises(ValueError, match="ip is an IPv4 address"):
        shmif.scapy.use(bus, ip=wrong).__enter__()
    with ShmifSocket(bus, ip=OURS, name="again") as socket:
        assert socket.port.name == "again"


def test_a_closed_socket_writes_nowhere(bus, port, tmp_path):
    """Its descriptors can be those of files by then. A send that has begun goes on after the close."""
    with bus.attach("other") as other:
        for begun in True, False:
            socket = ShmifSocket(port)
            if begun:
                real, socket._from_us = socket._from_us, lambda data: (socket.close(), real(data))[1]
            else:
                socket.close()
            other.send(b"\xff" * 60)
            files = []
            try:
                if begun:
                    last = socket._keep_what_came
                    socket._keep_what_came = lambda: (files.extend(open_nine(tmp_path)), last())
                    socket.send(b"\xff" * 60)
                else:
                    files += open_nine(tmp_path)
                    with pytest.raises(shmif.Error, match="this ShmifSocket is closed"):
                        socket.send(b"\xff" * 60)
                assert (tmp_path / "file").read_bytes() == b"" and socket.fileno() == -1
            finally:
                for each in files:
                    os.close(each)


def open_nine(folder):
    return [os.open(folder / "file", os.O_RDWR | os.O_CREAT) for _ in range(9)]


def test_a_send_among_many_frames_ends_and_keeps_a_bounded_number(bus, monkeypatch):
    frame = bytes(Ether(dst="02:00:00:00:00:01", type=0x88B6) / bytes(50))
    with ShmifSocket(bus) as socket, bus.attach("other") as other:
        other.send_many([frame] * 1000)
        socket.send(Ether() / b"x")
        assert len(socket._kept) == shmif.scapy._AT_ONCE
        monkeypatch.setattr(shmif.scapy, "_KEPT_BYTES", 300 * (len(frame) + shmif.scapy._FRAME_BYTES))
        socket.send(Ether() / b"x")
        assert len(socket._kept) == 300
        assert len(socket.sniff(count=1000, timeout=30)) == 1000 and socket._kept_bytes == 0


def test_only_whole_answers_to_questions_are_learned(bus, caplog):
    caplog.set_level(logging.WARNING, "scapy.runtime")
    with shmif.scapy.use(bus, ip=OURS), conf.L3socket() as socket, bus.attach("other") as other:
        other.send(b"\xff" * 6 + other.mac + b"\x08\x06\0\x01\x08\0\x06\x04\0\x02\0\0")
        for i in range(100):
            other.send(bytes(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(op=2, hwsrc=str(other.mac), psrc=f"198.18.1.{i}")))
        socket.send(IP(dst="255.255.255.255") / ICMP())
        assert len(socket._kept) == 101 and socket._known == {}
        assert sr1(IP(dst=THEIRS) / ICMP(), timeout=0.05) is None and "Traceback" not in caplog.text


def test_a_packet_is_sent_before_the_next_one_is_made(bus, port):
    seen = []

    def packets():
        for i in range(3):
            yield Ether(dst=str(port.mac), type=0x88B6) / bytes([i])
            seen.append(port.receive(timeout=10).payload[:1])
    with ShmifSocket(bus, ip=OURS) as socket:
        assert len(socket.sr(packets(), timeout=0.05)[1]) == 3
        assert seen == [b"\0", b"\1", b"\2"]
        assert len(socket.sr(Ether(dst=str(port.mac)) / IP(dst="198.18.1.0/29"), timeout=0.05, retry=-1)[1]) == 8
