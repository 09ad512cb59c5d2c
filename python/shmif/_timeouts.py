"""Timeouts: one rule for all calls."""
from __future__ import annotations

import numbers
import time
from typing import Callable, Iterator, Optional, Tuple, TypeVar

_LONGEST = 2e6  # seconds. poll() takes no more than 2**31 ms.

_Frame = TypeVar("_Frame")


def seconds(timeout: Optional[float], what: str = "timeout") -> Optional[float]:
    """A timeout that a caller has given. None, infinity and more than 23 days are no limit: None."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, numbers.Real):
        raise TypeError(f"{what} is a number of seconds, or None, and not {timeout!r}")
    if not timeout >= 0:  # NaN, too
        raise ValueError(f"{what} is a number of seconds that is not negative, and not {timeout!r}")
    return None if timeout > _LONGEST else float(timeout)


def deadline(timeout: Optional[float], what: str = "timeout") -> Optional[float]:
    """The time of time.monotonic() at which it is over. None: never."""
    left = seconds(timeout, what)
    return None if left is None else time.monotonic() + left


def milliseconds(timeout: Optional[float]) -> int:
    """As C takes it."""
    left = seconds(timeout)
    return int((_LONGEST if left is None else left) * 1000)


class Pace:
    """How long to wait for each frame of an iteration: at most `timeout`, and no longer than until the end of `within`."""

    def __init__(self, timeout: Optional[float], within: Optional[float]) -> None:
        self._timeout = seconds(timeout)
        self._until = deadline(within, "within")

    def over(self) -> bool:
        return self._until is not None and time.monotonic() >= self._until

    def next_timeout(self) -> Optional[float]:
        left = None if self._until is None else max(self._until - time.monotonic(), 0)
        return min((each for each in (self._timeout, left) if each is not None), default=None)


def frames_of(receive: Callable[[Optional[float]], _Frame], timeout: Optional[float], within: Optional[float],
              ends: Tuple[int, ...]) -> Iterator[_Frame]:
    """The frames that come, until one of both is over, or an error of these numbers ends it."""
    pace = Pace(timeout, within)
    while not pace.over():
        try:
            frame = receive(pace.next_timeout())
        except TimeoutError:
            return
        except OSError as failed:
            if failed.errno in ends:
                return
            raise
        yield frame
