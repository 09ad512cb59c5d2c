"""Programs of shmif that run beside a program in Python: hosts (`shmifctl exec`) and captures (`shmifctl dump`)."""
from __future__ import annotations

import atexit
import contextlib
import errno
import os
import pathlib
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
import warnings
import weakref
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Type, Union

from ._library import Unsupported, _TimedOut, error, given, printable
from ._timeouts import deadline, seconds
from .values import Mac

if TYPE_CHECKING:
    from .bus import Bus

_NOT_HERE = 77  # exit code of shmifctl on a machine that cannot run hosts
_NO_HOST = 125  # exit code of `shmifctl enter` without its host
_PATIENCE = 5.0  # seconds from a signal that ends a program to the next one
_KEPT_BYTES = 1 << 20  # of the output of a program in the background
_SHOWN_CHARACTERS = 1 << 14  # of an output in an exception


def shmifctl() -> str:
    """The program: SHMIFCTL, else that of PATH, else that of the prefix in which this package is."""
    given = os.environ.get("SHMIFCTL") or shutil.which("shmifctl")
    if given:
        return given
    beside = pathlib.Path(__file__).resolve().parent.parents[3] / "bin/shmifctl"
    if beside.exists():
        return str(beside)
    raise error(errno.ENOENT, "there is no program shmifctl (install shmif-tools, add its folder to PATH, or name it in "
                "SHMIFCTL)")


def failure(what: str, status: int, said: str) -> Exception:
    """The exception for a program of shmif that has ended too early. A program of others, in a host that it has started,
    can have that exit code, too: `exec` adds no word of its own to it, and `up` names it."""
    text = f"{what}: {_end_of(said).strip() or f'exit code {status}'}"
    not_here = status == _NOT_HERE and re.search(r"^(  \S+ \| )?shmifctl: (?!.*: host \S+ ended with exit|logs and captures)", said, re.M)
    return Unsupported(errno.EOPNOTSUPP, text) if not_here else error(errno.ECHILD, text)


def _end_of(said: str) -> str:
    """As much of an output as an exception shows."""
    left_out = len(said) - _SHOWN_CHARACTERS
    return said if left_out <= 0 else f"({left_out} characters before this are left out)\n{said[left_out:]}"


class CaptureLoss(UserWarning):
    """A capture has missed frames. The test that it is of has not seen all that was on the bus. pytest -W
    error::shmif.CaptureLoss makes it an error."""


CaptureLoss.__module__ = "shmif"


class _Program:
    """A program in the background. Its output goes to a file that has no name. It ends with this process at the
    latest, and a child of a fork does not end it."""

    def __init__(self, what: str, arguments: Sequence[Union[str, os.PathLike[str]]], stdout: Optional[int] = None) -> None:
        self.what = what
        self.closed = False
        self.killed = False
        self._parent = os.getpid()
        self._said = ""
        self._log: IO[bytes] = tempfile.TemporaryFile()
        # A session of its own: Ctrl-C is for the caller, who ends it.
        try:
            self._process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stderr=self._log,
                                             stdout=self._log if stdout is None else stdout, start_new_session=True)
        except BaseException:
            self._log.close()
            raise
        atexit.register(self._forgotten)

    def _forgotten(self) -> None:
        if self._parent == os.getpid():
            warnings.warn(f"{self.what} was not closed", ResourceWarning, source=self)
            self.end(signal.SIGTERM)

    @property
    def pid(self) -> int:
        return self._process.pid

    def status(self) -> Optional[int]:
        return self._process.poll()

    def output(self) -> str:
        """The last MiB of it: it can be longer than the memory."""
        if self.closed:
            return self._said
        left_out = max(os.fstat(self._log.fileno()).st_size - _KEPT_BYTES, 0)
        text = self.output_from(left_out).decode(errors="replace")
        return f"({left_out} bytes of output before this are left out)\n{text}" if left_out else text

    def output_from(self, position: int) -> bytes:
        """At most a MiB of it."""
        if self.closed:
            return self._said.encode()[position:position + _KEPT_BYTES]
        return os.pread(self._log.fileno(), _KEPT_BYTES, position)

    def end(self, *signals: signal.Signals) -> int:
        """Sends one signal after the other until the program has ended. Result: its exit code."""
        if self._parent != os.getpid():
            return 0
        for number in (*signals, signal.SIGKILL):
            if self._process.poll() is not None:
                break
            self.killed = number == signal.SIGKILL
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(None if number == signal.SIGKILL else _PATIENCE)
        return self._process.wait()

    def close(self) -> None:
        """To be called after end(). output() goes on to say what the program has printed."""
        self._said = self.output()
        self.closed = True
        self._log.close()
        atexit.unregister(self._forgotten)

    def writes(self, path: Union[str, pathlib.Path], **options: Any) -> Optional[os.stat_result]:
        """That file, if the program has it open, and something is in it."""
        folder = f"/proc/{self.pid}/fd"
        with contextlib.suppress(OSError):
            for number in os.listdir(folder):
                with contextlib.suppress(OSError):
                    there = os.stat(f"{folder}/{number}")
                    if os.path.samestat(there, os.stat(path, **options)) and (there.st_size > 0 or not stat.S_ISREG(there.st_mode)):
                        return there
        return None


class _Search:
    """Whether a program has printed a text. Each call looks at one part of its output. None: there is more."""

    def __init__(self, program: _Program, text: str) -> None:
        self._program, self._text = program, text.encode(errors="surrogateescape")
        self._position, self._before = 0, b""

    def __call__(self) -> Optional[bool]:
        part = self._program.output_from(self._position)
        self._position += len(part)
        seen = self._before + part
        if self._text in seen:
            return True
        self._before = seen[max(len(seen) - len(self._text) + 1, 0):]  # with which the text can begin
        return None if part else False


def _wait_for(ready: Callable[[], Optional[bool]], program: _Program, where: str, timeout: float,
              ended: Callable[[str, int, str], Exception] = failure) -> None:
    """Until the program is ready. If it is None, it will be asked again at once. ended: the exception if the program
    ends."""
    until = deadline(timeout)
    while True:
        status = program.status()  # first: what it printed before its end is seen
        is_ready = ready()
        if is_ready:
            return
        if status is not None and is_ready is False:
            raise ended(f"{program.what} has ended before it was {where}", status, program.output())
        if until is not None and time.monotonic() >= until:
            raise error(errno.ETIMEDOUT, f"{program.what} is not {where} after {timeout} s: {_end_of(program.output()).strip()}")
        if is_ready is False:
            time.sleep(0.005)


def _has_port(bus: Bus, name: str, pid: Optional[int] = None) -> bool:
    """Whether a port of that name is up, and is that of the process `pid`."""
    return any(port.name == name and port.live and port.up and port.carrier is not False and pid in (None, port.pid)
               for port in bus.ports())


def _is_on(bus: Bus, name: str, pid: int) -> bool:
    """Whether the process `pid` has a port of that name, up or down."""
    return any(port.name == name and port.live and port.pid == pid for port in bus.ports())


def _texts(value: Union[str, Sequence[str]], what: str) -> List[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, Iterable) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{what} is a text or a list of texts, and not {value!r}")
    return list(texts)


_hosts: weakref.WeakSet[Host] = weakref.WeakSet()


def has_moved(name: str, bus: Bus) -> None:
    """Bus.move() has moved a host of this name here: its objects follow."""
    for host in list(_hosts):
        if host.name == name and not host.closed and _is_on(bus, name, host.pid):
            host._bus = bus


class Host:
    """A program in a network namespace of its own, with an interface on a bus (`shmifctl exec`).

        with bus.host("web", "python3 -m http.server 80", ip="198.18.0.1/24") as web:
            web.run("ip addr").stdout

    When the object is made, the host is there: its port is up, and its interface has its addresses. close(), or the
    end of its `with`, ends it; so does Bus.close(), for a host that Bus.host() has made, and at the latest the end of the
    program in Python, with a ResourceWarning. If that is killed, the host stays (`shmifctl stop BUS NAME` ends it).
    """

    def __init__(self, bus: Bus, name: str, program: Union[str, Sequence[str], None] = None, *,
                 ip: Union[str, Sequence[str]] = (), gateway: Union[str, Sequence[str]] = (), mac: Union[str, bytes, None] = None,
                 fault: Optional[str] = None, forward: bool = False, env: Optional[Mapping[str, str]] = None,
                 options: Sequence[str] = (), timeout: float = 20) -> None:
        """program: a command for a shell, or a list of arguments; without it, the host does nothing until it is
        stopped. ip: addresses with their prefix length. fault: of its line, as for Bus.fault(). env: further
        environment variables. options: further options of `shmifctl exec`. timeout: how many seconds it may take to
        start. Raises FileExistsError (the name is taken), FileNotFoundError (there is no program with the name that
        begins the list), or Unsupported on a machine that cannot run hosts. A command for a shell always starts: if the
        shell cannot run it, the host ends at once, and the next run(), popen() or wait_output() raises Error with what it
        has printed."""
        self._bus, self._name = bus, name
        if given(name, "the name of a host").startswith(b"-"):
            raise ValueError(f'the name of a host does not begin with "-", and is not "{name}": commands would take it for an option')
        what = f'the host "{name}"'
        if any(port.name == name and port.live for port in bus.ports()):
            raise error(errno.EEXIST, f'cannot start {what} on {bus.path}: another port has this name '
                        "('shmifctl stat' shows the ports)")
        words = ["sleep", "infinity"] if program is None else _command(program)
        command = [shmifctl(), "exec", bus.path, "--name", name]
        for option, values in (("--ip", _texts(ip, "ip")), ("--gateway", _texts(gateway, "gateway")), ("--mac", [str(Mac(mac))] if mac is not None else []),
                               ("--fault", _texts(fault or (), "fault"))):
            for value in values:
                command += [option, value]
        command += ["--forward"] * forward + _texts(options, "options") + ["--"]
        if env:
            command += ["env", *(f"{key}={value}" for key, value in env.items())]
        if not options and "PATH" not in (env or {}) and shutil.which(words[0]) is None:
            raise error(errno.ENOENT, f'cannot start {what} on {bus.path}: there is no program "{words[0]}"')
        self._program = _Program(what, command + words)
        try:
            _wait_for(lambda: _has_port(bus, name, self.pid), self._program, f"on {bus.path}", timeout)
        except BaseException:
            self.close()
            raise
        _hosts.add(self)

    @property
    def name(self) -> str:
        """Its name, and that of its port."""
        return self._name

    @property
    def bus(self) -> Bus:
        """Its bus. After Bus.move(), the other one. (A move by another program is not seen: then run() raises Error.)"""
        return self._bus

    @property
    def pid(self) -> int:
        """The process of `shmifctl exec`."""
        return self._program.pid

    @property
    def running(self) -> bool:
        """Whether its program runs."""
        return self._program.status() is None

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._program.closed

    def output(self) -> str:
        """What its program has printed so far; of more than 1 MiB, the end, after a line that says so. After close(), what
        it had printed."""
        return self._program.output()

    def wait_output(self, text: str, timeout: float = 20) -> str:
        """Waits until its program has printed `text`. Result: output(). Raises TimeoutError; or Error at once if the
        program ends without it."""
        _wait_for(_Search(self._program, text), self._program, f'heard to say "{text}"', timeout,
                  lambda what, status, said: error(errno.ECHILD, f"{what}: {_end_of(said).strip() or f'exit code {status}'}"))
        return self.output()

    def command(self, program: Union[str, Sequence[str]]) -> List[str]:
        """The command that runs another program in the host, for subprocess (`shmifctl enter`). Raises Error with the
        errno ECHILD and what it has printed if the host has ended, and with ENODEV if another program has moved it."""
        self._must_run()
        self._must_be_here()
        return [shmifctl(), "enter", self._bus.path, self._name, "--", *_command(program)]

    def run(self, program: Union[str, Sequence[str]], *, check: bool = True, timeout: Optional[float] = 60,
            input: Union[str, bytes, None] = None) -> subprocess.CompletedProcess[str]:
        """Runs another program in the host, to its end: a command for a shell, or a list of arguments. Raises
        subprocess.CalledProcessError if its exit code is not 0, unless `check` is False; and TimeoutError if it runs for
        longer than `timeout` seconds, or leaves others behind that hold its output for so long: then all that it has
        started is killed, but for a process that no longer descends from it and has another environment. (It is found
        by the variable SHMIF_RUN_...) What is not UTF-8 in its output is replaced."""
        return _run(self.command(program), check, timeout, input, self._must_run)

    def _must_run(self, within: float = 0) -> None:
        """Raises an Error if its program has ended, or ends in so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = self._program._process.wait(within)
            raise error(errno.ECHILD, f"{self._program.what} has ended with exit code {status}: "
                        f"{_end_of(self.output()).strip() or 'it has printed nothing'}")

    def _must_be_here(self) -> None:
        """Raises an Error if its bus has no port of ours: another host there can have its name."""
        until = time.monotonic() + 1  # Bus.move() of another thread takes a moment
        while not _is_on(self._bus, self._name, self.pid):
            self._must_run(0.02)
            if time.monotonic() >= until:
                raise error(errno.ENODEV, f"{self._program.what} is not on {self._bus.path}: another program has moved it to "
                            "another bus (use Bus.move(), and this object follows)")

    def popen(self, program: Union[str, Sequence[str]], **options: Any) -> subprocess.Popen[Any]:
        """Starts another program in the host. The options are those of subprocess.Popen."""
        return subprocess.Popen(self.command(program), **options)

    def wait(self, timeout: Optional[float] = None) -> int:
        """Waits until its program has ended. Result: the exit code. Raises TimeoutError after `timeout` seconds."""
        try:
            return self._program._process.wait(seconds(timeout))
        except subprocess.TimeoutExpired as late:
            raise _too_long(late, f"{self._program.what} has not ended after {timeout} s") from None

    def close(self) -> None:
        """Ends its program and with it the host: SIGTERM, and after 5 s SIGKILL."""
        if not self.closed:
            self._program.end(signal.SIGTERM)
            self._program.close()

    def __enter__(self) -> Host:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<shmif.Host {self._name!r} on {self._bus.path}>"


class Capture:
    """Records the frames on a bus (`shmifctl dump -w`), from the moment at which the object is made; close(), or the end of
    its `with`, first writes what was sent until then. So does Bus.close(), for a capture that Bus.capture() has made.
    Before that, the end of the file can lack.

    It is a reader like others: if frames are sent faster than it writes them, it misses some. Then close() warns with
    CaptureLoss, and `lost` says how many. On a bus with patience, senders wait for it: Bus.create(patience=1).
    """

    def __init__(self, bus: Bus, file: Union[str, os.PathLike[str]], filter: str = "", *, timeout: float = 20,
                 _folder: Optional[int] = None) -> None:
        """file: pcapng or pcap, by its name. filter: of tcpdump; its hosts and ports are numbers."""
        # _folder: a descriptor of that of the file. Then the file is always a new one there, and no link is followed.
        self._path = pathlib.Path(file).absolute()
        is_special = self._path.exists() and not self._path.is_file()  # such as a FIFO
        if self._path.suffix not in (".pcap", ".pcapng") and not is_special:
            raise ValueError(f'a capture is a file "x.pcapng" or "x.pcap", and not "{file}"')
        name = f"capture-{os.getpid()}-{os.urandom(3).hex()}"
        self._lost: Optional[int] = 0
        self._patience = bus.inspect().patience_ns
        self._recorded: Optional[os.stat_result] = None
        # Without a name, it only reads, and has no port.
        self._writes = writes = os.access(bus.path, os.W_OK)
        self._folder = _folder
        target: Union[str, pathlib.Path] = self._path if _folder is None else "-"
        with contextlib.ExitStack() as opened:
            file_descriptor = None
            if _folder is not None:
                file_descriptor = self._new_file(_folder)
                opened.callback(os.close, file_descriptor)
            self._program = _Program(f"the capture {self._path}", [
                shmifctl(), "dump", bus.path, "-w", target, *(["--format", self._path.suffix[1:]] if _folder is not None else []),
                *(["--name", name] if writes else []), *([filter] if filter else [])], file_descriptor)

        def records() -> bool:
            path, options = self._in_folder()
            self._recorded = self._program.writes(path, **options)
            return self._recorded is not None and (not writes or _has_port(bus, name))
        try:
            _wait_for(records, self._program, f"on {bus.path}", timeout)
        except BaseException:
            self._end()
            raise

    @property
    def path(self) -> pathlib.Path:
        """The file."""
        return self._path

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._program.closed

    @property
    def lost(self) -> Optional[int]:
        """How many frames it has missed, because they were sent faster than it wrote them. Known after close(); None if
        the capture has failed: then nobody knows."""
        return self._lost

    def close(self) -> None:
        """Ends it. The file is complete then; if it is not, for example because the disk is full, or if it was removed
        meanwhile, raises Error. If frames were missed, warns with CaptureLoss."""
        if self.closed:
            return
        status = self._end()
        if status != 0:
            said = self._program.output()
            if self._program.killed:
                said += f"it did not end within {_PATIENCE:g} s, and was killed (was it stopped?)"
            raise failure(f"{self._program.what} is not complete, and how many frames it lacks is not known", status, said)
        if not self._is_there():
            raise error(errno.ENOENT, f"{self._program.what} has no file any more: it was removed or replaced meanwhile")
        if self._lost:
            warnings.warn(CaptureLoss(self._loss_text()), stacklevel=2)

    def _new_file(self, folder: int) -> int:
        """A descriptor of an empty file; of its name, nothing is left that was there before."""
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path.name, dir_fd=folder)
            return os.open(self._path.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=folder)
        except OSError as failed:
            raise error(failed.errno or 0, f"cannot make the capture {self._path}: {failed.strerror}") from None

    def _in_folder(self) -> Tuple[Union[str, pathlib.Path], Dict[str, Any]]:
        if self._folder is None:
            return self._path, {}
        return self._path.name, {"dir_fd": self._folder, "follow_symlinks": False}

    def _is_there(self) -> bool:
        """Whether its path still names the file that it has recorded."""
        if self._recorded is None:
            return False
        path, options = self._in_folder()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return os.path.samestat(self._recorded, os.stat(path, **options))
        return False

    def _remove(self) -> None:
        """Removes the file, if it is still there."""
        with contextlib.suppress(OSError):
            if self._is_there():
                os.unlink(self._in_folder()[0], dir_fd=self._folder)

    def _loss_text(self) -> str:
        remedy = "make the bus with create(patience=1): then senders wait for it"
        if self._patience is not None:  # and yet it was not enough
            remedy = f"make the bus with a larger ring_bytes; senders waited for it for at most {self._patience / 1e9:g} s"
        if not self._writes:  # senders do not know of it
            remedy = "make the bus with a larger ring_bytes; senders wait for a capture only if it may write to the bus"
        return (f"{self._program.what} has missed {self._lost} frames, which were sent faster than it could record them "
                f"({remedy})")

    def _end(self) -> int:
        status = self._program.end(signal.SIGINT)
        self._program.close()
        told = re.findall(r"^\d+ frames? captured.* (\d+) lost$", self._program.output(), re.M)
        self._lost = None if status != 0 else int(told[-1]) if told else 0
        return status

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<shmif.Capture {self._path}>"


def _command(program: Union[str, Sequence[str]]) -> List[str]:
    """A list of arguments as it is; a text is a command for the shell."""
    if isinstance(program, str):
        return ["sh", "-c", program]
    words = list(program) if isinstance(program, Iterable) else []
    if not words or not all(isinstance(word, (str, bytes, os.PathLike)) for word in words):
        kind = ValueError if program == [] or program == () else TypeError
        raise kind(f"a program is a command for a shell, or a list of texts with the program first, and not {program!r}")
    return words


def _run(command: Sequence[str], check: bool, timeout: Optional[float],
         input: Union[str, bytes, None], must_run: Optional[Callable[[float], None]] = None) -> subprocess.CompletedProcess[str]:
    """As subprocess.run(); the text of the exception has what the program has printed. must_run: says why a host is gone
    that the command does not find."""
    limit = seconds(timeout)
    given_input = input.encode(errors="surrogateescape") if isinstance(input, str) else bytes(input or b"")
    mark = f"SHMIF_RUN_{os.getpid()}_{os.urandom(6).hex()}".encode()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env={**os.environb, mark: b"1"}) as process:
        try:
            printed = process.communicate(given_input, limit)
        except subprocess.TimeoutExpired as late:
            _kill_all(process, mark)
            output, errors = _text_of(late.output or b""), _text_of(late.stderr or b"")
            with contextlib.suppress(subprocess.TimeoutExpired):  # if something is left, it can have the pipes
                output, errors = map(_text_of, process.communicate(timeout=_PATIENCE))
            raise _too_long(late, f"{command} has not ended after {timeout} s, and was killed\n{_end_of(output)}{_end_of(errors)}",
                            output, errors) from None
        except BaseException:
            _kill_all(process, mark)
            raise
    done = subprocess.CompletedProcess(command, process.returncode, *map(_text_of, printed))
    if must_run is not None and done.returncode == _NO_HOST and done.stderr.startswith("shmifctl: cannot "):
        must_run(1)  # it can be just ending
    if check and done.returncode != 0:
        raise _Failed(done.returncode, done.args, done.stdout, done.stderr)
    return done


def _text_of(printed: bytes) -> str:
    return printed.decode(errors="replace").replace("\r\n", "\n")


def _kill_all(process: subprocess.Popen[bytes], mark: bytes) -> None:
    """Kills a program and what it has started: `shmifctl enter`, and in the host a shell and its programs. mark: a
    variable in their environment, also of those whose parent has ended."""
    process.send_signal(signal.SIGSTOP)  # else `enter` would say that the host has ended
    for _ in range(10):  # they can start others meanwhile
        pids = _started_by(process.pid, mark)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not pids:
            break
        time.sleep(0.01)
    process.kill()


def _started_by(first: int, mark: bytes) -> List[int]:
    """The processes that a process has started, and those that they have started, and all that have the mark, but for
    those that have ended."""
    children: Dict[int, List[int]] = {}
    found: List[int] = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                state, parent = pathlib.Path("/proc", name, "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
                if state not in "ZX":
                    children.setdefault(int(parent), []).append(int(name))
                    if int(name) != first and b"\0" + mark + b"=" in b"\0" + pathlib.Path("/proc", name, "environ").read_bytes():
                        found.append(int(name))
    found += children.get(first, [])
    known = set(found)
    for pid in found:
        new = [each for each in children.get(pid, []) if each not in known]
        found += new
        known.update(new)
    return list(known)


class _TooLong(_TimedOut, subprocess.TimeoutExpired):
    """A TimeoutError and shmif.Error, as of the other calls; also what subprocess.run() raises."""


_TooLong.__name__ = _TooLong.__qualname__ = "Error"
_TooLong.__module__ = "shmif"


def _too_long(late: subprocess.TimeoutExpired, text: str, output: Optional[str] = None, stderr: Optional[str] = None) -> Exception:
    kind: Any = _TooLong  # made as an OSError
    made: subprocess.TimeoutExpired = kind(errno.ETIMEDOUT, text)
    made.cmd, made.timeout, made.output, made.stderr = late.cmd, late.timeout, output, stderr  # type: ignore[assignment]
    return made


class _Failed(subprocess.CalledProcessError):
    def __str__(self) -> str:
        return printable(f"{super().__str__()}\n{_end_of(self.stdout)}{_end_of(self.stderr)}")

    def __reduce__(self) -> Tuple[Any, ...]:
        return _Failed, (self.returncode, self.cmd, self.stdout, self.stderr)


_Failed.__name__ = _Failed.__qualname__ = "CalledProcessError"
_Failed.__module__ = "subprocess"
