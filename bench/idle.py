"""What a bridge costs while its program is connected and nobody sends."""

import contextlib
import os
import re
import socket
import subprocess
import time

import peers
from peers import Missing, need, run, running, until

SETTLE = 1.5  # seconds until started programs have come to rest


def spent(pid):
    """CPU time of all threads of a process, in ns, and their context switches."""
    nanoseconds = switches = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
            nanoseconds += int(file.read().split()[0])
        with open(f"/proc/{pid}/task/{task}/status", encoding="ascii", errors="replace") as file:
            switches += sum(int(count) for count in re.findall(r"ctxt_switches:\s*(\d+)", file.read()))
    return nanoseconds, switches


def watch(process, seconds):
    time.sleep(SETTLE)
    try:
        begin = spent(process.pid)
        time.sleep(seconds)
        end = spent(process.pid)
    except FileNotFoundError as error:
        raise Missing("a thread that should be idle ended") from error
    if process.poll() is not None:
        raise Missing("a process that should be idle ended")
    return {"cpu_ms": (end[0] - begin[0]) / 1e6, "switches": end[1] - begin[1]}


@contextlib.contextmanager
def stream(setup):
    """Starts a bridge and a program that connects and then stays silent. Result: the bridge's process."""
    with peers.bridge_processes(setup, "stream:./q") as (place, processes), socket.socket(socket.AF_UNIX) as program:
        program.connect(place + "/q")
        yield processes[0]


@contextlib.contextmanager
def datagrams(setup):
    with peers.bridge_processes(setup, "dgram:./bus0,./vm0") as (place, processes), \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as program:
        program.bind(place + "/vm0")
        yield processes[0]


@contextlib.contextmanager
def plugin(setup):
    """Starts a program that loads the plugin into its own process."""
    need("vde_plug")
    with peers.bridge_processes(setup) as (place, _):
        environment = {**os.environ, "VDEPLUGIN_PATH": os.path.join(setup.build, "tools")}
        with running(["vde_plug", f"shmif://{place}/bus[idle]"], stdout=subprocess.PIPE, env=environment) as program:
            run([setup.shmifctl, "wait", place + "/bus", "--port", "idle", "--timeout", "10"])
            yield program


@contextlib.contextmanager
def vde(setup):
    with peers.vde_switch() as switch, peers.bridge_processes(setup, f"vde:vde://{switch}", ready="connected") as (_, processes):
        yield processes[0]


@contextlib.contextmanager
def machine(setup):
    need("dpdk-testpmd", "stdbuf")
    with peers.bridge_processes(setup, "vhost-user:./v") as (place, processes), contextlib.ExitStack() as stack:
        device = f"net_virtio_user0,path={place}/v,mac=02:00:00:00:00:01,{peers.QUEUE}"
        peers.Testpmd(stack, place, "idle", 0, "rxonly", 60, device).say("start")
        yield processes[0]


@contextlib.contextmanager
def gateway(setup):
    """Starts a gateway. The figures do not include the time of slirp4netns itself."""
    need("slirp4netns")
    with peers.folder() as place, open(os.path.join(place, "log"), "w", encoding="utf-8") as log:
        bus = os.path.join(place, "bus")
        run([setup.shmifctl, "create", bus])
        with running([setup.shmifctl, "gateway", bus], stdout=log, stderr=log) as process:
            def said():
                with open(log.name, encoding="utf-8") as file:
                    return file.read()
            until(lambda: "connected" in said() or process.poll() is not None, "the gateway's start")
            if process.poll() is not None:
                raise Missing("the gateway: " + (said().strip().splitlines() or ["no message"])[-1])
            yield process


KINDS = {"stream": stream, "dgram": datagrams, "plugin of VDE": plugin, "vde": vde, "vhost-user": machine, "gateway": gateway}


def cost(setup, kind, seconds):
    with KINDS[kind](setup) as process:
        return watch(process, seconds)
