"""A bus: the file that is the cable."""
from __future__ import annotations

import atexit
import contextlib
import errno
import os
import tempfile
import time
import warnings
import weakref
from types import TracebackType
from typing import (TYPE_CHECKING, AbstractSet, Any, Callable, List, Mapping, Optional, Sequence, Tuple, Type,
                    TypeVar, Union)

from ._library import check, error, ffi, given, lib, number, path_of, printable, text_of
from ._timeouts import deadline, milliseconds
from .follower import Follower
from .port import Port
from .values import BusInfo, Mac, PortInfo

if TYPE_CHECKING:
    from .hosts import Capture, Host

_Program = TypeVar("_Program", "Host", "Capture")
Group = Union[List[str], Tuple[str, ...], AbstractSet[str]]  # not Sequence[str]: a str is one
_CHANGE_TIMEOUT = 2.0  # seconds, as the commands of shmifctl wait


class Bus:
    """A bus. It is only a path: any number of objects, processes and threads may use one bus.

        with shmif.Bus.create("/dev/shm/bus0") as bus:      # the end of this block removes the bus
            ...
        bus = shmif.Bus.open("/dev/shm/bus0")               # a bus that exists

    In other processes, too: a copy, also one that pickle makes, removes nothing, and neither does the child of a fork.
    """

    def __init__(self, path: Union[str, os.PathLike[str]], *, removes: bool = False) -> None:
        """Bus.create() and Bus.open() call this. It looks at nothing."""
        self._path = os.path.abspath(os.fsdecode(path_of(path)))
        self._removes = removes
        self._process = os.getpid()
        self._ports: weakref.WeakSet[Union[Port, Follower]] = weakref.WeakSet()
        self._programs: List[Union[Host, Capture]] = []

    @classmethod
    def create(cls, path: Union[str, os.PathLike[str], None] = None, *, mtu: int = 0, ring_bytes: int = 0, mode: int = 0,
               patience: float = 0, format: str = "shmif") -> Bus:
        """Makes a bus, which close() or the end of its `with` removes. Without `path`, it gets a new name in /dev/shm,
        and the end of the program removes it, too, with a ResourceWarning; with a `path`, it stays, as a file does.

        mtu: bytes of layer 3, 68 to 65521 (default 1500). ring_bytes: a power of two, 64 KiB to 1 GiB (default
        4 MiB). mode: of the file, 0o600 to 0o777 (default 0o600). patience: how many seconds senders wait for a port that has
        stopped reading, 0.001 to 1; by default they do not wait, as on Ethernet. format: "shmif" or "netbsd".
        Raises FileExistsError, ValueError, or Error with another errno.
        """
        named = path is not None
        if path is None:
            folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()
            path = os.path.join(folder, f"shmif-{os.getpid()}-{os.urandom(4).hex()}")
        formats = {"shmif": lib.SHMIF_FORMAT_SHMIF, "netbsd": lib.SHMIF_FORMAT_NETBSD}
        if format not in formats:
            raise ValueError(f'format "{format}": there are "shmif" and "netbsd"')
        options = _structure("struct shmif_bus_options")
        options.ring_bytes = number(ring_bytes, "ring_bytes", "a power of two, 64 KiB to 1 GiB")
        options.mtu = number(mtu, "mtu", "68 to 65521")
        options.mode, options.format = number(mode, "mode", "0o600 to 0o777"), formats[format]
        if mode & ~0o777:
            raise ValueError(f"mode {mode:#o}: a bus has permission bits only (0o600 to 0o777, such as 0o660)")
        if mode != 0 and mode & 0o600 != 0o600:
            raise ValueError(f"mode {mode:#o}: the owner must be able to read and write the bus (0o600 to 0o777, such as 0o660)")
        options.patience_ns = round(number(patience, "patience", "0.001 to 1", float) * 1e9)
        bus = cls(path, removes=True)
        check(lib.shmif_create(path_of(bus), options))
        if not named:
            atexit.register(bus._forgotten)
        return bus

    @classmethod
    def open(cls, path: Union[str, os.PathLike[str], None] = None) -> Bus:
        """A bus that exists: `path`, or that of the environment variable SHMIF_BUS. Raises FileNotFoundError, or Error
        with another errno if it is not a bus of this version."""
        if path is None:
            path = os.environ.get("SHMIF_BUS", "")
            if not path:
                raise error(errno.ENOENT, "no bus: give its path, or set SHMIF_BUS")
        bus = cls(path)
        bus.inspect()
        return bus

    @property
    def path(self) -> str:
        """The path of its file."""
        return self._path

    def __fspath__(self) -> str:
        return self._path

    def __reduce__(self) -> Tuple[Callable[..., Bus], Tuple[str]]:
        return Bus, (self._path,)

    def __repr__(self) -> str:
        return f"<shmif.Bus {self._path}>"

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.close()

    def close(self) -> None:
        """Ends the captures and hosts that this object has started, and closes the ports and followers that attach() and
        follow() made. A bus that create() made is removed, also if others are attached; but not in a child of a fork."""
        with contextlib.ExitStack() as ending:  # all that is in it ends, also if one fails
            ending.callback(self._remove_own)
            for each in (*self._ports, *self._programs):
                ending.callback(each.close)
            self._programs = []

    def _remove_own(self) -> None:
        atexit.unregister(self._forgotten)
        if self._removes and self._process == os.getpid():
            self._removes = False
            with contextlib.suppress(FileNotFoundError):
                self.remove(force=True)

    def _forgotten(self) -> None:
        if self._removes and self._process == os.getpid():
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self)
            self.close()

    def remove(self, force: bool = False) -> None:
        """Removes the bus; with `force` also while live ports are attached, and if it is damaged or of another
        version. Raises Error with the errno EBUSY (live ports), ENOENT, EINVAL (not a bus)."""
        check(lib.shmif_destroy(path_of(self), int(force)))

    def repair(self, force: bool = False) -> None:
        """Frees what dead ports hold, and rebuilds the ring if it is damaged. With `force`, also a bus of which little
        is left."""
        check(lib.shmif_repair(path_of(self), int(force)))

    def inspect(self) -> BusInfo:
        """What the bus tells of itself. Needs only read permission, and does not disturb the bus."""
        info = _structure("struct shmif_bus_info")
        check(lib.shmif_inspect(path_of(self), info))
        return BusInfo._made(info)

    def ports(self) -> List[PortInfo]:
        """Its ports, dead ones included."""
        room = 64
        while True:
            infos = ffi.new("struct shmif_port_info[]", room)
            infos[0].size = ffi.sizeof("struct shmif_port_info")
            count = check(lib.shmif_list_ports(path_of(self), infos, room))
            if count <= room:
                return [PortInfo._made(infos[i]) for i in range(count)]
            room = count + 16

    def attach(self, name: Optional[str] = None, mac: Union[str, bytes, None] = None, *, history: bool = False,
               promiscuous: bool = False, learn: bool = False, resume_newest: bool = False, lock_memory: bool = False,
               faults: Optional[str] = None, up: bool = True) -> Port:
        """Attaches a port, and brings it up. From then on it misses no frame, except by overruns, which it counts.

        name: 1 to 31 printable characters (default: the next free portN). mac: by default random. history: first
        receive the frames that are still in the ring. promiscuous: also receive frames that are addressed to others.
        learn: also receive frames for any MAC that this port has sent from. resume_newest: after an overrun, go on
        with the next frame that is sent, and not with the oldest in the ring. lock_memory: mlock the mapping. faults:
        of its line, as for Port.fault(). up: False leaves it down.
        Raises FileExistsError (name or MAC taken), FileNotFoundError, Error with the errno ENOSPC (no free slot)...
        """
        options = _structure("struct shmif_port_options")
        kept = ffi.NULL if name is None else ffi.new("char[]", given(name, "the name of a port"))
        options.name = kept
        if mac is not None:
            ffi.memmove(options.mac, bytes(Mac(mac)), 6)
            if not any(Mac(mac)):  # C would choose one
                raise error(errno.EINVAL, f"cannot attach to the bus {self._path} with the address {Mac(mac)}: it is not a unicast "
                            "MAC address (the first byte must be even, not all zero)")
        options.flags = (lib.SHMIF_PROMISCUOUS * promiscuous | lib.SHMIF_LEARN * learn | lib.SHMIF_START_OLDEST * history
                         | lib.SHMIF_RESUME_NEWEST * resume_newest | lib.SHMIF_LOCK_MEMORY * lock_memory)
        handle = ffi.new("shmif_port**")
        check(lib.shmif_open(path_of(self), options, handle))
        port = Port(handle[0], self._path)
        self._ports.add(port)
        try:
            if faults is not None:
                port.fault(faults)
            if up:
                port.up()
        except BaseException:
            port.close()
            raise
        return port

    def follow(self, *, history: bool = False, resume_newest: bool = False) -> Follower:
        """Reads the bus without a port on it: needs only read permission, and also reads a copy of a bus. history: begin
        with the oldest frame in the ring, and not with the next one that is sent. resume_newest: as for attach().
        Raises PermissionError, FileNotFoundError, Error with the errno EINVAL (not a bus of this version)."""
        handle = ffi.new("shmif_follower**")
        check(lib.shmif_follow(path_of(self), lib.SHMIF_START_OLDEST * history | lib.SHMIF_RESUME_NEWEST * resume_newest,
                               handle))
        follower = Follower(handle[0], self._path)
        self._ports.add(follower)
        return follower

    def wait_for(self, *names: str, timeout: float = 10) -> None:
        """Waits until ports of these names are up, and have carrier if they have an interface. Raises TimeoutError."""
        for name in names:
            given(name, "the name of a port")
        until = deadline(timeout)
        while True:
            ready = {port.name for port in self.ports() if port.live and port.up and port.carrier is not False}
            missing = [name for name in names if name not in ready]
            if not missing:
                return
            if until is not None and time.monotonic() >= until:
                raise error(errno.ETIMEDOUT, f"no port {', '.join(missing)} is up on {self._path} after {timeout} s "
                            "('shmifctl stat' shows the ports)")
            time.sleep(0.01)

    # Changes of the lines of hosts.

    def change(self, change: str, port: Optional[str] = None, timeout: float = _CHANGE_TIMEOUT) -> str:
        """Asks for a change, as shmif_change() in shmif/shmif.h spells it, and waits until it is in effect. The
        process that owns the port makes it: a host of `shmifctl exec`, `tap`, `bridge`. A port of a program, as
        attach() makes it, takes no changes. Result: a sentence that says what holds now. Raises Error with the errno
        EINVAL (not a change), ENODEV (no such port), EOPNOTSUPP (it takes no changes), ESRCH (its process has ended),
        ETIMEDOUT (it does not answer), ECANCELED (it refused)."""
        room = ffi.new("char[]", 4096)
        check(lib.shmif_change(path_of(self), ffi.NULL if port is None else given(port, "the name of a port"),
                               given(change, "a change"), milliseconds(timeout), room, len(room)))
        return printable(text_of(room))

    def fault(self, port: str, faults: Optional[str], timeout: float = _CHANGE_TIMEOUT) -> str:
        """Sets the faults on the line of a host, as `shmifctl fault`: "loss=5%,delay=10ms", "in:loss=1%". They
        replace those that it had. None: no faults."""
        return self.change("fault " + os.fsdecode(given(faults or "none", "faults")), port, timeout)

    def link(self, port: str, up: bool, timeout: float = _CHANGE_TIMEOUT) -> str:
        """Pulls the cable of a host (False), or plugs it in again. (Of a port of this program: Port.down().)"""
        if not isinstance(up, bool):
            raise TypeError(f"link: up is True or False, and not {up!r}")
        return self.change("link up" if up else "link down", port, timeout)

    def partition(self, *groups: Group, timeout: float = _CHANGE_TIMEOUT) -> str:
        """Hosts of different groups do not hear each other: partition(["a", "b"], ["c"])."""
        if not groups or any(isinstance(group, str) for group in groups):
            raise TypeError('partition takes groups, such as partition(["a", "b"], ["c"])')
        for name in (name for group in groups for name in group):
            given(name, "the name of a port")
        if len(groups) < 2 or not all(groups):
            raise ValueError('partition takes two groups or more, each with the name of a port: partition(["a", "b"], ["c"])')
        return self.change("partition " + " / ".join(",".join(group) for group in groups), None, timeout)

    def heal(self, timeout: float = _CHANGE_TIMEOUT) -> str:
        """Ends the partition."""
        return self.change("heal", None, timeout)

    def move(self, port: str, to: Union[str, os.PathLike[str]], timeout: float = _CHANGE_TIMEOUT) -> str:
        """Plugs a host into another bus. When it returns, the host is there, with its faults; Host.bus is the new bus."""
        from .hosts import has_moved
        target = to if isinstance(to, Bus) else Bus(to)
        said = self.change(f"move {target.path}", port, timeout)
        has_moved(port, target)
        return said

    def line(self, port: str) -> str:
        """What is unusual on the line of a port now, such as "link down, fault loss=5%"; "" if nothing is. Only the
        lines of hosts, bridges and the like can be seen: that of a port of a program, with Port.fault(), is ""."""
        room = ffi.new("char[]", 4096)
        check(lib.shmif_line(path_of(self), given(port, "the name of a port"), room, len(room)))
        return printable(text_of(room))

    # Programs of shmif.

    def host(self, name: str, program: Union[str, Sequence[str], None] = None, *, ip: Union[str, Sequence[str]] = (),
             gateway: Union[str, Sequence[str]] = (), mac: Union[str, bytes, None] = None, fault: Optional[str] = None,
             forward: bool = False, env: Optional[Mapping[str, str]] = None, options: Sequence[str] = (),
             timeout: float = 20) -> Host:
        """Runs a program as a host on this bus; without one, the host does nothing until it is stopped. It ends with
        its `with`, or when this object is closed. The options are those of shmif.Host: ip, gateway, mac, fault..."""
        from .hosts import Host
        return self._kept(Host(self, name, program, ip=ip, gateway=gateway, mac=mac, fault=fault, forward=forward, env=env,
                               options=options, timeout=timeout))

    def capture(self, file: Union[str, os.PathLike[str]], filter: str = "") -> Capture:
        """Records the frames on this bus from now on, in a file of pcapng or pcap, by its name. It ends with its `with`,
        or when this object is closed. If frames were sent faster than it could record them, its end warns with
        shmif.CaptureLoss; on a bus with patience, senders wait for it."""
        from .hosts import Capture
        return self._kept(Capture(self, file, filter))

    def _kept(self, program: _Program) -> _Program:
        """Until it is closed, or we are."""
        self._programs = [each for each in self._programs if not each.closed] + [program]
        return program


def _structure(kind: str) -> Any:
    made = ffi.new(kind + "*")
    made.size = ffi.sizeof(kind)
    return made
