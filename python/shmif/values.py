"""Addresses, frames, and what a bus and its ports tell of themselves."""
from __future__ import annotations

import dataclasses
from typing import Any, Optional, Union

from ._library import ffi, lib, text_of

_NO_SLOT = 0xFFFF


class Mac(bytes):
    """A MAC address: six bytes, so that frames can be put together with `+`. str() is "b2:a0:00:00:00:01"."""

    def __new__(cls, address: Union[str, bytes]) -> Mac:
        """From bytes, or from text such as "b2:a0:00:00:00:01"."""
        if isinstance(address, str):
            parts = address.split(":")
            try:
                address = bytes(int(part, 16) for part in parts if 1 <= len(part) <= 2)
            except ValueError:
                address = b""
            if len(parts) != 6 or len(address) != 6:
                raise ValueError(f'"{":".join(parts)}" is not a MAC address (write it as b2:a0:00:00:00:01)')
        elif not isinstance(address, (bytes, bytearray, memoryview)):
            raise TypeError(f"a MAC address is a str or bytes, and not {address!r}")
        if len(address) != 6:
            raise ValueError(f"a MAC address has 6 bytes, and not {len(address)}")
        return super().__new__(cls, address)

    def __str__(self) -> str:
        return self.hex(":")

    def __repr__(self) -> str:
        return f"Mac('{self}')"


BROADCAST = Mac(b"\xff" * 6)


class Frame(bytes):
    """A frame that was received: its bytes, destination MAC first, without FCS. They are a copy."""

    time_ns: int  #: when it was sent: wall-clock time since the epoch
    number: int  #: of the frame on the bus; on a bus of NetBSD's format, this port's own count
    lost: int  #: how many frames the port has lost to overruns since the frame before this one
    sender: Optional[int]  #: slot of the port that sent it (PortInfo.slot); None with NetBSD's format

    @classmethod
    def _made(cls, data: bytes, info: Any, lost: int) -> Frame:
        frame = cls(data)
        frame.time_ns = info.time_ns
        frame.number = info.number
        frame.lost = lost
        frame.sender = None if info.sender == _NO_SLOT else info.sender
        return frame

    @property
    def destination(self) -> Mac:
        """The MAC address to which it was sent."""
        return Mac(self[:6])

    @property
    def source(self) -> Mac:
        """The MAC address from which it was sent."""
        return Mac(self[6:12])

    @property
    def ethertype(self) -> int:
        """The two bytes after the addresses: 0x0800 is IPv4, 0x8100 a VLAN tag."""
        return int.from_bytes(self[12:14], "big")

    @property
    def payload(self) -> bytes:
        """What comes after the EtherType. Short frames can have padding at their end."""
        return self[14:]


@dataclasses.dataclass(frozen=True)
class FrameInfo:
    """What Port.receive_into() says of a frame."""

    bytes: int  #: how many bytes were written to the buffer
    frame_bytes: int  #: the length of the frame: more, if the buffer was too small
    time_ns: int  #: as in Frame
    number: int  #: as in Frame
    lost: int  #: as in Frame
    sender: Optional[int]  #: as in Frame

    @property
    def truncated(self) -> bool:
        """Whether the end of the frame is gone, because the buffer was too small."""
        return self.frame_bytes > self.bytes


@dataclasses.dataclass(frozen=True)
class Counters:
    """What a port has done since it was attached.

    The frames on the bus pass the port in order, and each is counted in exactly one of rx_frames,
    own_frames, filtered_frames, skipped_frames and lost_frames. With NetBSD's format, lost_frames
    counts one for each overrun, and is a lower bound.
    """

    tx_frames: int  #: sent
    tx_bytes: int
    rx_frames: int  #: received
    rx_bytes: int
    own_frames: int  #: not delivered: sent by this port
    filtered_frames: int  #: not delivered: addressed to somebody else
    skipped_frames: int  #: not delivered: the port was down
    overruns: int  #: how often senders overwrote frames that the port had not read
    lost_frames: int  #: frames lost in these overruns
    lost_bytes: int
    corrupt: int  #: how often the shared memory had invalid data
    wakeups: int  #: how often the port slept and was woken
    doorbells: int  #: how often it woke others
    lock_sleeps: int  #: sleeps while it waited for the lock of the bus
    pauses: int  #: how often it waited for slow ports
    paused_ns: int  #: how long, in total
    tx_segments: int  #: as tx_frames, but a super-frame counts as the number of its segments
    rx_segments: int
    too_long_frames: int  #: not sent: too long for the bus
    refused_frames: int  #: not sent: too short

    @classmethod
    def _made(cls, counters: Any) -> Counters:
        return cls(**{field.name: getattr(counters, field.name) for field in dataclasses.fields(cls)})


@dataclasses.dataclass(frozen=True)
class BusInfo:
    """What a bus tells of itself. None: a bus of NetBSD's format cannot tell."""

    format: str  #: "shmif" or "netbsd"
    mtu: int  #: in bytes of layer 3
    ring_bytes: int
    patience_ns: Optional[int]  #: how long senders wait for slow ports; None: they do not wait
    created_ns: Optional[int]  #: wall-clock time since the epoch
    frames: Optional[int]  #: sent since it was created
    repairs: int  #: how often it was repaired
    ports: Optional[int]  #: attached now, dead ones included
    max_ports: Optional[int]  #: how many can be attached at a time
    carries_offloads: bool  #: whether ports may send super-frames and unfinished checksums

    @classmethod
    def _made(cls, info: Any) -> BusInfo:
        netbsd = info.format == lib.SHMIF_FORMAT_NETBSD

        def known(value: int) -> Optional[int]:
            return None if netbsd else value

        return cls(format="netbsd" if netbsd else "shmif", mtu=info.mtu, ring_bytes=info.ring_bytes,
                   patience_ns=info.patience_ns or None, created_ns=known(info.created_ns), frames=known(info.frames),
                   repairs=info.repairs, ports=known(info.ports), max_ports=known(info.max_ports),
                   carries_offloads=info.carries_offloads != 0)


@dataclasses.dataclass(frozen=True)
class PortInfo:
    """What a bus tells of one of its ports. The counts are as in Counters."""

    name: str
    slot: int  #: as Frame.sender
    incarnation: int  #: which of the successive ports in this slot it is
    pid: int  #: in the pid namespace of its own process
    kind: str  #: what it belongs to: "library", "tap", "bridge"...
    mac: Mac
    live: bool  #: whether its process runs; otherwise the row is left of a dead one
    up: bool  #: whether it sends and receives
    carrier: Optional[bool]  #: whether the network interface behind it is usable; None: not known
    promiscuous: bool  #: whether it receives the frames for all addresses
    pause: bool  #: whether senders wait for it
    takes_changes: bool  #: whether its process answers Bus.fault(), Bus.link() and the like
    partitioned: bool  #: whether a partition keeps it from hearing some others
    tx_frames: int
    tx_bytes: int
    rx_frames: int
    rx_bytes: int
    own_frames: int
    filtered_frames: int
    skipped_frames: int
    overruns: int
    lost_frames: int
    corrupt: int
    unread_bytes: int  #: of the ring, that it still has to look at
    line_dropped_in: Optional[int]  #: frames that its line dropped on the way to its host; None: not counted
    line_dropped_out: Optional[int]  #: and from its host
    line_waiting: Optional[int]  #: frames that wait in its line now, for a delay or a bottleneck

    @classmethod
    def _made(cls, info: Any) -> PortInfo:
        def flag(bit: int) -> bool:
            return bool(info.flags & bit)

        counted = flag(lib.SHMIF_PORT_LINE_COUNTED)
        given = {name: getattr(info, name) for name in (
            "slot incarnation pid tx_frames tx_bytes rx_frames rx_bytes own_frames filtered_frames skipped_frames "
            "overruns lost_frames corrupt unread_bytes").split()}
        lines = {name: getattr(info, name) if counted else None
                 for name in ("line_dropped_in", "line_dropped_out", "line_waiting")}
        return cls(name=text_of(info.name), kind=text_of(info.kind), mac=Mac(bytes(ffi.buffer(info.mac))),
                   live=flag(lib.SHMIF_PORT_LIVE), up=flag(lib.SHMIF_PORT_UP),
                   carrier=flag(lib.SHMIF_PORT_CARRIER) if flag(lib.SHMIF_PORT_CARRIER_KNOWN) else None,
                   promiscuous=flag(lib.SHMIF_PORT_PROMISCUOUS), pause=flag(lib.SHMIF_PORT_PAUSE),
                   takes_changes=flag(lib.SHMIF_PORT_TAKES_CHANGES), partitioned=flag(lib.SHMIF_PORT_PARTITIONED),
                   **given, **lines)
