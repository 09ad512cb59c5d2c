"""Loads libshmif.so.0, and turns its results into exceptions."""
from __future__ import annotations

import errno
import os
import pathlib
import re
from typing import Any, Callable, Tuple, Type

from ._declarations import ffi as _untyped_ffi

ffi: Any = _untyped_ffi


# What shmifctl replaces, too: control characters, separators of lines, and what changes the direction of text.
_STEERS_A_TERMINAL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """A text of others to be shown: "?" replaces what a terminal would obey, but for tabs and ends of lines."""
    return _STEERS_A_TERMINAL.sub("?", text)


class Error(OSError):
    """A call of the library, or a program of shmif, failed.

    str() is what was tried, on what, why it failed, and what to do. `errno` is as in shmif/shmif.h.
    An error that has a class of Python's own is of that class, too: FileNotFoundError,
    FileExistsError, PermissionError, TimeoutError, InterruptedError.
    """

    def __str__(self) -> str:
        return printable(str(self.strerror))

    def __reduce__(self) -> Tuple[Callable[..., Error], Tuple[int, str]]:
        return error, (self.errno or 0, str(self.strerror))


class Unsupported(Error):
    """This machine cannot do it, for example because it forbids user namespaces."""

    def __reduce__(self) -> Tuple[Callable[..., Error], Tuple[int, str]]:
        return Unsupported, (self.errno or 0, str(self.strerror))


class _NotFound(Error, FileNotFoundError):
    pass


class _Exists(Error, FileExistsError):
    pass


class _NotPermitted(Error, PermissionError):
    pass


class _TimedOut(Error, TimeoutError):
    pass


class _Interrupted(Error, InterruptedError):
    pass


_KINDS = {
    errno.ENOENT: _NotFound,
    errno.EEXIST: _Exists,
    errno.EACCES: _NotPermitted,
    errno.EPERM: _NotPermitted,
    errno.ETIMEDOUT: _TimedOut,
    errno.EINTR: _Interrupted,
}
for _kind in (*_KINDS.values(), Error):  # what a traceback shows
    _kind.__name__ = _kind.__qualname__ = "Error"
    _kind.__module__ = "shmif"
Unsupported.__module__ = "shmif"


def error(number: int, text: str) -> Error:
    """An exception with that errno."""
    return _KINDS.get(number, Error)(number, text)


def _open_library() -> Any:
    """SHMIF_LIBRARY, else what the dynamic linker finds, else that of the prefix in which this package is."""
    given = os.environ.get("SHMIF_LIBRARY")
    names = [given] if given else ["libshmif.so.0"]
    if not given:
        prefix = pathlib.Path(__file__).resolve().parent.parents[3]  # PREFIX/lib/python3/dist-packages
        names += [str(path) for path in (prefix / "lib/libshmif.so.0", prefix / "lib64/libshmif.so.0") if path.exists()]
    reason = ""
    for name in names:
        try:
            return _complete(ffi.dlopen(name))
        except OSError as failed:
            reason = reason or str(failed)
    raise ImportError(f"cannot load the C library of shmif: {reason} (install libshmif0, or name the file in "
                      "SHMIF_LIBRARY, or its folder in LD_LIBRARY_PATH)")


def _complete(library: Any) -> Any:
    """The library, if it has all that this package calls."""
    for name in dir(library):
        try:
            getattr(library, name)
        except (AttributeError, ffi.error) as failed:
            raise ImportError(f"the C library of shmif is older than this package, and has no {name} ({failed}): "
                              "install both of one version") from None
    return library


lib: Any = _open_library()


def text_of(pointer: Any) -> str:
    """A string of C."""
    return bytes(ffi.string(pointer)).decode(errors="replace")


#: What the library says in words of C or of the commands, and the same in words of Python.
_IN_PYTHON = (
    ("; a program of your own needs a ChangeDesk", "; a port of a program in Python has Port.fault() and Port.down()"),
    ("make a level-triggered descriptor of a line with faults",
     "wait in an event loop for a port with faults (use receive(), or set the faults of the host that it talks to)"),
    ("set faults after a descriptor was given out", "set faults after the port has waited (give them to attach())"),
    ("; 'stat' and 'dump' only read, and need no write permission",
     "; inspect(), ports(), follow() and capture() only read, and need no write permission"),
    ("make a bus with --mode 0660 for the group", "make a bus with create(mode=0o660) for the group"),
    ("make one with 'shmifctl create'", "make one with Bus.create()"),
    ("create a new bus with 'shmifctl create'", "create a new bus with Bus.create()"),
    ("'shmifctl create' makes a new", "Bus.create() makes a new"),
    ("use --force", "use force=True"),
    ("--force makes", "force=True makes"),
    ("shmif_set_faults: ", ""),
)


def check(result: int) -> int:
    """The result of a call, unless it is an error: then raises that."""
    if result >= 0:
        return result
    text = text_of(lib.shmif_message()) or text_of(lib.shmif_strerror(result))
    for words, of_python in _IN_PYTHON:
        text = text.replace(words, of_python)
    raise error(-result, text)


def given(value: str, what: str) -> bytes:
    """A name or another text as the library takes it. C would cut it at a NUL."""
    if not isinstance(value, str):
        raise TypeError(f"{what} is a str, and not {value!r}")
    return path_of(value, what)


def path_of(path: str | bytes | os.PathLike[str], what: str = "the path") -> bytes:
    """A path as the library takes it."""
    data = os.fsencode(path)
    if b"\0" in data:
        raise ValueError(f"embedded null byte in {what}: {data!r}")
    return data


def number(value: float, what: str, can_be: str, kind: Type[float] = int) -> Any:
    """A number that is not negative, as C takes it. `can_be`: what to write."""
    if not isinstance(value, (int, kind)) or isinstance(value, bool):
        raise TypeError(f"{what} is {'an int' if kind is int else 'a number'}, and not {value!r}")
    if not 0 <= value < 1 << 32:
        raise ValueError(f"{what} is out of range: {value} ({can_be})")
    return value


def version() -> str:
    """The version of the library."""
    return text_of(lib.shmif_version())
