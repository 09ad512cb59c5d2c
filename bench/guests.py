"""Pairs of virtual machines on emulated CPUs, joined by one wire or another, and iperf3 between them.

All pairs of a row are booted once. A pair that is not measured stands still: its CPUs are stopped.
"""

import contextlib
import glob
import json
import os
import shutil
import socket
import subprocess
import time

import peers
from peers import Missing, need, run, running, until

ADDRESSES = ("198.18.0.1", "198.18.0.2")
MEMORY = "192M"
BOOT_SECONDS = 120
ATTEMPTS = 3
LIFE_SECONDS = 3600  # a limit: they end earlier, with the row
WARM_UP = 1.0
HEADERS = 14 + 20 + 32  # Ethernet, IPv4, TCP with timestamps
# A shell on the machine's second serial line; each command ends with a line "done STATUS".
CONTROL = ("stty -F /dev/ttyS1 raw -echo; exec </dev/ttyS1 >/dev/ttyS1 2>&1; echo; echo up; "
           "while read -r line; do eval \"$line\"; status=$?; echo; echo \"done $status\"; done")


class Line:
    """A Unix socket with lines of text, like QEMU's control sockets and the second serial line."""

    def __init__(self, path, stack):
        until(lambda: os.path.exists(path), "a socket of QEMU", 60)
        self.socket = stack.enter_context(socket.socket(socket.AF_UNIX))
        self.socket.connect(path)
        self.left = b""

    def say(self, text):
        self.socket.sendall(text.encode() + b"\n")

    def read(self, seconds):
        """The next line."""
        self.socket.settimeout(seconds)
        while b"\n" not in self.left:
            try:
                more = self.socket.recv(65536)
            except TimeoutError as error:
                raise Missing(f"a virtual machine said nothing for {seconds} s") from error
            if not more:
                raise Missing("a virtual machine ended by itself")
            self.left += more
        line, self.left = self.left.split(b"\n", 1)
        return line.decode(errors="replace").rstrip("\r")


class Machine:
    """One machine, driven by its second serial line."""

    def __init__(self, setup, stack, place, name, number, network, environment):
        script = os.path.join(setup.root, "tests", "machines", "boot")
        paths = {what: os.path.join(place, f"{name}{number}.{what}") for what in ("qmp", "tty", "log")}
        self.log = paths["log"]
        log = stack.enter_context(open(self.log, "w", encoding="utf-8"))
        device = "virtio-net-pci,netdev=n,vectors=0,mac=52:54:00:00:00:0" + str(number + 1)
        self.process = stack.enter_context(running(
            [script, "--address", ADDRESSES[number] + "/24", "--seconds", str(LIFE_SECONDS), "--memory", MEMORY, "--files", place, CONTROL, "--",
             *network, "-device", device, "-qmp", f"unix:{paths['qmp']},server=on,wait=off",
             "-chardev", f"socket,id=tty,path={paths['tty']},server=on,wait=off", "-serial", "chardev:tty"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **environment}))
        self.tty, self.qmp = Line(paths["tty"], stack), Line(paths["qmp"], stack)
        self.qmp.read(10)  # reads its greeting
        self.order("qmp_capabilities")

    def order(self, command):
        """Gives QEMU itself an order."""
        self.qmp.say(json.dumps({"execute": command}))
        while "return" not in (answer := json.loads(self.qmp.read(30))):
            if "error" in answer:
                raise Missing(f"QEMU refused {command}: {answer['error'].get('desc')}")

    def until_up(self):
        while self.tty.read(BOOT_SECONDS) != "up":
            pass

    def check_clock(self):
        """Checks the guest's timers: its kernel may have measured the speed of its clock wrongly."""
        def uptime():
            return float(self.do("cat /proc/uptime", 20).split()[0])

        begin, guest_begin = time.monotonic(), uptime()
        time.sleep(1)
        guest_end, end = uptime(), time.monotonic()
        factor = (guest_end - guest_begin) / (end - begin)
        if not 0.9 < factor < 1.1:
            raise Missing(f"the clock of a virtual machine ran {factor:.2f} times as fast as the host's")

    def payload(self):
        """The bytes of TCP that have arrived so far, and the time."""
        statistics = "/sys/class/net/eth0/statistics"
        data, frames = map(int, self.do(f"cat {statistics}/rx_bytes {statistics}/rx_packets", 20).split())
        return data - frames * HEADERS, time.monotonic()

    def do(self, command, seconds):
        """Result: what the command printed."""
        self.tty.say(command)
        lines = []
        while not (line := self.tty.read(seconds)).startswith("done "):
            lines.append(line)
        if line != "done 0":
            raise Missing(f"{command.split()[0]} failed in a virtual machine: " + " ".join(lines).strip()[-200:])
        return "\n".join(lines)


def add_program(initrd, program):
    """Appends a program and its libraries to a machine's first files: an archive of its own, as the kernel permits."""
    where = shutil.which(program)
    libraries = [word for word in run(["ldd", where]).split() if word.startswith("/")]
    with peers.folder() as tree:
        for path in [where, *libraries]:
            target = os.path.join(tree, ("bin/" + program) if path == where else path.lstrip("/"))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy(path, target)
        pack = "set -o pipefail; find . | cpio --quiet -o -H newc --owner=0:0 | gzip -1 >>\"$0\""
        run(["bash", "-c", pack, os.path.abspath(initrd)], cwd=tree)


def make_files(setup, place):
    """The first files of all machines, with iperf3."""
    tests = os.path.join(setup.root, "tests")
    kernel = run([os.path.join(tests, "kernel", "fetch"), "amd64"], 300).strip()
    initrd = os.path.join(place, "initrd.qemu.gz")  # the name that tests/machines/boot uses
    run([os.path.join(tests, "kernel", "initrd"), kernel, os.path.join(tests, "machines", "init"), initrd, "virtio_pci", "virtio_net"])
    add_program(initrd, "iperf3")


class Pairs:
    """The pairs of a row. `with pairs:` boots them; afterwards they are gone."""

    def __init__(self, setup, wires):
        self.setup = setup
        self.wires = wires
        self.machines = {}
        self.reasons = {}  # for each missing pair, why it is missing
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        try:
            need("qemu-system-x86_64", "busybox", "cpio", "iperf3", "setpriv")
            self.place = self.stack.enter_context(peers.folder())
            make_files(self.setup, self.place)
            self.boot()
        except Missing as reason:
            self.reasons = {name: reason for name in self.wires}
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(self, *_):
        self.stack.close()

    def boot(self):
        """Boots one pair at a time: on a busy machine a guest's kernel measures the speed of its clock wrongly."""
        for index, (name, wire) in enumerate(self.wires.items()):
            for attempt in range(ATTEMPTS):
                try:
                    with contextlib.ExitStack() as stack:
                        self.machines[name] = self.pair(stack, wire, f"m{index}.{attempt}-")
                        self.stack.enter_context(stack.pop_all())
                    self.reasons.pop(name, None)
                    break
                except Missing as reason:
                    self.reasons[name] = reason

    def pair(self, stack, wire, name):
        networks, environment = wire(self.setup, stack)
        pair = [Machine(self.setup, stack, self.place, name, number, network, environment) for number, network in enumerate(networks)]
        for machine in pair:
            machine.until_up()
        for machine in pair:
            machine.check_clock()
        pair[0].do("iperf3 --server --daemon", 60)
        pair[1].do(f"i=0; until ping -c 1 -W 1 {ADDRESSES[0]} >/dev/null; do i=$((i+1)); [ $i -lt 60 ] || break; done; [ $i -lt 60 ]", 120)
        for machine in pair:
            machine.order("stop")
        return pair

    def tcp(self, name, seconds):
        """Bits per second that one TCP stream brought from one machine of a pair to the other, after a warm-up. The time
        is that of the host: a guest's clock is not exact."""
        if name in self.reasons:
            raise self.reasons[name]
        receiver, sender = pair = self.machines[name]
        for machine in pair:
            machine.order("cont")
        try:
            sender.do(f"iperf3 --client {ADDRESSES[0]} --time 600 >/tmp/iperf 2>&1 &", 20)
            until(lambda: receiver.payload()[0] > 0, "the first segment", 60)
            time.sleep(WARM_UP)
            begin = receiver.payload()
            time.sleep(seconds)
            end = receiver.payload()
            sender.do("kill $!; wait; true", 20)
            if end[0] <= begin[0]:  # it is less if shorter frames than these headers came
                raise Missing("nothing arrived: " + sender.do("tail -n 1 /tmp/iperf", 20))
        finally:
            for machine in pair:
                machine.order("stop")
        return 8 * (end[0] - begin[0]) / (end[1] - begin[1])


# Wires. Each function returns QEMU's options for the network "n" of each machine, and the environment that it needs.

def on_stream(place):
    return ["-netdev", f"stream,id=n,server=off,addr.type=unix,addr.path={place}"]


def through_vhost_user(setup, stack):
    place = stack.enter_context(peers.bridges(setup, "vhost-user:./v"))
    one = ["-object", f"memory-backend-memfd,id=m,size={MEMORY},share=on", "-machine", "memory-backend=m",
           "-chardev", f"socket,id=c,path={place}/v", "-netdev", "vhost-user,id=n,chardev=c"]
    return [one, one], {}


def through_stream(setup, stack):
    place = stack.enter_context(peers.bridges(setup, "stream:./q"))
    return [on_stream(place + "/q")] * 2, {}


def through_plugin(setup, stack):
    plugins = os.path.join(setup.build, "tools")
    if not glob.glob(os.path.join(plugins, "libvdeplug_shmif.so")):
        raise Missing("the plugin is not built (libvdeplug-dev)")
    place = stack.enter_context(peers.bridges(setup))
    return [["-netdev", f"vde,id=n,sock=shmif://{place}/bus"]] * 2, {"VDEPLUGIN_PATH": plugins}


def directly(_setup, stack):
    """Connects the stream of one QEMU directly to that of the other."""
    place = stack.enter_context(peers.folder())
    server = ["-netdev", f"stream,id=n,server=on,addr.type=unix,addr.path={place}/q"]
    return [server, on_stream(place + "/q")], {}


def through_vde(_setup, stack):
    return [["-netdev", f"vde,id=n,sock=vde://{stack.enter_context(peers.vde_switch())}"]] * 2, {}
