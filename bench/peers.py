"""What the rows run: trials of the bench's own programs, DPDK's testpmd, and helpers that leave nothing behind."""

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

PR_SET_PDEATHSIG = 1


class Missing(Exception):
    """A peer cannot be measured here; the text says why."""


class Setup:
    """Where the programs are, and how long a trial may take."""

    def __init__(self, build, quick):
        self.build = build
        self.root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        self.quick = quick
        self.seconds = 0.4 if quick else 1.0
        self.shmifctl = os.path.join(build, "tools", "shmifctl")
        self.shmifperf = os.path.join(build, "tools", "shmifperf")

    def program(self, name):
        here = os.path.join(self.build, "bench")
        older = os.path.join(self.build, "perf", "bench")  # where earlier versions of shmif built it, for --before
        return os.path.join(here if os.path.isdir(here) else older, "shmif_bench_" + name)


def _die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def need(*programs):
    for program in programs:
        if shutil.which(program) is None:
            raise Missing(f"{program} is not installed (tools/bench --install)")


def run(command, seconds=60, **options):
    """Runs a command to its end. Result: its output. If it fails, raises Missing with its last words."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=seconds,
                              stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent, check=False, **options)
    except FileNotFoundError as error:
        raise Missing(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise Missing(f"{os.path.basename(command[0])} did not end within {seconds} s") from error
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise Missing(f"{os.path.basename(command[0])} failed: {words}")
    return done.stdout


def succeeds(command):
    """Whether a quick command ends with 0."""
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          preexec_fn=_die_with_parent, timeout=30, check=False).returncode == 0


@contextlib.contextmanager
def running(command, **options):
    """Runs a command in the background until the block ends."""
    try:
        process = subprocess.Popen(command, preexec_fn=_die_with_parent, **{
            "stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "text": True, **options})
    except FileNotFoundError as error:
        raise Missing(f"{command[0]} is not installed") from error
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


@contextlib.contextmanager
def session():
    """A folder for all that this run makes, on a tmpfs where there is one. It goes at the end, however that comes; one
    whose run was killed outright goes when the next begins."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()
    for name in os.listdir(base):
        owner = re.fullmatch(r"shmif-bench\.(\d+)\..*", name)
        if owner and not os.path.exists(f"/proc/{owner.group(1)}"):
            shutil.rmtree(os.path.join(base, name), ignore_errors=True)
    path = tempfile.mkdtemp(prefix=f"shmif-bench.{os.getpid()}.", dir=base)
    os.environ["TMPDIR"] = tempfile.tempdir = path  # used by folder() and by the trials
    try:
        yield
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def folder():
    """A new folder for one trial."""
    path = tempfile.mkdtemp()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def until(condition, what, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Missing(f"{what} did not happen within {seconds} s")
        time.sleep(0.01)


def trial(setup, program, prefix=(), **arguments):
    """One trial of a program of the bench. Result: its figures."""
    words = [word for name, value in arguments.items() for word in ("--" + name.replace("_", "-"), str(value))]
    return json.loads(run([*prefix, setup.program(program), *words]))


def throughput(setup, wire, prefix=(), **arguments):
    return trial(setup, "throughput", prefix, wire=wire, seconds=arguments.pop("seconds", setup.seconds), **arguments)


def load(setup, *options):
    """A run of shmifperf on a bus, as fast as it can. Result: frames sent by all its jobs and received by its sink, each
    second. Its sink checks every frame."""
    words = [setup.shmifperf, "run", "--name=load", "--engine=bus", "--rw=tx", f"--runtime={setup.seconds}",
             "--output-format=json", *options]
    result = json.loads(run(words))
    rates = [(job["tx"] or {}).get("rate_fps") or 0 for job in result["jobs"]]
    heard = [(job["rx"] or {}).get("rate_fps") or 0 for job in result["jobs"]]
    if not result["passed"] or not sum(rates) or not sum(heard):
        raise Missing("shmifperf did not load the bus")
    return {"sent": sum(rates), "heard": sum(heard)}


# Runs a command in a new network namespace with a veth pair. The namespace ends with the command.
VETH = "ip link add va type veth peer name vb && ip link set va up && ip link set vb up && exec \"$@\""


def packet_throughput(setup, wire, **arguments):
    need("unshare", "ip")
    prefix = ["unshare", "--map-root-user", "--net", "sh", "-c", VETH, "sh"]
    return throughput(setup, wire, prefix, place="va,vb", **arguments)


@contextlib.contextmanager
def vde_switch():
    """Starts a switch in hub mode. Result: its folder."""
    need("vde_switch")
    with folder() as place:
        switch = os.path.join(place, "ctl")
        with running(["vde_switch", "--hub", "--sock", switch]):
            until(lambda: os.path.exists(os.path.join(switch, "ctl")), "the VDE switch's socket")
            yield switch


def vde_throughput(setup, **arguments):
    with vde_switch() as place:
        return throughput(setup, "vde", place=place, **arguments)


@contextlib.contextmanager
def bridge_processes(setup, *links, ready="ready"):
    """A bus with a bridge for each link, which names its sockets relative to a folder. Result: that folder, and the bridges
    once they have said that they are `ready`."""
    with folder() as place, contextlib.ExitStack() as stack:
        bus = os.path.join(place, "bus")
        run([setup.shmifctl, "create", bus])
        processes = []
        for number, link in enumerate(links):
            log = stack.enter_context(open(os.path.join(place, f"log{number}"), "w", encoding="utf-8"))
            process = stack.enter_context(running([setup.shmifctl, "bridge", "bus:" + bus, link], stdout=log, stderr=log, cwd=place))

            def said(name=log.name):
                with open(name, encoding="utf-8") as file:
                    return file.read()
            until(lambda: ready in said() or process.poll() is not None, "the bridge's start")  # pylint: disable=cell-var-from-loop
            if process.poll() is not None:
                raise Missing("the bridge: " + (said().strip().splitlines() or ["no message"])[-1])
            processes.append(process)
        yield place, processes


@contextlib.contextmanager
def bridges(setup, *links):
    """As bridge_processes(). Result: the folder."""
    with bridge_processes(setup, *links) as (place, _):
        yield place


def stream_throughput(setup, **arguments):
    """Two programs, each on its own stream, joined by a bridge."""
    with bridges(setup, "stream:./q") as place:
        return throughput(setup, "stream", place=place, **arguments)


def datagram_throughput(setup, **arguments):
    """Two programs that send datagrams, each with a bridge of its own."""
    with bridges(setup, "dgram:./bus0,./vm0", "dgram:./bus1,./vm1") as place:
        return throughput(setup, "dgram", place=place, **arguments)


def named_datagram_throughput(setup, **arguments):
    """The same two without bridges: each sends to the other's path, whose queue is as short as those at a bridge."""
    with folder() as place:
        return throughput(setup, "dgram", place=place, directly=1, **arguments)


def captured_share(text):
    """Of what passed: "51 frames captured, 0 filtered out, 0 lost", and what tcpdump says in three lines."""
    found = [re.search(pattern, text) for pattern in (r"(\d+) (?:frames|packets?) captured", r"(\d+) (?:lost|packets? dropped by kernel)")]
    if None in found:
        raise Missing("no summary of the capture: " + (text.strip().splitlines() or ["nothing"])[-1])
    captured, lost = (int(match.group(1)) for match in found)
    return captured / (captured + lost) if captured else 0.0


def beside(capture, ready, send):
    """Runs a capture on CPU 1 while `send` sends. Result: what came of the trial, and the share that was captured."""
    need("taskset")
    with folder() as place, open(os.path.join(place, "log"), "w", encoding="utf-8") as log:
        with running(["taskset", "--cpu-list", "1", *capture], stdout=log, stderr=log) as process:
            until(lambda: ready(log.name) or process.poll() is not None, "the capture's start")
            result = send()
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)
        with open(log.name, encoding="utf-8", errors="replace") as file:
            return result, captured_share(file.read())


def bus_capture(setup, rate=0):
    """`dump -w` beside one sender of 64 B frames. Result: the sender's rate with it, and the captured share."""
    with folder() as place:
        bus = os.path.join(place, "bus")
        run([setup.shmifctl, "create", bus])

        def send():
            return throughput(setup, "shmif", place=bus, listeners=0, rate=rate)["sent_per_s"]

        def is_up(_log):
            return succeeds([setup.shmifctl, "wait", bus, "--port", "capture", "--timeout", "1"])

        return beside([setup.shmifctl, "dump", bus, "--name", "capture", "-w", "/dev/null"], is_up, send)


def veth_capture(setup):
    """tcpdump beside one packet socket that sends over veth. Result: the sender's rate with it, and the captured share."""
    need("tcpdump", "unshare", "nsenter", "ip")
    if os.geteuid() != 0:
        raise Missing("tcpdump gives up privileges in a way that needs root, also in a namespace of one's own")
    with running(["unshare", "--net", "sh", "-c", VETH, "sh", "sleep", "600"]) as holder:
        enter = ["nsenter", "--net", "--target", str(holder.pid)]
        until(lambda: succeeds([*enter, "ip", "link", "show", "vb"]) or holder.poll() is not None, "the veth pair")

        def send():
            return throughput(setup, "packet", enter, place="va,vb", listeners=0)["sent_per_s"]

        def is_listening(log):
            with open(log, encoding="utf-8", errors="replace") as file:
                return "listening on" in file.read()

        capture = ["tcpdump", "-i", "vb", "-B", "4096", "-w", "/dev/null", "-Z", "root"]
        return beside([*enter, *capture], is_listening, send)


class Testpmd:
    """One testpmd, driven by its prompt; all of its threads on one CPU, of which only one is ever busy.

    What it sends goes to everyone: a port of a bus passes on no frames for an address that its program never used."""

    def __init__(self, stack, place, name, cpu, mode, frame_bytes, device, more=()):
        eal = ["--no-huge", "-m", "128", "--no-shconf", "--no-pci", "--no-telemetry", "--file-prefix", f"bench-{name}", *more]
        self.log = os.path.join(place, f"log-{name}")
        log = stack.enter_context(open(self.log, "w", encoding="utf-8"))
        self.process = stack.enter_context(running(
            ["stdbuf", "--output=L", "dpdk-testpmd", "--lcores", f"(0,1)@{cpu}", *eal, f"--vdev={device}", "--", "-i",
             "--nb-cores=1", "--total-num-mbufs=8192", f"--forward-mode={mode}", f"--txpkts={frame_bytes}",
             "--eth-peer=0,ff:ff:ff:ff:ff:ff"],
            stdout=log, stderr=log, env={**os.environ, "RUNTIME_DIRECTORY": place}))
        until(lambda: "testpmd> " in self.text(), "testpmd's prompt", 20)

    def say(self, command):
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            self.text()

    def text(self):
        """All that it has printed. If it has ended too early, raises Missing."""
        with open(self.log, encoding="utf-8", errors="replace") as log:
            text = log.read()
        if self.process.poll() is not None:
            raise Missing("testpmd ended by itself: " + (text.strip().splitlines() or ["no message"])[-1])
        return text

    def receive_rate(self):
        """Frames per second since the previous call."""
        def rates():
            return re.findall(r"Rx-pps:\s*(\d+) ", self.text())

        before = len(rates())
        self.say("show port stats 0")
        until(lambda: len(rates()) > before, "testpmd's answer")
        return int(rates()[-1])


def flood(receiver, sender, seconds):
    """Result: frames per second that one testpmd received from the other, by its own statistics, after a warm-up."""
    receiver.say("start")
    sender.say("start")
    until(lambda: receiver.receive_rate() > 0, "the first frame")
    time.sleep(0.25)
    receiver.receive_rate()
    time.sleep(seconds)
    rate = receiver.receive_rate()
    for end in (sender, receiver):
        end.say("stop")
        end.say("quit")
    for end in (sender, receiver):
        with contextlib.suppress(subprocess.TimeoutExpired):
            end.process.wait(timeout=10)
    if rate == 0:
        raise Missing("testpmd received nothing")
    return rate


def memif(setup, frame_bytes, zero_copy=False, sender="client", seconds=None, more=""):
    """Two testpmds over memif; `sender` is the role of the one that sends, `more` is added to the options of both devices.
    Result: frames received per second."""
    need("dpdk-testpmd", "stdbuf")
    with folder() as place, contextlib.ExitStack() as stack:
        ends = {}
        for cpu, role in enumerate(("server", "client")):  # the server starts first
            device = f"net_memif,role={role},id=0,socket={place}/memif.sock,socket-abstract=no{more}"
            if zero_copy and role == "client":
                device += ",zero-copy=yes"
            ends[role] = Testpmd(stack, place, role, cpu, "txonly" if role == sender else "rxonly", frame_bytes, device,
                                 ["--single-file-segments"] if zero_copy else [])
        return flood(ends["server" if sender == "client" else "client"], ends[sender], seconds or setup.seconds)


# Gives the queues of virtio the depth of memif's rings.
QUEUE = "queues=1,queue_size=1024"


def vhost_user(setup, frame_bytes, bridges_of_their_own=False):
    """Two testpmds whose memory is shared with a bridge, or each with one of its own. Result: as memif()."""
    need("dpdk-testpmd", "stdbuf")
    links = ["vhost-user:./v0", "vhost-user:./v1"] if bridges_of_their_own else ["vhost-user:./v0"]
    with bridges(setup, *links) as place, contextlib.ExitStack() as stack:
        ends = {}
        for cpu, mode in enumerate(("rxonly", "txonly")):
            device = f"net_virtio_user0,path={place}/v{cpu % len(links)},mac=02:00:00:00:00:0{cpu + 1},{QUEUE}"
            ends[mode] = Testpmd(stack, place, mode, cpu, mode, frame_bytes, device)
        return flood(ends["rxonly"], ends["txonly"], 2 * setup.seconds)


def vhost_user_forwarded(setup, frame_bytes):
    """Two testpmds that are machines, and in the place of the bridge a third that forwards. Result: as memif()."""
    need("dpdk-testpmd", "stdbuf")
    with folder() as place, contextlib.ExitStack() as stack:
        middle = Testpmd(stack, place, "middle", "0-1", "io", frame_bytes, f"net_vhost0,iface={place}/v0,queues=1",
                         [f"--vdev=net_vhost1,iface={place}/v1,queues=1"])
        ends = {}
        for cpu, mode in enumerate(("rxonly", "txonly")):
            device = f"net_virtio_user0,path={place}/v{cpu},mac=02:00:00:00:00:0{cpu + 1},{QUEUE}"
            ends[mode] = Testpmd(stack, place, mode, cpu, mode, frame_bytes, device)
        middle.say("start")
        return flood(ends["rxonly"], ends["txonly"], 2 * setup.seconds)


def vhost_user_directly(setup, frame_bytes, sender):
    """A testpmd that is the machine, "virtio_user", and one that is its network, "vhost". Result: as memif()."""
    need("dpdk-testpmd", "stdbuf")
    with folder() as place, contextlib.ExitStack() as stack:
        ends = {}
        for cpu, (role, device) in enumerate({"vhost": f"net_vhost0,iface={place}/v,queues=1",
                                              "virtio_user": f"net_virtio_user0,path={place}/v,{QUEUE}"}.items()):
            ends[role] = Testpmd(stack, place, role, cpu, "txonly" if role == sender else "rxonly", frame_bytes, device)
        return flood(ends["vhost" if sender == "virtio_user" else "virtio_user"], ends[sender], 2 * setup.seconds)
