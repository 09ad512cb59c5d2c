"""Reading a bus without a port on it."""
from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
import time
import warnings
from types import TracebackType
from typing import Any, Iterator, Optional, Type

from ._library import check, error, ffi, lib
from ._timeouts import deadline, frames_of
from .values import Counters, Frame


class Follower:
    """Reads the frames of all ports, for all addresses, without a port on the bus. Bus.follow() makes it.

        with shmif.Bus.open("/dev/shm/bus0").follow() as frames:
            for frame in frames:
                print(frame.source, frame.lost)

    It needs only read permission, and cannot be seen on the bus. Senders never wait for it, even on a bus with patience,
    and cannot wake it: it looks for frames every 1 to 50 ms.
    Threads: any thread may make any call; receives take turns. close() ends the receives of other threads within 50 ms.
    Signals: Ctrl-C ends a receive. Fork: a child calls Bus.follow() itself.
    """

    def __init__(self, handle: Any, bus_path: str) -> None:
        """Bus.follow() calls this."""
        self._handle = handle
        self._bus_path = bus_path
        self._process = os.getpid()
        self._closing = False
        self._lost = 0  # not yet reported
        self._max_frame_bytes = int(lib.shmif_follower_max_frame_bytes(handle))
        self._room = ffi.new("char[]", self._max_frame_bytes)
        self._info = ffi.new("struct shmif_frame_info*")
        self._info.size = ffi.sizeof("struct shmif_frame_info")
        self._at_most_ms = ffi.new("int*")
        self._poll: Optional[select.poll] = None
        self._turn = threading.Lock()

    @property
    def bus_path(self) -> str:
        """The path of its bus."""
        return self._bus_path

    @property
    def max_frame_bytes(self) -> int:
        """The longest frame that it receives: MTU + 22."""
        return self._max_frame_bytes

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._closing

    def counters(self) -> Counters:
        """What it has read so far. What only a port that sends does is 0."""
        counters = ffi.new("struct shmif_counters*")
        counters.size = ffi.sizeof("struct shmif_counters")
        with self._turn:
            check(lib.shmif_follower_get_counters(self._opened(), counters))
        return Counters._made(counters)

    def receive(self, timeout: Optional[float] = None) -> Frame:
        """The next frame. Waits for it for at most `timeout` seconds, or without limit. Raises TimeoutError; or Error with
        the errno EBADF (closed) or EIO (the bus is corrupt)."""
        until = deadline(timeout)
        if not self._turn.acquire(timeout=-1 if until is None else max(until - time.monotonic(), 0)):
            raise self._none_came(timeout)
        try:
            while True:
                frame = self._take()
                if frame is not None:
                    return frame
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    raise self._none_came(timeout)
                self._sleep(left)
        finally:
            self._turn.release()

    def try_receive(self) -> Optional[Frame]:
        """The next frame, or None if there is none now, or another thread is in a receive."""
        if not self._turn.acquire(blocking=False):
            self._opened()
            return None
        try:
            return self._take()
        finally:
            self._turn.release()

    def frames(self, timeout: Optional[float] = None, *, within: Optional[float] = None) -> Iterator[Frame]:
        """The frames that come, until none has come for `timeout` seconds, or it is closed. With 0: those that are
        there. within: ends after so many seconds, also while frames come."""
        return frames_of(self.receive, timeout, within, (errno.EBADF,))

    def __iter__(self) -> Iterator[Frame]:
        """The frames that come, until it is closed."""
        return self.frames()

    def close(self) -> None:
        """Ends it. Receives of other threads that wait end with errno EBADF. Closing twice is allowed."""
        self._closing = True
        with self._turn:
            self._free()

    def _free(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None and self._process == os.getpid():
            lib.shmif_unfollow(handle)

    def _opened(self) -> Any:
        if self._process != os.getpid():
            raise error(errno.EPERM, f"{self!r} is of another process (call Bus.follow() in this one)")
        if self._closing or self._handle is None:
            raise error(errno.EBADF, f"{self!r} is closed (call Bus.follow() again)")
        return self._handle

    def _none_came(self, timeout: Optional[float]) -> Exception:
        return error(errno.ETIMEDOUT, f"no frame came on {self._bus_path} within {timeout} s")

    def _take(self) -> Optional[Frame]:
        copied = check(lib.shmif_follower_receive(self._opened(), self._room, self._max_frame_bytes, self._info))
        self._lost += self._info.lost
        if copied == 0:
            return None
        lost, self._lost = self._lost, 0
        return Frame._made(bytes(ffi.buffer(self._room, copied)), self._info, lost)

    def _sleep(self, left: Optional[float]) -> None:
        """In poll(), so that other threads run, and signals are handled."""
        handle = self._opened()
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(check(lib.shmif_follower_descriptor(handle)), select.POLLIN)
        ready = lib.shmif_follower_prepare_wait(handle, self._at_most_ms)
        try:
            if ready == 0:
                at_most = self._at_most_ms[0] if self._at_most_ms[0] >= 0 else 50
                self._poll.poll(at_most if left is None else min(at_most, int(left * 1000) + 1))
        finally:
            lib.shmif_follower_finish_wait(handle)

    def __reduce__(self) -> Any:
        raise TypeError(f"{self!r} is of this process: give the other one the bus, and call follow() there")

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:  # nobody else can use it any more
            try:
                if self._process == os.getpid():
                    warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self)
            finally:  # a warning can be an exception
                with contextlib.suppress(OSError):
                    self._free()

    def __repr__(self) -> str:
        return f"<shmif.Follower of {self._bus_path}{', closed' if self._closing else ''}>"
