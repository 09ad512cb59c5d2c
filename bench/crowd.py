"""Many hosts on one wire, a bus or a kernel bridge: what they cost, and how that grows with their number.

Beside the hosts that count there is one more, the watcher, which is there before them. It asks each whether it answers, and sends
the broadcasts. Nobody reads these in the hosts: their kernels count them. The storm is of ARP probes, in which the asker gives no
address of its own, as RFC 5227 has it. Kernels answer them and do not note the asker. Their own requests could not be used: all
namespaces of a machine share one table of 1024 neighbours, whose size only root of the machine can change.
"""

import contextlib
import ctypes
import os
import re
import select
import signal
import socket
import struct
import time

import hosts
import peers
from peers import Missing, need, run, until

HELD = "exec " + " ".join(hosts.HOLD)
NETWORK = "198.18.0.0/16"
EVERYONE = "198.18.255.255"
INTERFACE = "eth0"
WATCHER = 0  # the watcher's number; the other hosts have 1, 2, ...
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
ETH_P_ARP, SO_ATTACH_FILTER = 0x0806, 26
ASK, ASK_AGAIN = 3, 1.0  # how often, and seconds between two questions: as kernels do
QUIET = 0.06  # share of all CPUs
ENOUGH = 50  # hosts: the cost of fewer is lost in the noise, and the kernel counts CPU time in hundredths of seconds


def address(number):
    return f"198.18.{number // 200}.{number % 200 + 1}"


def mac(number):
    return f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"


# ---- The time of all CPUs, and memory ----


class Clock:
    """The time for which the CPUs of the machine were busy with anything. The kernel counts idle time exactly."""

    def __init__(self):
        self.at, self.idle = self.look()

    @staticmethod
    def look():
        with open("/proc/stat", encoding="ascii") as file:
            words = file.readline().split()[1:]
        return time.monotonic(), (int(words[3]) + int(words[4]) + int(words[7])) / os.sysconf("SC_CLK_TCK")  # idle, disk, stolen: not busy

    def busy(self):
        """Result: seconds since the start, and the CPU time in them."""
        at, idle = self.look()
        elapsed = at - self.at
        return elapsed, max(elapsed * os.cpu_count() - (idle - self.idle), 0.0)


def wait_for_quiet(seconds, slice_s=0.25):
    """Waits until the CPUs are nearly idle: the kernel cleans up namespaces long after their processes ended. Result: whether they are."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        clock = Clock()
        time.sleep(slice_s)
        elapsed, busy = clock.busy()
        if busy < QUIET * elapsed * os.cpu_count():
            return True
    return False


def kernel_kib():
    """The kernel's own memory that it cannot drop. (The available memory also changes with every compiler that runs.)"""
    with open("/proc/meminfo", encoding="ascii") as file:
        return sum(int(kib) for kib in re.findall(r"(?m)^(?:SUnreclaim|KernelStack|PageTables|Percpu):\s*(\d+)", file.read()))


def own_kib(pids):
    """The proportional set size of processes, without shared memory such as the bus."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            total += sum(int(kib) for kib in re.findall(r"Pss_(?:Anon|File):\s*(\d+)", file.read()))
    return total


# ---- Hosts ----


def spawn(command, out=None):
    """Starts a command, but unlike subprocess.Popen does not wait until it runs. It ends with this process. Result: its id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        ctypes.CDLL(None).prctl(peers.PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        nothing = os.open("/dev/null", os.O_RDWR)
        for number, target in enumerate((nothing, nothing if out is None else out, nothing)):
            os.dup2(target, number)
        os.execvp(command[0], command)
    finally:
        os._exit(127)


def end_all(pids, seconds=20):
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + seconds
    left = list(pids)
    while left:
        left = [pid for pid in left if os.waitpid(pid, os.WNOHANG)[0] == 0]
        if left and time.monotonic() > end:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            end += seconds
        time.sleep(0.01 if left else 0)


class Bus:
    """Hosts of `shmifctl exec`."""

    def __init__(self, setup, stack):
        self.shmifctl = setup.shmifctl
        self.path = os.path.join(stack.enter_context(peers.folder()), "bus")
        run([self.shmifctl, "create", self.path])

    def command(self, number):
        return [self.shmifctl, "exec", self.path, "--name", f"h{number}", "--mac", mac(number), "--ifname", INTERFACE,
                "--ip", address(number) + "/16", "--", "sh", "-c", f"echo {number}; {HELD}"]

    @staticmethod
    def program(pid):
        """The process in the host."""
        return next((one for one in hosts.descendants(pid) if hosts.is_holding(one)), None)

    def shared_kib(self):
        """What all hosts share."""
        return os.stat(self.path).st_blocks / 2


class Bridge:
    """Namespaces with one end of a veth pair; the others are on a bridge in a namespace of its own."""

    MAKE = f"ip link add br0 type bridge && ip link set br0 up && echo made; {HELD}"
    JOIN = """echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
ip -batch - <<END && nsenter --net --target {bridge} ip link set v{number} master br0 up && echo {number}
link set lo up
link add {interface} address {mac} type veth peer name v{number} netns {bridge}
address add {address}/16 broadcast + dev {interface}
link set {interface} up
END
{held}"""

    def __init__(self, _setup, stack):
        need("unshare", "nsenter", "ip")
        reader, writer = os.pipe()
        self.pid = spawn(["unshare", "--map-root-user", "--net", "sh", "-c", self.MAKE], writer)
        os.close(writer)
        stack.callback(end_all, [self.pid])
        with open(reader, encoding="ascii") as said:
            if said.readline() != "made\n":
                raise Missing("a bridge in a user namespace cannot be made here")
        until(lambda: hosts.is_holding(self.pid), "the bridge")

    def command(self, number):
        script = self.JOIN.format(bridge=self.pid, number=number, interface=INTERFACE, mac=mac(number), address=address(number), held=HELD)
        return ["nsenter", "--preserve-credentials", "--user", "--target", str(self.pid), "unshare", "--net", "sh", "-c", script]

    @staticmethod
    def program(pid):
        return pid

    @staticmethod
    def shared_kib():
        return 0


# ---- Sockets in hosts ----


def enter(pid):
    """Enters the user and network namespaces of a process. Call it only in a forked child."""
    libc = ctypes.CDLL(None, use_errno=True)
    for kind, flag in (("user", CLONE_NEWUSER), ("net", CLONE_NEWNET)):
        path = f"/proc/{pid}/ns/{kind}"
        if os.stat(path).st_ino == os.stat(f"/proc/self/ns/{kind}").st_ino:
            continue
        namespace = os.open(path, os.O_RDONLY)
        if libc.setns(namespace, flag) != 0:
            raise OSError(ctypes.get_errno(), f"setns {kind}")
        os.close(namespace)


def made_in(pid, make):
    """Lets `make` make a socket in the network namespace of a process. Result: that socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = os.fork()
        if child == 0:
            try:
                enter(pid)
                made = make()
                socket.send_fds(theirs, [b"."], [made.fileno()])
            except OSError as error:
                theirs.send(str(error).encode())
            finally:
                os._exit(0)
        theirs.close()
        text, descriptors, _, _ = socket.recv_fds(ours, 200, 1)
        os.waitpid(child, 0)
        if not descriptors:
            raise Missing("no socket in a host: " + (text.decode() or "no message"))
        return socket.socket(fileno=descriptors[0])


def arp_socket():
    """A socket that receives only ARP replies."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ARP))
    program = ((0x28, 0, 0, 20), (0x15, 0, 1, 2), (0x06, 0, 0, 0x40000), (0x06, 0, 0, 0))  # accepts a frame if the half-word at 20 is 2
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    made.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(code)))
    made.bind((INTERFACE, ETH_P_ARP))
    made.setblocking(False)
    return made


def broadcast_socket():
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    made.connect((EVERYONE, 9))
    return made


def bare(text):
    return bytes.fromhex(text.replace(":", ""))


def question(asker, asked, to="ff:ff:ff:ff:ff:ff"):
    return (bare(to) + bare(mac(asker)) + struct.pack("!HHHBBH", ETH_P_ARP, 1, 0x0800, 6, 4, 1) + bare(mac(asker)) + bytes(4)
            + bytes(6) + socket.inet_aton(address(asked)))


def answers(listener):
    """The addresses in all replies that have arrived."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(listener.recv(100)[28:32])
    return found


# ---- What is measured ----


class Crowd:
    """A wire with a watcher and `count` hosts."""

    def __init__(self, setup, stack, kind, count):
        self.count, self.figures, self.idle, self.text = count, {}, 0.0, ""
        self.pids, self.programs = [], []  # of the started processes, and of the programs in the hosts; the watcher comes first
        self.asker = None
        wait_for_quiet(60)
        self.kernel = kernel_kib()
        self.wire = kind(setup, stack)
        stack.callback(lambda: end_all(self.pids))
        self.reader, self.writer = os.pipe()
        for end in (self.reader, self.writer):
            stack.callback(os.close, end)
        os.set_blocking(self.reader, False)
        self.start([WATCHER])
        self.up(lambda: "0\n" in self.text, 20)
        until(lambda: self.wire.program(self.pids[0]), "the watcher")
        watcher = self.wire.program(self.pids[0])
        self.asker = stack.enter_context(made_in(watcher, arp_socket))
        self.caller = stack.enter_context(made_in(watcher, broadcast_socket))

    def start(self, numbers):
        for number in numbers:
            self.pids.append(spawn(self.wire.command(number), self.writer))

    def up(self, done, seconds):
        """Reads which programs run, until done() returns true."""
        end = time.monotonic() + seconds
        while not done():
            if time.monotonic() > end:
                raise Missing(f"{self.count} hosts did not come up in {seconds} s")
            if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                raise Missing("a host ended while it started")
            select.select([end for end in (self.reader, self.asker) if end], [], [], 0.02)
            with contextlib.suppress(BlockingIOError):
                self.text += os.read(self.reader, 65536).decode("ascii", errors="replace")

    def start_all(self):
        """Starts all hosts at once. Asks each host whose program runs every 20 ms until it answers."""
        missing, asked = {socket.inet_aton(address(n)): n for n in range(1, self.count + 1)}, {}
        self.text = ""
        clock = Clock()

        def all_answer():
            ready = {int(line) for line in self.text.split("\n")[:-1]}
            for one in answers(self.asker):
                missing.pop(one, None)
            now = time.monotonic()
            for number in missing.values():
                if number in ready and now - asked.get(number, 0) > 0.02:
                    self.asker.send(question(WATCHER, number, mac(number)))
                    asked[number] = now
            return not missing

        self.start(range(1, self.count + 1))
        self.up(all_answer, 120)
        self.figures["start"] = clock.busy()[0]
        until(lambda: all(self.wire.program(pid) for pid in self.pids), "the hosts' programs")
        self.programs = [self.wire.program(pid) for pid in self.pids]
        self.silence()
        wait_for_quiet(20)
        own = own_kib(one for pid in self.pids for one in hosts.descendants(pid))
        self.figures["memory"] = (own + self.wire.shared_kib()) / len(self.pids)
        if self.count >= ENOUGH:
            self.figures["kernel"] = (kernel_kib() - self.kernel) / len(self.pids)

    def silence(self):
        """Stops the hosts' search for routers: kernels ask less and less often, but each question disturbs all other hosts."""
        for pid in self.programs:
            child = os.fork()
            if child == 0:
                try:
                    enter(pid)
                    with open(f"/proc/sys/net/ipv6/conf/{INTERFACE}/router_solicitations", "w", encoding="ascii") as file:
                        file.write("0")
                finally:
                    os._exit(0)
            os.waitpid(child, 0)

    def rest(self, seconds):
        clock = Clock()
        time.sleep(seconds)
        elapsed, busy = clock.busy()
        self.figures["idle"] = self.idle = busy / elapsed

    def note_cost(self, name, busy, elapsed, parts=1):
        """Notes the CPU time beyond that at rest. If that is not positive, the machine was busier at rest, and there is no figure."""
        cost = busy - self.idle * elapsed
        if cost > 0:
            self.figures[name] = cost / parts

    def heard(self):
        """The sum of the broadcasts that the hosts' kernels received."""
        total = 0
        for pid in self.programs[1:]:
            with open(f"/proc/{pid}/net/netstat", encoding="ascii") as file:
                names, values = (line.split() for line in file.read().splitlines() if line.startswith("IpExt"))
            total += int(values[names.index("InBcastPkts")])
        return total

    def broadcast(self, name, rate, seconds):
        before = self.heard()
        clock = Clock()
        sent = round(rate * seconds)
        begin = time.monotonic()
        for number in range(sent):
            wait = begin + number / rate - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            self.caller.send(bytes(18))
        took = time.monotonic() - begin
        wait_for_quiet(10, 0.1)
        elapsed, busy = clock.busy()
        self.note_cost(name, busy, elapsed, sent)
        self.figures.update({name + "_heard": (self.heard() - before) / sent / self.count, name + "_rate": sent / took})

    def storm(self, name, others):
        """Lets all hosts at once ask `others` other hosts each."""
        with contextlib.ExitStack() as stack:
            listeners = [stack.enter_context(made_in(pid, arp_socket)) for pid in self.programs[1:]]
            gate, open_gate = os.pipe()
            results, result = os.pipe()
            workers = []
            stack.callback(lambda: end_all(workers))
            for number, listener in enumerate(listeners, 1):
                workers.append(os.fork())
                if workers[-1] == 0:
                    try:
                        ctypes.CDLL(None).prctl(peers.PR_SET_PDEATHSIG, signal.SIGKILL)
                        signal.signal(signal.SIGTERM, signal.SIG_DFL)
                        os.close(open_gate)
                        asked = [(number - 1 + step) % self.count + 1 for step in range(1, others + 1)]
                        os.read(gate, 1)  # waits for the start signal
                        os.write(result, (" ".join(map(str, ask_all(listener, number, asked))) + "\n").encode())
                        signal.pause()
                    finally:
                        os._exit(1)
            os.close(gate)
            os.close(result)
            with open(results, encoding="ascii") as said:
                time.sleep(0.2)
                wait_for_quiet(10)
                clock = Clock()
                begin = time.monotonic()
                os.close(open_gate)
                lines = [said.readline().split() for _ in listeners]
                wait_for_quiet(10, 0.1)
                elapsed, busy = clock.busy()
        if not all(lines):
            raise Missing("an asking process ended")
        answered, again = (sum(int(line[i]) for line in lines) / self.count / others for i in (0, 1))
        if self.count >= ENOUGH:
            self.note_cost(name + "_cpu", busy, elapsed)
        self.figures.update({name + "_answered": answered, name + "_again": again})
        if answered == 1:  # otherwise there is no last answer
            self.figures[name] = max(float(line[2]) for line in lines) - begin


def ask_all(listener, number, asked):
    """Asks all. Result: how many answered, how many questions were repeated, and when the last answer came."""
    missing = {socket.inet_aton(address(other)): other for other in asked}
    again, last = 0, time.monotonic()
    for attempt in range(ASK):
        for other in missing.values():
            with contextlib.suppress(OSError):  # the socket is full: the next attempt asks again
                listener.send(question(number, other))
        again += len(missing) if attempt else 0
        end = time.monotonic() + ASK_AGAIN
        while missing and time.monotonic() < end:
            select.select([listener], [], [], max(end - time.monotonic(), 0))
            for one in answers(listener):
                missing.pop(one, None)
                last = time.monotonic()
    return len(asked) - len(missing), again, last


def measure(setup, kind, count, neighbours):
    """All figures of one crowd."""
    short = setup.quick
    with contextlib.ExitStack() as stack:
        crowd = Crowd(setup, stack, kind, count)
        crowd.start_all()
        crowd.rest(0.5 if short else 2)
        if count >= ENOUGH:
            crowd.broadcast("slow", 100, 0.5 if short else 3)
        crowd.broadcast("fast", 1000, 0.5 if short else 2)
        crowd.storm("storm", min(count - 1, neighbours))
        crowd.storm("mesh", count - 1)
        return crowd.figures
