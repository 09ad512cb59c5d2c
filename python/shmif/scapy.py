"""scapy on a bus, as any user, without a network interface.

    from scapy.all import ARP, Ether
    from shmif.scapy import ShmifSocket

    with ShmifSocket("/dev/shm/bus0", ip="198.18.0.9") as socket:
        answered, _ = socket.sr(Ether(dst="ff:ff:ff:ff:ff:ff") / ARP(pdst="198.18.0.1"), timeout=2)

ShmifSocket is a SuperSocket: it has sr(), sr1() and sniff(), and is the `opened_socket` of sniff() and the `socket` of
send() and sendp(). use() lets srp(), srp1(), sr(), sr1(), sendp(), send() and sniff() run on a bus unchanged.
"""
from __future__ import annotations

import collections
import contextlib
import errno
import ipaddress
import os
import select
import threading
import time
from typing import Any, Callable, Deque, Dict, Iterator, List, Optional, Tuple, Type, Union

from scapy.base_classes import Gen, SetGen
from scapy.config import conf
from scapy.data import MTU
from scapy.error import warning
from scapy.layers import l2
from scapy.layers.inet import IP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet
from scapy.supersocket import SuperSocket

from ._library import error
from .bus import Bus
from .port import Port
from .values import Frame, Mac

_INTERFACE = "shmif"  # as scapy's routes have it
_ARP_MOMENT = 0.1  # seconds that send() waits for an answer, which usually comes in less than a millisecond
_ARP_AGAIN, _ARP_PATIENCE = 0.3, 1.0
# What send() looks at, and what a socket keeps for recv(). More stays in the ring, and can be overwritten there.
_AT_ONCE = 256  # frames
_KEPT_BYTES, _FRAME_BYTES = 64 << 20, 400  # in total; of each frame, beside what it holds
_LOOK = 0.25  # seconds after which select() looks whether a port still is up

Keeps = Callable[[bytes], bool]


class _Ours(Gen):  # type: ignore[misc]
    """Packets as iterated by scapy, each changed when it is its turn."""

    def __init__(self, packets: Any, change: Callable[[Packet], Packet]) -> None:
        self._packets, self._change = SetGen(packets), change

    def __iter__(self) -> Iterator[Packet]:
        return map(self._change, self._packets)

    def __len__(self) -> int:
        return len(self._packets)


class ShmifSocket(SuperSocket):  # type: ignore[misc]
    """A port of a bus as a socket of scapy for Ethernet frames. Where a packet that send(), sr() or sr1() gets has no sender,
    it is the port: src of Ether and IP, hwsrc and psrc of ARP. (Without `ip`, its address is 0.0.0.0. Other functions of
    scapy that get the socket, such as sndrcv(), ask this machine for its addresses, unless they run in use().)
    Threads: one can send while another receives, as in srflood()."""

    desc = "read and write Ethernet frames on a bus of shmif"
    _names_sender = True  # use() gives packets their sender in another way

    def __init__(self, bus: Union[Bus, Port, str, os.PathLike[str]], *, ip: Optional[str] = None, name: Optional[str] = None,
                 promiscuous: bool = True, history: bool = False, keeps: Optional[Keeps] = None) -> None:
        """bus: a bus, its path, or a port, which close() then leaves open. ip: an IPv4 address that the socket says
        it has, with or without a prefix length: it answers ARP requests for it while it is being read, so that hosts can
        answer. keeps: which frames it receives. The other arguments are those of Bus.attach()."""
        address = _address(ip)  # if it is none, nothing is attached yet
        self._owns_port = not isinstance(bus, Port)
        if isinstance(bus, Port):
            self.port = bus
        else:
            opened = bus if isinstance(bus, Bus) else Bus.open(bus)
            self.port = opened.attach(name, promiscuous=promiscuous, history=history)
        self.ip = str(address.ip) if address else None
        self._ip_bytes = address.ip.packed if address else None
        self._net = address.network if address and address.network.prefixlen < 31 else None
        self._keeps = keeps
        self.closed = False
        self.iface = self.port.name
        self.ins = self.outs = self  # scapy looks at them to see what kind of socket it has
        # Frames that came while we sent, and a pipe that is readable while there are any. The descriptor for others
        # is an epoll of both sources.
        self._lock = threading.RLock()  # of all that follows, and of frames on their way to it
        self._kept: Deque[Frame] = collections.deque()
        self._kept_bytes = 0
        self._pipe = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._epoll = select.epoll()
        self._epoll.register(self.port.fileno(), select.EPOLLIN)
        self._epoll.register(self._pipe[0], select.EPOLLIN)

    def fileno(self) -> int:
        """A descriptor that is readable while frames are there."""
        with self._lock:
            return -1 if self.closed else self._epoll.fileno()

    def send(self, x: Packet) -> int:
        """Sends a packet. Result: how many bytes. Raises Error with the errno EBADF if the socket is closed."""
        if self.closed:
            raise error(errno.EBADF, f"cannot send on {self.port.bus_path}: this ShmifSocket is closed")
        data = self._from_us(bytes(self._ours(x.copy()) if self._names_sender and isinstance(x, Packet) else x))
        with contextlib.suppress(AttributeError):
            x.sent_time = time.time()
        self.port.send(data)
        # scapy sends all packets before it reads. Meanwhile hosts ask for our address, and the ring is overwritten.
        self._keep_what_came()
        return len(data)

    def sr(self, x: Any, *args: Any, **options: Any) -> Any:
        """Sends packets, and receives answers, as sr() of scapy."""
        return super().sr(self._all_ours(x), *args, **options)

    def sr1(self, x: Any, *args: Any, **options: Any) -> Any:
        """Sends packets, and receives an answer, as sr1() of scapy."""
        return super().sr1(self._all_ours(x), *args, **options)

    def _all_ours(self, packets: Any) -> Any:
        """Before they are sent: scapy finds answers by the addresses."""
        return _Ours(packets, self._ours) if self._names_sender else packets

    def _ours(self, packet: Packet) -> Packet:
        """Writes the addresses of the port where the caller has left out the sender."""
        layer = packet
        while layer:
            for kind, field, value in ((Ether, "src", str(self.port.mac)), (ARP, "hwsrc", str(self.port.mac)),
                                       (ARP, "psrc", self.ip or "0.0.0.0"), (IP, "src", self.ip or "0.0.0.0")):
                if isinstance(layer, kind) and field not in layer.fields:
                    layer.setfieldval(field, value)
            layer = layer.payload
        return packet

    def _from_us(self, data: bytes) -> bytes:
        """The frame with our MAC address as its sender, where scapy has put none, because it knows no interface."""
        mac = bytes(self.port.mac)
        if data[6:12] == bytes(6):
            data = data[:6] + mac + data[12:]
        if data[12:14] == b"\x08\x06" and data[22:28] == bytes(6):
            data = data[:22] + mac + data[28:]
        return data

    def _keep_what_came(self) -> None:
        with self._lock:
            if self.closed:  # by another thread: others have the descriptors
                return
            had = len(self._kept)
            for _ in range(_AT_ONCE):
                frame = self.port.try_receive() if self._kept_bytes < _KEPT_BYTES else None
                if frame is None:
                    break
                self._answer(frame)
                if self._keeps is None or self._keeps(frame):
                    self._kept.append(frame)
                    self._kept_bytes += len(frame) + _FRAME_BYTES
            if self._kept and not had:
                os.write(self._pipe[1], b"x")

    def _next(self) -> Optional[Frame]:
        with self._lock:
            if self.closed:
                raise EOFError(f"this ShmifSocket on {self.port.bus_path} is closed")
            if not self._kept:
                frame = self.port.try_receive()
                if frame is not None:
                    self._answer(frame)
                    if self._keeps is not None and not self._keeps(frame):
                        return None
                return frame
            frame = self._kept.popleft()
            self._kept_bytes -= len(frame) + _FRAME_BYTES
            if not self._kept:
                os.read(self._pipe[0], 1)
            return frame

    def recv_raw(self, x: int = MTU) -> Tuple[Optional[Type[Packet]], Optional[bytes], Optional[float]]:
        """The class, the bytes and the time of the next frame; (None, None, None) if there is none. Raises EOFError when
        the port is down or closed: that ends sniff()."""
        try:
            frame = self._next()
        except OSError as failed:
            if failed.errno in (errno.EBADF, errno.ENETDOWN):
                raise EOFError(str(failed)) from None
            raise
        return (None, None, None) if frame is None else (Ether, bytes(frame[:x]), frame.time_ns / 1e9)

    def _answer(self, frame: bytes) -> None:
        """The answer to an ARP request for our address, as the kernel of a host gives it."""
        if self._ip_bytes is None or frame[12:22] != b"\x08\x06\0\x01\x08\0\x06\x04\0\x01" or frame[38:42] != self._ip_bytes:
            return
        asker, mac = frame[22:32], bytes(self.port.mac)
        self.port.send(frame[6:12] + mac + frame[12:20] + b"\0\x02" + mac + self._ip_bytes + asker)

    @staticmethod
    def select(sockets: List[SuperSocket], remain: Optional[float] = None) -> List[SuperSocket]:
        """Which sockets can be read, after at most `remain` seconds."""
        poll = select.poll()
        by_descriptor = {socket.fileno(): socket for socket in sockets if socket.fileno() >= 0}
        for descriptor in by_descriptor:
            poll.register(descriptor, select.POLLIN)
        ours = [socket for socket in sockets if isinstance(socket, ShmifSocket)]
        until = None if remain is None else time.monotonic() + max(remain, 0)
        while True:
            ended = [socket for socket in ours if not socket.closed and not socket.port.is_up]  # recv() says so
            at_most = min((socket._again() or _LOOK for socket in ours if socket not in ended), default=None)
            left = None if until is None else max(until - time.monotonic(), 0)
            if ended:
                left = 0
            times = [each for each in (left, at_most) if each is not None]
            ready = poll.poll(int(min(times) * 1000 + 0.999) if times else None)
            if ready or ended or left == 0:
                return ended + [by_descriptor[number] for number, _ in ready if by_descriptor[number] not in ended]

    def _again(self) -> Optional[float]:
        """Does what is due, and says after how many seconds to look again."""
        return None

    def close(self) -> None:
        """Detaches the port, if the socket has attached it."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            self._epoll.close()
            for descriptor in self._pipe:
                os.close(descriptor)
        if self._owns_port:
            self.port.close()

    def __enter__(self) -> ShmifSocket:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def __del__(self) -> None:
        pass  # Port warns if it was not closed


class _Layer3Socket(ShmifSocket):
    """As ShmifSocket, for IPv4 packets: it finds the Ethernet address of each destination by ARP. All
    destinations are on the bus. As in a kernel, packets wait for the answer while scapy reads. If nobody answers, they are
    not sent, and a warning says so."""

    desc = "read and write IPv4 packets on a bus of shmif"

    def __init__(self, bus: Union[Bus, Port, str, os.PathLike[str]], **options: Any) -> None:
        super().__init__(bus, **options)
        self._known: Dict[str, str] = {}
        self._waiting: Dict[str, List[bytes]] = {}  # for the Ethernet address of their destination
        self._asked: Dict[str, float] = {}  # when it was asked for first, and when last
        self._asked_last: Dict[str, float] = {}

    def send(self, x: Packet) -> int:
        """Sends an IPv4 packet, now or when its destination has answered."""
        data = bytes(x)
        with contextlib.suppress(AttributeError):
            x.sent_time = time.time()
        try:
            ipaddress.IPv4Address(x.dst)
        except ValueError:  # an exception would make scapy print a traceback
            warning("the packet to %s was not sent: only IPv4 goes without an Ethernet header on a bus (send frames, with srp() or "
                    "sendp())", x.dst)
            return 0
        with self._lock:
            mac = self._mac_of(x.dst)
            if mac is None:
                self._waiting.setdefault(x.dst, []).append(data)
                self._ask(x.dst)
        if mac is None:
            until = self._asked[x.dst] + _ARP_MOMENT
            while x.dst in self._waiting and time.monotonic() < until:
                self._wait_for_more(until - time.monotonic())
            return len(data)
        return super().send(Ether(src=str(self.port.mac), dst=mac, type=0x0800) / data)

    def recv_raw(self, x: int = MTU) -> Tuple[Optional[Type[Packet]], Optional[bytes], Optional[float]]:
        """As that of ShmifSocket, without the Ethernet header, and IPv4 packets only."""
        cls, data, at = super().recv_raw(x)
        if data is None or cls is None or data[12:14] != b"\x08\0":
            return None, None, None
        return IP, data[14:], at

    def _mac_of(self, ip: str) -> Optional[str]:
        """The Ethernet address of a destination; None if it is not known yet."""
        address = ipaddress.IPv4Address(ip)
        everybody = [ipaddress.IPv4Address("255.255.255.255")] + ([self._net.broadcast_address] if self._net else [])
        if address in everybody:
            return "ff:ff:ff:ff:ff:ff"
        if address.is_multicast:  # RFC 1112, 6.4
            return str(Mac(b"\x01\0\x5e" + (int(address) & 0x7FFFFF).to_bytes(3, "big")))
        if self.ip is None:
            raise error(errno.EADDRNOTAVAIL, f"cannot send a packet to {ip}: scapy has no address on the bus (give use() an ip)")
        return self._known.get(ip)

    def _ask(self, ip: str) -> None:
        now = time.monotonic()
        if now - self._asked_last.get(ip, -1e9) >= _ARP_AGAIN:
            self._asked.setdefault(ip, now)
            self._asked_last[ip] = now
            mac = str(self.port.mac)
            super().send(Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=mac, psrc=self.ip, pdst=ip))

    def _again(self) -> Optional[float]:
        with self._lock:
            for ip in list(self._waiting):
                self._ask(ip)
        return _ARP_AGAIN if self._waiting else None

    def _wait_for_more(self, seconds: float) -> None:
        poll = select.poll()
        poll.register(self.port, select.POLLIN)
        poll.poll(max(int(seconds * 1000), 0) + 1)
        self._keep_what_came()

    def _answer(self, frame: bytes) -> None:
        super()._answer(frame)
        if len(frame) >= 42 and frame[12:22] == b"\x08\x06\0\x01\x08\0\x06\x04\0\x02":
            ip, mac = str(ipaddress.IPv4Address(frame[28:32])), str(Mac(frame[22:28]))
            if ip not in self._asked:
                return
            self._known[ip] = mac
            for data in self._waiting.pop(ip, []):
                self.port.send(Mac(mac) + self.port.mac + b"\x08\0" + data)

    def close(self) -> None:
        """Packets that still wait get a second from the first question. Then it detaches the port."""
        while not self.closed and self._waiting and self.port.is_up:
            left = max(self._asked[ip] for ip in self._waiting) + _ARP_PATIENCE - time.monotonic()
            if left <= 0:
                warning("nobody on %s has the address %s: %d packets were not sent ('shmifctl stat' shows the ports)",
                        self.port.bus_path, ", ".join(self._waiting), sum(map(len, self._waiting.values())))
                break
            self._wait_for_more(min(left, self._again() or left))
        super().close()


@contextlib.contextmanager
def use(bus: Union[Bus, str, os.PathLike[str]], ip: Optional[str] = None) -> Iterator[None]:
    """Lets the functions of scapy run on a bus, in place of the network interfaces of this machine:

        with shmif.scapy.use("/dev/shm/bus0", ip="198.18.0.9/24"):
            answer = sr1(IP(dst="198.18.0.1") / ICMP(), timeout=2)

    ip: as that of ShmifSocket; frames of protocols without IP need none. Each call makes a port of its own, as scapy does
    with its sockets. Not for several threads: it changes scapy's conf.
    """
    opened = bus if isinstance(bus, Bus) else Bus.open(bus)
    address = _address(ip)

    def layer2(*_: Any, **ignored: Any) -> ShmifSocket:
        made = ShmifSocket(opened, ip=ip, keeps=_filter(ignored.get("filter")))
        made._names_sender = False
        return made

    def layer3(*_: Any, **ignored: Any) -> _Layer3Socket:
        return _Layer3Socket(opened, ip=ip, keeps=_filter(ignored.get("filter")))

    def hwaddr(interface: Any) -> str:  # of the port, which is not there yet: ShmifSocket.send() writes it
        return "00:00:00:00:00:00" if str(interface) == _INTERFACE else str(before_hwaddr(interface))

    names = {"L2socket": layer2, "L2listen": layer2, "L3socket": layer3}
    before = {name: getattr(conf, name) for name in names}
    routes = conf.route.routes
    before_hwaddr = l2.get_if_hwaddr
    try:
        for name, maker in names.items():
            setattr(conf, name, maker)
        # What gives a packet its source address, before it is sent: answers are found by it. The second one gives the
        # interface a broadcast address.
        own = str(address.ip) if address else "0.0.0.0"
        net = address.network if address and address.network.prefixlen < 31 else ipaddress.IPv4Network("255.255.255.254/31")
        conf.route.routes = [(0, 0, "0.0.0.0", _INTERFACE, own, 1),
                             (int(net.network_address), int(net.netmask), "0.0.0.0", _INTERFACE, own, 1)]
        conf.route.invalidate_cache()
        l2.get_if_hwaddr = hwaddr
        yield
    finally:
        for name, maker in before.items():
            setattr(conf, name, maker)
        conf.route.routes = routes
        conf.route.invalidate_cache()
        l2.get_if_hwaddr = before_hwaddr


def _address(ip: Optional[str]) -> Optional[ipaddress.IPv4Interface]:
    if ip is None:
        return None
    try:
        if not isinstance(ip, str):  # ipaddress takes numbers
            raise ValueError
        return ipaddress.IPv4Interface(ip)
    except ValueError:
        raise ValueError(f'ip is an IPv4 address, such as "198.18.0.9" or "198.18.0.9/24", and not {ip!r}') from None


def _filter(filter: Optional[str]) -> Optional[Keeps]:
    """The one that arping() gives. Others would have to be programs of the kernel."""
    if not filter:
        return None
    if filter == "arp and arp[7] = 2":
        return lambda frame: frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\x02"
    raise ValueError("a socket on a bus has no filter of the kernel: use lfilter, or shmif.Capture with a filter (traceroute() always "
                     "gives a filter: call sr(IP(dst=..., ttl=(1, 30)) / ICMP()) instead)")
