"""Labs: networks in one file, which `shmifctl up` runs."""
from __future__ import annotations

import atexit
import contextlib
import errno
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import warnings
import weakref
from types import TracebackType
from typing import Any, Dict, List, Mapping, Optional, Sequence, Type, Union

from ._library import error
from ._timeouts import seconds
from .bus import Bus
from .hosts import _command, _run, failure, shmifctl

Description = Union[str, "os.PathLike[str]", Mapping[str, Any]]


class Lab:
    """A network that a file of TOML describes, or a dict of the same keys (docs/labs.md).

        with shmif.Lab({"bus": {"lan": {}}, "host": {"a": {"on": "lan", "ip": "198.18.0.1/24"}}}) as lab:
            lab.exec("a", "ip addr")

    The start of the `with` runs `shmifctl up --detach`, and returns when all hosts are ready. Its end runs
    `shmifctl down`, also after an exception and after Ctrl-C. `at` and `perf` of the lab begin by themselves; its `test`
    does not run. A host without `ready` counts as ready when its program begins: if that ends, the first call that needs
    the host says so. A lab that nobody takes down ends with the program, with a ResourceWarning. If that is killed, the
    lab stays until `shmifctl down NAME`. A child of a fork does not end it.
    """

    def __init__(self, description: Description, *, name: Optional[str] = None, seed: Optional[int] = None,
                 artifacts: Union[str, os.PathLike[str], None] = None, timeout: float = 120) -> None:
        """description: the path of a file, or a dict. name: of a lab from a dict (default: a new one). seed: for the
        faults, as of `up`. artifacts: the folder for logs and captures; default: of a file, as for `up`; of a dict, a
        folder that is removed at the end, unless the lab does not start. timeout: how many seconds the start may take."""
        self._seed, self._timeout, self._limit = seed, timeout, seconds(timeout)
        self._text: Optional[str] = None
        self._remove_folder: Any = None  # weakref.finalize
        self._up = False
        self._process = os.getpid()
        self._state: Dict[str, Any] = {}
        if isinstance(description, Mapping):
            self._text = to_toml(description)
            name = f"lab-{os.getpid()}-{os.urandom(3).hex()}" if name is None else name
            if not re.fullmatch(r"[^/\0]{1,100}", name) or name.startswith("."):
                raise ValueError(f"the name of a lab has 1 to 100 characters, begins with no dot, and has no slash: {name!r}")
            folder = tempfile.mkdtemp(prefix="shmif-lab-")
            self._name = name
            self._file = pathlib.Path(folder, self._name + ".toml")
            self._write_file()
            self._artifacts = pathlib.Path(artifacts or pathlib.Path(folder, "out")).absolute()
        else:
            if name is not None:
                raise ValueError("a lab from a file has the name of the file: leave out `name`")
            self._file = pathlib.Path(description).absolute()
            self._name = self._file.stem  # until shmifctl says it
            self._artifacts = pathlib.Path(artifacts).absolute() if artifacts else self._file.parent / f"{self._name}.out"

    @property
    def name(self) -> str:
        """Its name, for `shmifctl ls` and `down`. While it is up, it is as they write it: they replace characters other
        than ASCII letters, digits, "-" and "_", and the file can have another one."""
        return self._name

    @property
    def artifacts(self) -> pathlib.Path:
        """The folder with logs, captures and timeline.jsonl."""
        return self._artifacts

    @property
    def buses(self) -> Dict[str, Bus]:
        """Its buses by name: `lab.buses["lan"].attach()` puts a port beside the hosts."""
        return {bus["name"]: Bus(bus["path"]) for bus in self._started()["buses"]}

    @property
    def hosts(self) -> List[str]:
        """The names of its hosts."""
        return [host["name"] for host in self._started()["hosts"]]

    def up(self) -> Lab:
        """Starts it; does nothing if this object has done so. Raises FileExistsError (a lab of this name is up already),
        Error with what `shmifctl up` has said, or Unsupported on a machine that cannot run hosts."""
        if self._up:
            return self
        self._process = os.getpid()
        command = [shmifctl(), "up", str(self._file), "--detach", "--artifacts", str(self._artifacts)]
        if self._seed is not None:
            command += ["--seed", str(self._seed)]
        self._write_file()
        for lab in self._listed():  # which is not ours to end
            if lab["name"] in (self._name, _as_listed(self._name)) or self._is_ours(lab):
                raise error(errno.EEXIST, f'the lab "{lab["name"]}" is up already, from {lab["file"]} (end it with '
                            f"'shmifctl down {lab['name']}')")
        try:
            started = subprocess.run(command, stdin=subprocess.DEVNULL, text=True, capture_output=True, check=False,
                                     timeout=self._limit)
        except BaseException as failed:
            self._keep_folder()
            with contextlib.suppress(subprocess.CalledProcessError):  # then what has failed first says why
                self.down()
            if isinstance(failed, subprocess.TimeoutExpired):
                raise error(errno.ETIMEDOUT, f'the lab "{self._name}" is not ready after {self._timeout} s '
                            f"({self._artifacts} has its logs)") from None
            raise
        if started.returncode != 0:  # and nothing of it is left
            self._keep_folder()
            raise failure(f'the lab "{self._name}" does not start', started.returncode, self._without_file(started.stderr))
        self._up = True
        atexit.register(self._forgotten)
        try:
            self._state = self._found()
            self._name = self._state["name"]
        except BaseException:
            self.down()
            raise
        return self

    def _write_file(self) -> None:
        """That of a lab from a dict, in its folder; again, if down() has removed it."""
        if self._text is not None and not self._file.exists():
            self._file.parent.mkdir(exist_ok=True)
            self._file.write_text(self._text)
            self._remove_folder = weakref.finalize(self, shutil.rmtree, self._file.parent, True)

    def _without_file(self, said: str) -> str:
        """Nobody has seen the file of a lab from a dict, and soon it is gone."""
        if self._text is None:
            return said
        return re.sub(rf"(the lab )?{re.escape(str(self._file))}(:\d+)*", f'the lab "{self._name}"', said)

    def _keep_folder(self) -> None:
        """The logs say why it does not start."""
        if self._artifacts.exists() and self._remove_folder is not None:
            self._remove_folder.detach()

    def _forgotten(self) -> None:
        if self._process == os.getpid():
            warnings.warn(f"{self!r} was not taken down", ResourceWarning, source=self)
            self.down()

    def _listed(self) -> List[Dict[str, Any]]:
        listed = _run([shmifctl(), "ls", "--json"], False, self._timeout, None)
        if listed.returncode != 0:
            raise failure("cannot list the labs", listed.returncode, listed.stderr)
        labs: List[Dict[str, Any]] = json.loads(listed.stdout)["labs"]
        return labs

    def _found(self) -> Dict[str, Any]:
        for lab in self._listed():
            if self._is_ours(lab):
                return lab
        self._keep_folder()
        said = "".join(f"\n{log.stem}: {self.output(log.stem).strip()}" for log in sorted(self._artifacts.glob("*.log")))
        raise error(errno.ESRCH, f'the lab "{self._name}" has ended (its logs are in {self._artifacts}){said}')

    def _is_ours(self, lab: Dict[str, Any]) -> bool:
        """Whether it is of our file. What is not UTF-8 in a path is replaced in lists."""
        mine = os.fsencode(self._file).decode(errors="replace")
        return bool(lab["file"] == mine or os.path.realpath(lab["file"]) == os.path.realpath(self._file))

    def _started(self) -> Dict[str, Any]:
        if not self._up:
            raise error(errno.ESRCH, f'the lab "{self._name}" is not up (use it in a `with`, or call up())')
        return self._state

    def down(self) -> None:
        """Ends it, and returns when everything is gone. A second call does nothing."""
        self._up = False
        if self._process != os.getpid():
            return
        atexit.unregister(self._forgotten)
        try:
            _run([shmifctl(), "down", str(self._file)], True, 60, None)
        finally:
            if self._remove_folder is not None:
                self._remove_folder()

    def _bus_of(self, host: str, bus: Optional[str]) -> Bus:
        """The bus of a host; of several, the one that is named."""
        for each in self._started()["hosts"]:
            if each["name"] == host:
                names = each["buses"]
                if bus is None and len(names) != 1:
                    raise ValueError(f'the host "{host}" is on the buses {", ".join(names)}: say which one')
                if bus is not None and bus not in names:
                    raise ValueError(f'the host "{host}" is not on the bus "{bus}", but on {", ".join(names)}')
                return self._place_of(host) if bus is None else self.buses[bus]
        raise ValueError(f'the lab "{self._name}" has no host "{host}", but {", ".join(self.hosts)}')

    def _place_of(self, host: str) -> Bus:
        """A bus on which a host is now. Raises Error with the errno ECHILD if it has ended."""
        for bus in self.buses.values():
            try:
                if any(port.name == host and port.live for port in bus.ports()):
                    return bus
            except FileNotFoundError:  # all hosts have ended, and so has the lab
                continue
            except OSError as failed:
                if failed.errno != errno.EOPNOTSUPP:
                    raise
                return bus  # it cannot tell
        raise error(errno.ECHILD, f'the host "{host}" of the lab "{self._name}" has ended: '
                    f"{self.output(host).strip() or 'it has printed nothing'} (the logs are in {self._artifacts})")

    def command(self, host: str, program: Union[str, Sequence[str]]) -> List[str]:
        """The command that runs a program in a host, for subprocess (`shmifctl enter`). Raises Error with the errno ECHILD
        and what it has printed if the host has ended."""
        words = _command(program)
        names = [each["buses"] for each in self._started()["hosts"] if each["name"] == host]
        self._bus_of(host, names[0][0] if names else None)
        return [shmifctl(), "enter", self._place_of(host).path, host, "--", *words]

    def exec(self, host: str, program: Union[str, Sequence[str]], *, check: bool = True, timeout: Optional[float] = 60,
             input: Union[str, bytes, None] = None) -> subprocess.CompletedProcess[str]:
        """Runs a program in a host, as Host.run()."""
        def must_be_there(within: float) -> None:
            until = time.monotonic() + within
            while self._place_of(host) and time.monotonic() < until:
                time.sleep(0.02)
        return _run(self.command(host, program), check, timeout, input, must_be_there)

    def fault(self, host: str, faults: Optional[str], bus: Optional[str] = None) -> str:
        """Sets the faults on the line of a host, as Bus.fault()."""
        return self._bus_of(host, bus).fault(host, faults)

    def link(self, host: str, up: bool, bus: Optional[str] = None) -> str:
        """Pulls the cable of a host (False), or plugs it in again."""
        return self._bus_of(host, bus).link(host, up)

    def output(self, host: str) -> str:
        """What the program of a host has printed so far."""
        with contextlib.suppress(FileNotFoundError):
            return (self._artifacts / f"{host}.log").read_text(errors="replace")
        return ""

    def __enter__(self) -> Lab:
        return self.up()

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.down()

    def __repr__(self) -> str:
        return f"<shmif.Lab {self._name!r}, {'up' if self._up else 'down'}>"


def _as_listed(name: str) -> str:
    """The name of a lab of a file that is called so."""
    listed = re.sub(r"[^A-Za-z0-9_-]", "-", os.fsencode(name).decode("latin-1"))
    return listed if listed[:1] not in ("", "-") else "lab" + listed


def to_toml(description: Mapping[str, Any]) -> str:
    """A dict as TOML: each table on one line. Raises TypeError for values that TOML has not."""
    lines = []
    for key, value in description.items():
        if isinstance(value, Mapping) and value and all(isinstance(each, Mapping) for each in value.values()):
            lines += [f"{_key(key)}.{_key(name)} = {_value(each)}" for name, each in value.items()]
        else:
            lines.append(f"{_key(key)} = {_value(value)}")
    return "\n".join(lines) + "\n"


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{key!r} is not a key of a lab: keys are texts")
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _text(key)


def _text(text: str) -> str:
    # As in JSON, but TOML has no pairs of surrogates, and wants DEL as an escape.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (str, os.PathLike)):
        return _text(os.fspath(value))
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items()) + " }"
    if isinstance(value, Sequence):
        return "[" + ", ".join(_value(each) for each in value) + "]"
    raise TypeError(f"{value!r} cannot be written in a lab: give a text, a number, a bool, a list or a dict")
