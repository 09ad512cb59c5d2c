"""A port: the attachment of a program to a bus."""
from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
import time
import warnings
import weakref
from types import TracebackType
from typing import TYPE_CHECKING, Any, ContextManager, Iterable, Iterator, List, Optional, SupportsBytes, Type, Union

from ._library import check, error, ffi, given, lib, text_of
from ._timeouts import deadline, frames_of
from .values import Counters, Frame, FrameInfo, Mac

if TYPE_CHECKING:
    from .asynchronous import AsyncPort

#: What can be sent: anything with a buffer (bytes, bytearray, memoryview...), or that bytes() takes
#: (a packet of scapy).
Sendable = Union[bytes, bytearray, memoryview, SupportsBytes]

_BATCH = 32  # frames that the library receives best at a time

_open_ports: weakref.WeakSet[Port] = weakref.WeakSet()


def _buffer_of(frame: Sendable) -> Any:
    """The bytes of a frame, for C. Not a copy, unless the frame has no buffer."""
    try:
        return ffi.from_buffer(frame)
    except TypeError:
        if not hasattr(frame, "__bytes__"):
            raise TypeError(f"a frame is bytes, or another buffer, and not {frame!r}") from None
        return ffi.from_buffer(bytes(frame))


class Port:
    """A port of a bus. Bus.attach() makes it; close(), or the end of its `with`, detaches it.

    Threads: any thread may make any call. Sends of several threads take turns; so do receives. close(),
    down() and interrupt() end the calls of other threads that wait.
    Signals: Ctrl-C ends a receive that waits.
    Fork: in the child, every call but close() raises PermissionError. A child that needs a port attaches its own.
    Timeouts: in seconds; None, infinity and more than 23 days are no limit. What is negative or NaN is a ValueError.
    Copies: send() copies a frame once, to the bus; receive() once, from the bus; receive_into() does
    that into your buffer. No memory of the bus is handed out: a slice of it could outlive the port.
    """

    def __init__(self, handle: Any, bus_path: str) -> None:
        """Bus.attach() calls this."""
        self._handle = handle
        self._bus_path = bus_path
        self._up = False
        self._closed = self._closing = self._forked = self._faulted = False
        self._asynchronous: Optional[AsyncPort] = None
        self._name = text_of(lib.shmif_name(handle))
        self._slot = int(lib.shmif_slot(handle))
        self._mtu = int(lib.shmif_mtu(handle))
        self._max_frame_bytes = int(lib.shmif_max_frame_bytes(handle))
        self._lost = 0  # not yet reported
        self._at_most_ms = ffi.new("int*")
        self._level: Union[int, OSError, None] = None  # the answer to fileno()
        self._wants_level = False
        self._poll: Optional[select.poll] = None
        self._info = self._new("struct shmif_frame_info")
        self._room = ffi.new("char[]", self._max_frame_bytes)
        self._batch: Any = None
        self._wakes_fd, self._wake_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._interrupts = 0
        self._make_locks()
        _open_ports.add(self)

    def _make_locks(self) -> None:
        self._sending = threading.Lock()
        self._receiving = threading.Lock()
        self._asking = threading.Lock()
        self._asked = threading.Lock()  # for one fileno() at a time
        # With faults, the library wants one call at a time, also of those that send and of those that receive.
        self._line: ContextManager[Any] = contextlib.nullcontext()
        if self._faulted:
            self._line = threading.Lock()

    @staticmethod
    def _new(kind: str) -> Any:
        made = ffi.new(kind + "*")
        made.size = ffi.sizeof(kind)
        return made

    # What it is.

    @property
    def name(self) -> str:
        """Its name on the bus."""
        return self._name

    @property
    def slot(self) -> int:
        """Its slot on the bus, as in Frame.sender."""
        return self._slot

    @property
    def mtu(self) -> int:
        """The MTU of its bus, in bytes of layer 3."""
        return self._mtu

    @property
    def max_frame_bytes(self) -> int:
        """The longest frame that it sends or receives: MTU + 22, so there is room for two VLAN tags, used or not."""
        return self._max_frame_bytes

    @property
    def bus_path(self) -> str:
        """The path of its bus."""
        return self._bus_path

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._closed

    @property
    def is_up(self) -> bool:
        """Whether it sends and receives."""
        return self._up and not self._closing and not self._forked

    @property
    def mac(self) -> Mac:
        """Its MAC address."""
        with self._asking:
            room = ffi.new("uint8_t[6]")
            lib.shmif_mac(self._opened(), room)
            return Mac(bytes(ffi.buffer(room)))

    def set_mac(self, address: Union[str, bytes]) -> None:
        """Gives it another MAC address, which takes effect before the call returns."""
        with self._asking:
            check(lib.shmif_set_mac(self._opened(), bytes(Mac(address))))

    def set_promiscuous(self, on: bool) -> None:
        """Sets whether it also receives frames that are addressed to others."""
        with self._asking:
            check(lib.shmif_set_promiscuous(self._opened(), int(on)))

    def counters(self) -> Counters:
        """What it has done so far."""
        with self._asking, self._line:
            counters = self._new("struct shmif_counters")
            check(lib.shmif_get_counters(self._opened(), counters))
            return Counters._made(counters)

    def bus_frames(self) -> int:
        """How many frames were sent on the bus so far. Each of them has a smaller Frame.number."""
        with self._asking:
            return int(lib.shmif_bus_frames(self._opened()))

    def __reduce__(self) -> Any:
        raise TypeError(f"{self!r} is of this process: give the other one the bus, and attach a port there")

    def __repr__(self) -> str:
        state = "closed" if self._closed else "of another process" if self._forked else "up" if self._up else "down"
        return f"<shmif.Port {self._name!r} on {self._bus_path}, {state}>"

    # Up, down, and the end.

    def up(self) -> None:
        """Lets it send and receive: the frames that are sent from now on. Does nothing when up."""
        if self._up:
            self._opened()
            return
        with self._receiving, self._line:
            check(lib.shmif_up(self._opened()))
            self._up = True

    def down(self) -> None:
        """Stops sending and receiving, as if its cable were pulled. Frames that were not received are
        dropped. Calls of other threads that wait end with errno ENETDOWN."""
        self._opened()
        self._up = False
        self._wake()
        if self._asynchronous is not None:
            self._asynchronous._abandon()
        with self._receiving, self._line:
            self._up = False
            check(lib.shmif_down(self._opened()))

    def interrupt(self) -> None:
        """Ends receives and sends of other threads and of tasks that wait now: they raise InterruptedError. A thread
        that is about to wait is interrupted, too; a later call is not."""
        self._be_ours()
        self._interrupts += 1
        self._wake()
        if self._asynchronous is not None:
            self._asynchronous._abandon(0)

    def _wake(self) -> None:
        self._wake_receiver()
        with self._asking:
            if not self._closed and not self._forked:
                lib.shmif_interrupt(self._handle)

    def _wake_receiver(self) -> None:
        with self._asking:
            if not self._closed and not self._forked:
                with contextlib.suppress(BlockingIOError):
                    os.write(self._wake_fd, b"\0")

    def close(self) -> None:
        """Detaches it. Receives of other threads that wait end with errno EBADF, sends with EINTR. Closing twice is
        allowed."""
        self._closing = True
        if self._asynchronous is not None:
            self._asynchronous._abandon()
        while not self._closed:
            self._wake()
            if not self._sending.acquire(timeout=0.05):
                continue
            try:
                if not self._receiving.acquire(timeout=0.05):
                    continue
                try:
                    self._free()
                finally:
                    self._receiving.release()
            finally:
                self._sending.release()

    def _free(self) -> None:
        with self._asking:
            if self._closed:
                return
            self._closed = True
            handle, self._handle = self._handle, None
            lib.shmif_close(handle)
            os.close(self._wake_fd)
            os.close(self._wakes_fd)
            _open_ports.discard(self)

    def _be_ours(self) -> None:
        if self._forked:
            raise error(errno.EPERM, f'the port "{self._name}" of {self._bus_path} is of the process that forked this one '
                        "(attach another one here)")

    def _opened(self) -> Any:
        self._be_ours()
        if self._closing or self._handle is None:
            raise error(errno.EBADF, f'the port "{self._name}" of {self._bus_path} is closed (attach another one)')
        return self._handle

    def __enter__(self) -> Port:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.close()

    async def __aenter__(self) -> AsyncPort:
        try:
            return self.asynchronous
        except BaseException:
            self.close()
            raise

    async def __aexit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                        trace: Optional[TracebackType]) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:  # nobody else can use it any more
            try:
                warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self)
            finally:  # a warning can be an exception
                self._free()

    # Sending.

    def send(self, frame: Sendable) -> None:
        """Sends a frame, destination MAC first, without FCS. Blocks: for the lock of the bus; on a bus with
        patience also for slow ports. Raises Error with the errno ENETDOWN (the port is down), EINVAL
        (shorter than 14 bytes), EMSGSIZE (longer than max_frame_bytes), EINTR (interrupt())."""
        data = _buffer_of(frame)
        with self._sending, self._line:
            self._sent(lib.shmif_send(self._opened(), data, len(data)), data, 0)
        self._tell_line()

    def send_many(self, frames: Iterable[Sendable]) -> int:
        """Sends frames in order, in batches, which is faster than one at a time. Result: how many. If one
        cannot be sent, raises the Error of send(), with the number of frames before it in `sent`. Takes all of `frames`
        before it sends the first one: if that raises an exception, no frame was sent."""
        return self._send_all([_buffer_of(frame) for frame in frames])

    def _send_all(self, data: List[Any]) -> int:
        self._opened()
        sent = 0
        while sent < len(data):
            vector = self._vector(data[sent:])
            with self._sending, self._line:
                try:
                    sent += self._sent(lib.shmif_send_batch(self._opened(), vector, len(vector)), data[sent], sent)
                except OSError as failed:
                    failed.sent = sent  # type: ignore[attr-defined]
                    raise
            self._tell_line()
        return sent

    def try_send(self, frame: Sendable) -> bool:
        """As send(), but never waits for slow ports. Result: whether it was sent; if not, there is no room now."""
        return self._try_send_some([_buffer_of(frame)]) == 1

    def _try_send_some(self, data: List[Any], index: int = 0) -> int:
        vector = self._vector(data)
        with self._sending, self._line:
            sent = self._sent(lib.shmif_try_send_batch(self._opened(), vector, len(vector)), data[0], index)
        self._tell_line()
        return sent

    def _sent(self, result: int, data: Any, index: int) -> int:
        """The result of a call that sends, where `data` was the first frame, and its `index` in those of the caller."""
        try:
            return check(result)
        except OSError as failed:
            if failed.errno == errno.ENETDOWN:
                raise self._is_down("send") from None
            if failed.errno in (errno.EINVAL, errno.EMSGSIZE):
                which = f"frame {index}" if index else "this one"
                failed.strerror = f"{failed.strerror} ({which} has {len(data)} bytes; 14 to {self._max_frame_bytes} can be sent)"
            raise

    @staticmethod
    def _vector(data: List[Any]) -> Any:
        vector = ffi.new("struct iovec[]", len(data))
        for entry, each in zip(vector, data):
            entry.iov_base, entry.iov_len = each, len(each)
        return vector

    def _tell_line(self) -> None:
        """A frame that waits in our line can be due before a receive of another thread would look again."""
        if self._faulted and self._receiving.locked():
            self._wake_receiver()

    # Faults.

    def fault(self, faults: Optional[str]) -> None:
        """Sets the faults on the line of this port, in the words of Bus.fault(): "loss=5%,delay=10ms", "in:loss=1%"
        for what it receives, "out:loss=1%" for what it sends. None: no faults. The first faults must come before the
        port has waited for a frame; Bus.attach() takes them, too. Frames that wait for a delay go on while a call of this
        port runs or waits. A port that has faults, or had some, has no fileno(), so it is not for asyncio and scapy. Others
        do not see the faults: Bus.line() does not tell them. Raises Error with the errno EINVAL (not faults) or EBUSY (the
        port has waited already)."""
        text = given(faults or "none", "faults")
        if self._faulted:
            with self._line:
                check(lib.shmif_set_faults(self._opened(), text))
            return self._wake_receiver()
        if not self._receiving.acquire(blocking=False):
            raise error(errno.EBUSY, f'cannot set faults on the port "{self._name}" of {self._bus_path}: another thread '
                        "receives (give faults to attach())")
        try:
            with self._sending, self._asking:
                check(lib.shmif_set_faults(self._opened(), text))
                if faults is not None:
                    self._faulted, self._line = True, threading.Lock()
        finally:
            self._receiving.release()

    # Receiving.

    def receive(self, timeout: Optional[float] = None) -> Frame:
        """The next frame. Waits for it for at most `timeout` seconds, or without limit. Raises TimeoutError;
        or Error with the errno ENETDOWN (the port is down), EBADF (closed), EINTR (interrupt()), EIO (the bus is
        corrupt)."""
        with self._turn(timeout) as until:
            while True:
                frame = self._take()
                if frame is not None:
                    return frame
                self._sleep(until)

    def try_receive(self) -> Optional[Frame]:
        """The next frame, or None if there is none now, or another thread is in a receive."""
        if not self._receiving.acquire(blocking=False):
            self._be_up()  # it can be down() or close() that has the lock
            return None
        try:
            return self._take()
        finally:
            self._receiving.release()

    def receive_many(self, max_frames: int = _BATCH, timeout: Optional[float] = None) -> List[Frame]:
        """The frames that are there, at most `max_frames`. Waits for the first one, as receive()."""
        if max_frames < 1:
            raise ValueError(f"receive_many: max_frames must be at least 1, and not {max_frames}")
        with self._turn(timeout) as until:
            while True:
                frames = self._take_many(max_frames)
                if frames:
                    return frames
                self._sleep(until)

    def receive_into(self, buffer: Union[bytearray, memoryview], timeout: Optional[float] = None) -> FrameInfo:
        """As receive(), but the frame is copied to the beginning of `buffer`, and no object is made for it. What has
        no room is gone; max_frame_bytes is always enough."""
        room = ffi.from_buffer(buffer, require_writable=True)
        if len(room) == 0:
            raise ValueError("receive_into: the buffer has no room for a byte (max_frame_bytes is enough for each frame)")
        with self._turn(timeout) as until:
            while True:
                copied = self._fetch(room, len(room))
                if copied > 0:
                    info = self._info
                    lost, self._lost = self._lost, 0
                    return FrameInfo(copied, info.bytes, info.time_ns, info.number, lost,
                                     None if info.sender == 0xFFFF else info.sender)
                self._sleep(until)

    def frames(self, timeout: Optional[float] = None, *, within: Optional[float] = None) -> Iterator[Frame]:
        """The frames that come, until none has come for `timeout` seconds, or the port is down or closed. within: ends
        after so many seconds, also while frames come: for the answer to a question, on a bus where others talk."""
        return frames_of(self.receive, timeout, within, (errno.EBADF, errno.ENETDOWN))

    def __iter__(self) -> Iterator[Frame]:
        """The frames that come, until the port is down or closed."""
        return self.frames()

    def history(self) -> List[Frame]:
        """The frames that are there now, without waiting; none if another thread is in a receive. On a port that was
        attached with `history=True`, first those that were sent before it came."""
        frames: List[Frame] = []
        if not self._receiving.acquire(blocking=False):
            self._be_up()  # it can be down() or close() that has the lock
            return frames
        try:
            end = int(lib.shmif_bus_frames(self._opened()))
            while True:
                more = self._take_many(_BATCH)
                frames += more
                if not more or more[-1].number + 1 >= end:
                    return frames
        finally:
            self._receiving.release()

    def fileno(self) -> int:
        """A descriptor for select, poll, epoll and event loops, readable while frames wait for try_receive(). Do not
        read from it. The first call starts a thread of the library, which sleeps while the bus is quiet."""
        with self._asked:
            self._level = None
            while self._level is None:
                self._wants_level = True
                self._wake_receiver()  # a thread that sleeps in a receive answers for us
                if self._receiving.acquire(timeout=0.05):
                    try:
                        self._open_level()
                    finally:
                        self._receiving.release()
            if isinstance(self._level, OSError):
                raise self._level
            return self._level

    def _open_level(self) -> None:
        self._wants_level = False
        try:
            self._level = check(lib.shmif_fd(self._opened()))
        except OSError as failed:
            self._level = failed

    @contextlib.contextmanager
    def _turn(self, timeout: Optional[float]) -> Iterator[Optional[float]]:
        """Waits for the turn of this thread to receive. Gives the time at which its wait ends."""
        until = deadline(timeout)
        seen = self._interrupts
        if not self._receiving.acquire(timeout=-1 if until is None else max(until - time.monotonic(), 0)):
            raise self._none_came(timeout)
        try:
            self._timeout = timeout
            self._interrupts_seen = seen
            yield until
        finally:
            self._receiving.release()

    def _none_came(self, timeout: Optional[float]) -> Exception:
        return error(errno.ETIMEDOUT, f'no frame came to the port "{self._name}" of {self._bus_path} within {timeout} s')

    def _be_up(self) -> Any:
        """The handle of a port that is up; otherwise raises the error of a receive."""
        handle = self._opened()
        if not self._up:
            raise self._is_down("receive")
        return handle

    def _is_down(self, what: str) -> Exception:
        return error(errno.ENETDOWN, f'cannot {what}: the port "{self._name}" of {self._bus_path} is down (up() brings it up)')

    def _fetch(self, room: Any, room_bytes: int) -> int:
        handle = self._be_up()
        with self._line:
            copied = check(lib.shmif_receive(handle, room, room_bytes, self._info))
        self._lost += self._info.lost
        return copied

    def _take(self) -> Optional[Frame]:
        copied = self._fetch(self._room, self._max_frame_bytes)
        if copied == 0:
            return None
        lost, self._lost = self._lost, 0
        return Frame._made(bytes(ffi.buffer(self._room, copied)), self._info, lost)

    def _take_many(self, max_frames: int) -> List[Frame]:
        handle = self._be_up()
        if self._batch is None:
            buffers = [ffi.new("char[]", self._max_frame_bytes) for _ in range(_BATCH)]
            infos = ffi.new("struct shmif_frame_info[]", _BATCH)
            infos[0].size = ffi.sizeof("struct shmif_frame_info")
            self._batch = buffers, self._vector(buffers), infos
        buffers, vector, infos = self._batch
        frames: List[Frame] = []
        while len(frames) < max_frames:
            wanted = min(_BATCH, max_frames - len(frames))
            with self._line:
                count = check(lib.shmif_receive_batch(handle, vector, infos, wanted))
            for i in range(count):
                lost, self._lost = self._lost + infos[i].lost, 0
                frames.append(Frame._made(bytes(ffi.buffer(buffers[i], infos[i].bytes)), infos[i], lost))
            if count < wanted:
                break
        return frames

    def _sleep(self, until: Optional[float]) -> None:
        """Sleeps until a frame may be there. In poll(), so that other threads run, and signals are handled."""
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            raise self._none_came(self._timeout)
        handle = self._opened()
        with self._line:
            ready = lib.shmif_prepare_wait(handle, self._at_most_ms)
        try:
            if ready == 0 and self._may_sleep():
                at_most = self._at_most_ms[0]
                if left is not None:
                    left_ms = int(left * 1000) + 1
                    at_most = left_ms if at_most < 0 else min(at_most, left_ms)
                self._poller().poll(at_most)
        finally:
            with self._line:
                lib.shmif_finish_wait(handle)
            if ready == 0:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wakes_fd, 4096)
        if self._wants_level:
            self._open_level()
        if self._interrupts != self._interrupts_seen:
            raise self._interrupted()

    def _interrupted(self) -> Exception:
        return error(errno.EINTR, f'interrupt() ended a receive on the port "{self._name}" of {self._bus_path}')

    def _may_sleep(self) -> bool:
        return self._up and not self._closing and not self._wants_level and self._interrupts == self._interrupts_seen

    def _poller(self) -> select.poll:
        if self._poll is None:
            with self._line:
                descriptor = check(lib.shmif_descriptor(self._opened()))
            self._poll = select.poll()
            self._poll.register(descriptor, select.POLLIN)
            self._poll.register(self._wakes_fd, select.POLLIN)
        return self._poll

    # asyncio.

    @property
    def asynchronous(self) -> AsyncPort:
        """This port for asyncio: `await port.asynchronous.receive()`. `async with` gives it, too. Raises Error with the
        errno EOPNOTSUPP if the port has faults, or had some."""
        self._be_without_faults()
        if self._asynchronous is None:
            from .asynchronous import AsyncPort
            self._asynchronous = AsyncPort(self)
        return self._asynchronous

    def _be_without_faults(self) -> None:
        if self._faulted:
            raise error(errno.EOPNOTSUPP, f'the port "{self._name}" of {self._bus_path} has faults, or had some, and is not for '
                        "asyncio (set the faults of the host that it talks to, or call receive() in a thread)")

    def __aiter__(self) -> AsyncPort:
        return self.asynchronous


def _after_fork() -> None:
    """In the child, nobody holds the locks that threads of the parent held."""
    for port in list(_open_ports):
        port._make_locks()
        port._forked = True  # the descriptor that wakes is the parent's


os.register_at_fork(after_in_child=_after_fork)
