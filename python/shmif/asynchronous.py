"""Ports in asyncio."""
from __future__ import annotations

import asyncio
import errno
import threading
from typing import TYPE_CHECKING, AsyncIterator, Iterable, List, Optional

from ._library import error
from ._timeouts import Pace, seconds
from .values import Frame, Mac

if TYPE_CHECKING:
    from .port import Port, Sendable


_AT_ONCE = 32  # calls that did not wait, before one lets the loop run
_PATIENCE = 10.0  # seconds that close() waits for a loop of another thread


class AsyncPort:
    """A port for asyncio. `async with bus.attach() as port` gives it, and so does Port.asynchronous. It has name, mac, and
    the calls that wait: receive(), receive_many(), frames(), send(), send_many(), `async for`. `port` is the Port, with
    all other calls.

    Each call belongs to the event loop in which it waits: use the port in one loop, and close it there. A
    cancelled call has taken no frame. Several tasks may receive; each frame goes to one of them. Under load, too, the
    loop runs: after 32 calls that did not have to wait, the next one lets other tasks run first.
    """

    def __init__(self, port: Port) -> None:
        """Port.asynchronous calls this."""
        self._port = port
        self._waiters: List[asyncio.Future[None]] = []
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._fd = -1
        self._at_once = 0

    async def _let_others_run(self) -> None:
        """To be called before a frame is taken or sent: who is cancelled here has lost none."""
        self._port._be_without_faults()
        self._at_once += 1
        if self._at_once > _AT_ONCE:
            self._at_once = 0
            await asyncio.sleep(0)

    @property
    def port(self) -> Port:
        """The port, for the calls that do not wait."""
        return self._port

    @property
    def name(self) -> str:
        """As Port.name."""
        return self._port.name

    @property
    def mac(self) -> Mac:
        """As Port.mac."""
        return self._port.mac

    async def receive(self, timeout: Optional[float] = None) -> Frame:
        """As Port.receive()."""
        left, seen = seconds(timeout), self._port._interrupts
        until = None if left is None else asyncio.get_running_loop().time() + left
        await self._let_others_run()
        while True:
            frame = self._port.try_receive()
            if frame is not None:
                return frame
            if self._port._interrupts != seen:
                raise self._port._interrupted()
            await self._readable(timeout, until)

    async def receive_many(self, max_frames: int = 32, timeout: Optional[float] = None) -> List[Frame]:
        """As Port.receive_many()."""
        if max_frames < 1:
            raise ValueError(f"receive_many: max_frames must be at least 1, and not {max_frames}")
        first = await self.receive(timeout)
        frames = [first]
        while len(frames) < max_frames:
            frame = self._port.try_receive()
            if frame is None:
                break
            frames.append(frame)
        return frames

    async def frames(self, timeout: Optional[float] = None, *, within: Optional[float] = None) -> AsyncIterator[Frame]:
        """As Port.frames(): `async for frame in port.frames(within=0.1)`."""
        pace = Pace(timeout, within)
        while not pace.over():
            try:
                frame = await self.receive(pace.next_timeout())
            except TimeoutError:
                return
            except OSError as failed:
                if failed.errno in (errno.EBADF, errno.ENETDOWN):
                    return
                raise
            yield frame

    async def send(self, frame: Sendable) -> None:
        """As Port.send(). If slow ports must be waited for, a thread does that."""
        await self._let_others_run()
        if not self._port.try_send(frame):
            await asyncio.to_thread(self._port.send, frame)

    async def send_many(self, frames: Iterable[Sendable]) -> int:
        """As Port.send_many(). If slow ports must be waited for, a thread does that. If the call is cancelled
        meanwhile, the thread still sends the rest."""
        from .port import _buffer_of
        data = [_buffer_of(frame) for frame in frames]
        self._port._opened()
        sent = 0
        while sent < len(data):
            await self._let_others_run()
            now = self._port._try_send_some(data[sent:sent + 32], sent)
            sent += now
            if now == 0:
                await asyncio.to_thread(self._port._send_all, data[sent:])
                break
        return len(data)

    def __aiter__(self) -> AsyncPort:
        return self

    async def __anext__(self) -> Frame:
        """The next frame. The iteration ends when the port is down or closed."""
        try:
            return await self.receive()
        except OSError as failed:
            if failed.errno in (errno.EBADF, errno.ENETDOWN):
                raise StopAsyncIteration from None
            raise

    async def _readable(self, timeout: Optional[float], until: Optional[float]) -> None:
        """Waits until a frame may be there. Raises TimeoutError at `until`."""
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop.is_closed():
            self._waiters.clear()  # nobody wakes them any more
        if self._loop is not None and self._loop is not loop and self._waiters:
            raise RuntimeError(f"{self._port!r} is in use in another event loop (attach a port for each loop)")
        self._loop, self._at_once = loop, 0
        waiter: asyncio.Future[None] = loop.create_future()
        if not self._waiters:
            self._fd = self._port.fileno()
            loop.add_reader(self._fd, self._tell)
        self._waiters.append(waiter)
        if not self._port.is_up:  # the thread that has ended it may have looked for waiters before: the caller finds out
            _end(waiter, None)
        timer = None
        if until is not None:
            late = error(errno.ETIMEDOUT, f'no frame came to the port "{self._port.name}" of {self._port.bus_path} '
                         f"within {timeout} s")
            timer = loop.call_at(until, _end, waiter, late)
        try:
            await waiter
        finally:
            if timer is not None:
                timer.cancel()
            self._forget(waiter)

    def _tell(self) -> None:
        """A frame may be there: each of those that wait looks."""
        for waiter in self._waiters:
            _end(waiter, None)

    def _forget(self, waiter: asyncio.Future[None]) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
            if not self._waiters and self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(self._fd)

    def _abandon(self, patience: float = _PATIENCE) -> None:
        """The port closes, goes down or is interrupted: ends all that wait. They find out why."""
        loop, waiters = self._loop, list(self._waiters)
        if loop is None or not waiters or loop.is_closed():
            return
        try:
            here = asyncio.get_running_loop() is loop
        except RuntimeError:
            here = False
        if here or not loop.is_running():
            self._end_all()
            return
        ended = threading.Event()

        def end_there() -> None:
            self._end_all()
            ended.set()
        try:
            loop.call_soon_threadsafe(end_there)
        except RuntimeError:  # it has just been closed
            return
        ended.wait(patience)  # a loop that something blocks for longer finds the port gone

    def _end_all(self) -> None:
        waiters = list(self._waiters)
        for waiter in waiters:
            self._forget(waiter)
            _end(waiter, None)


def _end(waiter: asyncio.Future[None], failure: Optional[Exception]) -> None:
    if waiter.done():
        return
    if failure is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(failure)
