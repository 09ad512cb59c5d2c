"""Two hosts, 198.18.0.1 and 198.18.0.2, joined by one wire or another, and what is measured between them.

Hosts are network namespaces of a user namespace of one's own: nothing here needs root, and all of it goes with its processes.
"""

import contextlib
import json
import os
import re
import statistics

import peers
from peers import Missing, need, run, running, until

ADDRESSES = ("198.18.0.1", "198.18.0.2")
HOLD = ["sleep", "600"]


def in_host(pid, *command):
    return ["nsenter", "--preserve-credentials", "--user", "--net", "--target", str(pid), *command]


def is_holding(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="ascii", errors="replace") as file:
        return file.read().strip() == HOLD[0]
    return False


def descendants(pid):
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children", encoding="ascii") as file:
                    found += [int(child) for child in file.read().split()]
    return found


@contextlib.contextmanager
def empty_hosts():
    """Makes two namespaces that have only a loopback. Result: a process in each."""
    need("unshare", "nsenter", "ip")
    with running(["unshare", "--map-root-user", "--net", *HOLD]) as first:
        until(lambda: is_holding(first.pid) or first.poll() is not None, "the first host")
        if first.poll() is not None:
            raise Missing("user namespaces cannot be made here")
        with running(["nsenter", "--preserve-credentials", "--user", "--target", str(first.pid), "unshare", "--net", *HOLD]) as second:
            until(lambda: is_holding(second.pid), "the second host")
            yield first.pid, second.pid


@contextlib.contextmanager
def shmif(setup):
    with peers.folder() as place:
        bus = os.path.join(place, "bus")
        run([setup.shmifctl, "create", bus])
        with contextlib.ExitStack() as stack:
            pids = []
            for number, address in enumerate(ADDRESSES):
                host = stack.enter_context(running(
                    [setup.shmifctl, "exec", bus, "--name", f"h{number}", "--ip", f"{address}/24", "--", *HOLD]))
                until(lambda: any(is_holding(pid) for pid in descendants(host.pid)), "a host")  # pylint: disable=cell-var-from-loop
                pids.append(next(pid for pid in descendants(host.pid) if is_holding(pid)))
            yield pids


@contextlib.contextmanager
def veth(_setup, offloads=True):
    with empty_hosts() as pids:
        run(in_host(pids[0], "ip", "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", str(pids[1])))
        for pid, address in zip(pids, ADDRESSES):
            if not offloads:
                need("ethtool")
                off = [word for what in ("tx", "rx", "sg", "tso", "gso", "gro") for word in (what, "off")]
                run(in_host(pid, "ethtool", "-K", "wire", *off))
            run(in_host(pid, "ip", "addr", "add", f"{address}/24", "dev", "wire"))
            run(in_host(pid, "ip", "link", "set", "wire", "up"))
        yield pids


@contextlib.contextmanager
def copying(setup, offloads=True):
    with empty_hosts() as pids:
        command = [setup.program("peer_copy"), "--a", str(pids[0]), "--b", str(pids[1]), "--offload", str(int(offloads))]
        with peers.folder() as place, open(os.path.join(place, "log"), "w+", encoding="utf-8") as log:
            with running(command, stdout=log, stderr=log) as copier:
                def said():
                    with open(log.name, encoding="utf-8") as file:
                        return file.read()
                until(lambda: "ready" in said() or copier.poll() is not None, "the copying process")
                if copier.poll() is not None:
                    raise Missing("the copying process: " + (said().strip().splitlines() or ["no message"])[-1])
                yield pids


@contextlib.contextmanager
def vde(_setup):
    need("vde_plug2tap")
    with empty_hosts() as pids, peers.vde_switch() as switch, contextlib.ExitStack() as stack:
        for pid, address in zip(pids, ADDRESSES):
            stack.enter_context(running(in_host(pid, "vde_plug2tap", "--sock", switch, "tap0")))
            until(lambda: peers.succeeds(in_host(pid, "ip", "link", "show", "tap0")), "VDE's TAP device")  # pylint: disable=cell-var-from-loop
            run(in_host(pid, "ip", "addr", "add", f"{address}/24", "dev", "tap0"))
            run(in_host(pid, "ip", "link", "set", "tap0", "up"))
        yield pids


def reach(pids):
    """Waits until the first answers the second, so that neither ARP nor the other's start is measured."""
    need("ping")
    ping = in_host(pids[1], "ping", "-c", "1", "-W", "1", ADDRESSES[0])
    until(lambda: peers.succeeds(ping), "an answer to ping", 20)


@contextlib.contextmanager
def iperf_server(pids):
    need("iperf3")
    reach(pids)
    with running(in_host(pids[0], "iperf3", "--server")):
        listening = in_host(pids[0], "sh", "-c", "ss -Hltn 'sport = 5201' | grep -q .")
        until(lambda: peers.succeeds(listening), "the iperf3 server")
        yield


def iperf(pids, seconds, *options):
    text = run(in_host(pids[1], "iperf3", "--client", ADDRESSES[0], "--time", str(seconds), "--json", *options), seconds + 30)
    return json.loads(text)["end"]


def tcp(pids, seconds):
    """Bits per second to the server and from it, each over one connection and over four."""
    with iperf_server(pids):
        return {f"{name}{streams}": iperf(pids, seconds, "--parallel", str(streams), *way)["sum_received"]["bits_per_second"]
                for streams in (1, 4) for name, way in (("to", []), ("from", ["--reverse"]))}


UDP_HEADERS = 4 + 14 + 20 + 8  # FCS, Ethernet, IPv4, UDP


def udp(pids, seconds):
    """Datagrams per second that arrive if they are sent as fast as possible, for two frame sizes."""
    with iperf_server(pids):
        found = {}
        for size in (64, 1400):
            end = iperf(pids, seconds, "--udp", "--bandwidth", "0", "--length", str(size - UDP_HEADERS))["sum"]
            found[f"udp{size}"] = (end["packets"] - end["lost_packets"]) / end["seconds"]
        return found


def ping(pids, count):
    """The round trip in microseconds. Each request is sent when the last was answered."""
    reach(pids)
    text = run(in_host(pids[1], "ping", "-A", "-n", "-c", str(count), ADDRESSES[0]))
    times = sorted(float(time) * 1000 for time in re.findall(r"time=([0-9.]+) ms", text))
    if len(times) < count * 0.9:
        raise Missing(f"{count - len(times)} of {count} pings had no answer")
    return {"p50": statistics.median(times), "p99": times[int(len(times) * 0.99)]}
