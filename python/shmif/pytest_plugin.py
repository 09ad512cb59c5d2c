"""Fixtures for pytest: a bus for each test, ports, hosts, faults and a capture on it.

In conftest.py:

    pytest_plugins = ["shmif.pytest_plugin"]

It is not loaded by itself, because its fixtures have short names.
"""
from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import re
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Protocol, Sequence, Union

import pytest

from ._library import Error, Unsupported, printable
from .bus import Bus
from .hosts import Capture, Host
from .port import Port


class HostMaker(Protocol):
    """The fixture `host`."""

    def __call__(self, name: str, program: Union[str, Sequence[str], None] = None, *, ip: Union[str, Sequence[str]] = (),
                 gateway: Union[str, Sequence[str]] = (), mac: Union[str, bytes, None] = None, fault: Optional[str] = None,
                 forward: bool = False, env: Optional[Mapping[str, str]] = None, options: Sequence[str] = (),
                 timeout: float = 20) -> Host: ...


FaultSetter = Callable[[str, Optional[str]], str]

_FAILED = pytest.StashKey[bool]()
_CAPTURE = pytest.StashKey[Capture]()
_HOSTS = pytest.StashKey[List[Host]]()
_FOLDER = pytest.StashKey[int]()  # descriptor of that of --shmif-artifacts: its path can name another one later


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("shmif").addoption("--shmif-artifacts", metavar="DIR", help="where the captures of failed tests "
                                       "are kept (default: in pytest's temporary folder)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "bus(**options): options of shmif.Bus.create() for the fixture `bus`")
    folder = config.getoption("--shmif-artifacts")
    if folder:
        try:
            if os.path.lexists(folder) and not os.path.isdir(folder):
                raise pytest.UsageError(f"--shmif-artifacts {folder}: this is no folder (name a folder, or one to be made)")
            pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
            config.stash[_FOLDER] = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as failed:
            raise pytest.UsageError(f"--shmif-artifacts {folder}: cannot make this folder: {failed.strerror}") from None


def pytest_unconfigure(config: pytest.Config) -> None:
    if _FOLDER in config.stash:
        os.close(config.stash[_FOLDER])
        del config.stash[_FOLDER]


def _hides_a_failure(unsupported: BaseException) -> bool:
    """Whether another exception was on its way when it was raised, as in `finally`. (`raise ... from` says why.)"""
    while unsupported.__context__ is not None and not unsupported.__suppress_context__:
        unsupported = unsupported.__context__
        if not isinstance(unsupported, Unsupported):
            return True
    return False


@pytest.hookimpl(hookwrapper=True)  # type: ignore[misc]
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A report of a failure names the capture, and has what the hosts have said. The capture is removed only when
    everything has passed, the ends of all fixtures too. A test that meets Unsupported is skipped, unless that hides a
    failure."""
    outcome: Any = yield
    report = outcome.get_result()
    capture = item.stash.get(_CAPTURE, None)
    unsupported = call.excinfo.value if call.excinfo is not None and call.excinfo.errisinstance(Unsupported) else None
    if report.failed and unsupported is not None and report.when != "teardown" and not _hides_a_failure(unsupported):
        report.outcome = "skipped"
        path, line, _ = item.reportinfo()
        report.longrepr = (str(path), (line or 0) + 1, f"Skipped: {unsupported}")
    if report.when == "teardown" and capture and capture.lost:
        report.sections.append(("capture of the bus at teardown", f"{capture.lost} frames of this test are not in {capture.path}"))
    if report.failed:
        item.stash[_FAILED] = True
        for each in item.stash.get(_HOSTS, []):
            report.sections.append((f"output of the host {each.name}", printable(each.output())))
        if capture:
            report.sections.append(("capture of the bus", str(capture.path)))
            if ("capture", str(capture.path)) not in item.user_properties:
                item.user_properties.append(("capture", str(capture.path)))
            report.user_properties = list(item.user_properties)  # for --junitxml
    if report.when == "teardown" and capture and not item.stash.get(_FAILED, False):
        capture._remove()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Names the captures where the reports of failures are not shown."""
    if terminalreporter.config.getoption("tbstyle") in ("line", "no"):
        for report in terminalreporter.getreports("failed") + terminalreporter.getreports("error"):
            for name, path in getattr(report, "user_properties", ()):  # the report of a collection has none
                if name == "capture":
                    terminalreporter.write_line(f"capture of {report.nodeid}: {path}")


def _file_name(nodeid: str) -> str:
    """A name for a file that no other test of a run has."""
    name = re.sub(r"[^\w.-]+", "_", nodeid.replace("::", "_"), flags=re.ASCII)[:150]
    if re.fullmatch(r"[\w.-]{1,70}\.py::\w{1,70}", nodeid, re.ASCII):
        return name
    return f"{name}-{hashlib.sha256(nodeid.encode(errors='surrogatepass')).hexdigest()[:8]}"


@pytest.fixture
def bus(request: pytest.FixtureRequest) -> Iterator[Bus]:
    """A new bus. It is removed after the test. @pytest.mark.bus(mtu=9000) gives it options."""
    marker = request.node.get_closest_marker("bus")
    if marker and marker.args:
        raise pytest.UsageError("@pytest.mark.bus takes options by their names, such as mtu=9000")
    with Bus.create(**(marker.kwargs if marker else {})) as made:
        yield made


@pytest.fixture
def port(bus: Bus) -> Iterator[Port]:
    """A port "test" on the bus, which is up."""
    with bus.attach("test") as attached:
        yield attached


@pytest.fixture
def host(bus: Bus, request: pytest.FixtureRequest) -> Iterator[HostMaker]:
    """host("web", "busybox httpd -f", ip="198.18.0.1/24") starts a host on the bus, as Bus.host(). All of them end
    after the test. On a machine that cannot run hosts, the test is skipped."""
    with contextlib.ExitStack() as hosts:
        def start(name: str, *arguments: Any, **options: Any) -> Host:
            started = hosts.enter_context(bus.host(name, *arguments, **options))
            request.node.stash.setdefault(_HOSTS, []).append(started)
            return started
        yield start


@pytest.fixture
def fault(bus: Bus, host: HostMaker) -> Iterator[FaultSetter]:
    """fault("web", "loss=50%") sets the faults on the line of a host, as Bus.fault(); fault("web", None) ends them.
    They end after the test."""
    hosts: Dict[str, None] = {}

    def change(name: str, faults: Optional[str]) -> str:
        hosts[name] = None
        return bus.fault(name, faults)
    yield change
    for name in hosts:
        with contextlib.suppress(Error):  # the host has ended, and its faults with it
            bus.fault(name, None)


@pytest.fixture
def capture(bus: Bus, request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[Capture]:
    """Records the frames on the bus, in a file of pcapng. If the test fails, the file stays, and the report names it;
    otherwise it is removed. A test that reads the file calls capture.close() first. If it has missed frames, which were
    sent too fast, the test has the warning shmif.CaptureLoss: @pytest.mark.bus(patience=1) makes senders wait for it."""
    folder = request.config.getoption("--shmif-artifacts")
    file = tmp_path / "capture.pcapng"
    if folder:
        file = pathlib.Path(folder, _file_name(request.node.nodeid) + ".pcapng").absolute()
    with Capture(bus, file, _folder=request.config.stash[_FOLDER] if folder else None) as recording:
        request.node.stash[_CAPTURE] = recording
        yield recording
