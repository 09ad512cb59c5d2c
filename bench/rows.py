"""The rows of the table: what is done, by whom, and what shall come of it.

A subject does the work once and answers with figures. In each round all subjects of a row take their turns, and a ratio
is made of figures of the same round. A goal compares shmif with one peer, or with the best of several.
"""

import contextlib
import dataclasses
import typing

import crowd
import guests
import hosts
import idle
import peers
from peers import Missing

OURS = "shmif"


@dataclasses.dataclass
class Figure:
    key: str
    title: str
    unit: str
    scale: float = 1.0  # factor from the measured value to the unit
    more_is_better: bool = True
    pictured: bool = True  # in a row with curves: has a picture


@dataclasses.dataclass
class Goal:
    """`numerator` must reach at least (or at most) `limit` times the `figure` of the best of `peers`."""
    figure: str
    peers: typing.Sequence[str]
    limit: float | None = None  # None: only compares, without a goal
    at_most: bool = False
    numerator: str = OURS
    text: str = ""


@dataclasses.dataclass
class Row:
    name: str
    work: str
    subjects: dict[str, typing.Callable[[], dict[str, float]]]
    figures: list[Figure]
    goals: list[Goal]
    headline: bool = False
    quick: bool = False
    on_two_cpus: bool = False  # has a process on each of the CPUs 0 and 1, so their distance matters
    rounds: int = 0  # 0: the usual number
    around: typing.Callable[[], typing.ContextManager] = contextlib.nullcontext  # stays open from round to round
    curve: str = ""  # what grows from subject to subject; their names are then numbers, and the row has no goals
    peer: str = ""  # the peer of the second curve; its subjects are called "NUMBER, PEER"


def mega(key, title, unit="M frames/s"):
    return Figure(key, title, unit, 1e-6)


def micro(key, title):
    return Figure(key, title, "us", more_is_better=False)


def heard(result):
    return {"heard": result["heard_per_s"]}


def memif_rows(setup):
    for on_the_wire, limit in ((64, 2.5), (1514, 1.8)):
        frame = on_the_wire - 4

        def ours(in_place, frame=frame, **more):
            return lambda: heard(peers.throughput(setup, "shmif", bytes=frame, in_place=in_place, **more))

        def memif(zero_copy, sender, frame=frame, more=""):
            return lambda: {"heard": peers.memif(setup, frame, zero_copy, sender, more=more)}

        in_place = "shmif, in place"
        subjects = {OURS: ours(0), in_place: ours(1), "memif": memif(False, "client"), "memif, zero-copy client sends": memif(True, "client"),
                    "memif, zero-copy client receives": memif(True, "server"),
                    # The default is 1024. In two rounds with 1024 to 8192 entries, the best for 64 B was 4096 or 8192,
                    # and for 1514 B 4096 or 2048, without zero-copy.
                    "memif, rings of 2048": memif(False, "client", more=",rsize=11"),
                    "memif, rings of 4096": memif(False, "client", more=",rsize=12")}
        names = list(subjects)[2:]
        small = "shmif, in place, ring of 1 MiB"  # fits a CPU's own cache, as memif's 2 MiB mostly do
        if on_the_wire == 1514:
            subjects[small] = ours(1, ring=1 << 20)
        bare = {False: "bare copy", True: "bare copy, in place"}  # a yardstick for wires that copy frames
        for is_in_place, name in bare.items():
            subjects[name] = lambda frame=frame, is_in_place=is_in_place: heard(
                peers.throughput(setup, "copy", bytes=frame, in_place=int(is_in_place)))
        # A testpmd that only receives does not look at frames, and in place, shmif's listener does not either. With
        # zero-copy off, both copy each frame into their own memory.
        yield Row(f"memif-{on_the_wire}", f"{on_the_wire} B frames, one sender, one receiver, two processes", subjects,
                  [mega("heard", "received")],
                  [Goal("heard", ["memif"], limit), *(Goal("heard", [name]) for name in names[1:]),
                   *(Goal("heard", [name], numerator=in_place) for name in names),
                   Goal("heard", names, limit, numerator=in_place, text="the best memif"),
                   *(Goal("heard", names, limit, numerator=small, text="the best memif") for _ in range(small in subjects)),
                   Goal("heard", [bare[False]]), Goal("heard", [bare[True]], numerator=in_place)],
                  headline=True, quick=on_the_wire == 64, on_two_cpus=True)


def load_rows(setup):
    def bus(**more):
        def once():
            result = peers.throughput(setup, "shmif", **more)
            return {"sent": result["sent_per_s"], "heard": result["heard_per_s"]}
        return once

    def load(*options):
        return lambda: peers.load(setup, *options)

    # The bus carries the same frames, which nobody makes or checks.
    bare = "the bus alone"
    figures = [mega("heard", "received and verified"), mega("sent", "sent")]
    for name, work, medium, options, limit in (
            ("64", "64 B frames", {"bytes": 64}, ["--bs=64"], 0.5), ("1514", "1514 B frames", {"bytes": 1514}, ["--bs=1514"], 0.9),
            ("imix", "frames of 60, 590 and 1514 B, 7:4:1", {"imix": 1}, ["--bs=imix"], 0.8)):
        subjects = {OURS: load(*options), bare: bus(**medium)}
        goals = [Goal("heard", [bare], limit), Goal("sent", [bare])]
        more = [(["--verify=0"], "without a CRC", None)]
        if name == "64":
            more += [(["--disable_lat"], "without latency", 0.7), (["--numjobs=2"], "two flows", 0.8)]
        else:
            read = "the bus alone, all lines read"  # as a receiver has to that checks each byte
            subjects[read] = bus(**medium, in_place=1, look=1)
            goals.append(Goal("heard", [read], limit))
        for added, title, share_of_bus in more:
            subjects[f"shmif, {title}"] = load(*options, *added)
            goals.append(Goal("heard", [bare], share_of_bus, numerator=f"shmif, {title}"))
        yield Row(f"load-{name}", f"shmifperf run, {work}, sequence, CRC and latency of each frame checked", subjects, figures, goals,
                  quick=name == "64", on_two_cpus=True)


def round_trip_rows(setup):
    def kind(name, turns, one_cpu=0, means="", pause_us=0):
        turns = turns // 5 if setup.quick else turns
        extra = {"means": means} if means else {}
        if pause_us:
            extra["pause_us"] = pause_us
        return lambda: peers.trial(setup, "round_trip", kind=name, turns=turns, one_cpu=one_cpu, **extra)

    time = [micro("us", "round trip")]
    yield Row("spin", "round trip of a 64 B frame, both spinning, a CPU each",
              {OURS: kind("port_spin", 200_000), "cache line": kind("line", 1_000_000), "bare ring": kind("ring", 200_000)}, time,
              [Goal("us", ["cache line"], 1.5, at_most=True), Goal("us", ["bare ring"]), Goal("us", ["cache line"], numerator="bare ring")],
              headline=True, quick=True, on_two_cpus=True)
    yield Row("wait-asleep", "both ways of a frame, each 0.2 ms after the other went to sleep in wait(), a CPU each",
              {OURS: kind("port_wait", 2_000, pause_us=200), "futex": kind("futex", 2_000, pause_us=200)}, time,
              [Goal("us", ["futex"], 1.2, at_most=True)], quick=True)
    for name, where, one_cpu in (("", "a CPU each", 0), ("-one-cpu", "both on one CPU", 1)):
        yield Row("wait" + name, f"round trip, both in wait(), {where}",
                  {OURS: kind("port_wait", 20_000, one_cpu), "futex": kind("futex", 20_000, one_cpu)}, time,
                  [Goal("us", ["futex"], 1.2, at_most=True)], quick=True, on_two_cpus=one_cpu == 0)
        yield Row("epoll" + name, f"round trip, both asleep in epoll, {where}",
                  {OURS: kind("port_epoll", 20_000, one_cpu), "eventfd": kind("eventfd", 20_000, one_cpu),
                   "inotify": kind("inotify", 20_000, one_cpu),
                   "shmif without io_uring": kind("port_epoll", 20_000, one_cpu, "inotify"),
                   "shmif, helper thread": kind("port_epoll", 20_000, one_cpu, "thread")}, time,
                  [Goal("us", ["eventfd"], 1.2, at_most=True), Goal("us", ["inotify"]),
                   Goal("us", ["eventfd"], numerator="shmif without io_uring"),
                   Goal("us", ["eventfd"], numerator="shmif, helper thread")], headline=True, quick=True, on_two_cpus=one_cpu == 0)


def socket_rows(setup):
    for on_the_wire in (64, 1514):
        frame = on_the_wire - 4
        subjects = {
            OURS: lambda frame=frame: heard(peers.throughput(setup, "shmif", bytes=frame)),
            "AF_UNIX": lambda frame=frame: heard(peers.throughput(setup, "unix", bytes=frame)),
            "AF_PACKET on veth": lambda frame=frame: heard(peers.packet_throughput(setup, "packet", bytes=frame)),
            "AF_PACKET ring on veth": lambda frame=frame: heard(peers.packet_throughput(setup, "packet_ring", bytes=frame)),
            "VDE hub": lambda frame=frame: heard(peers.vde_throughput(setup, bytes=frame)),
        }
        names = list(subjects)[1:]
        yield Row(f"sockets-{on_the_wire}", f"{on_the_wire} B frames, one sender, one receiver", subjects,
                  [mega("heard", "received")],
                  [*(Goal("heard", [name]) for name in names),
                   Goal("heard", names, 20 if on_the_wire == 64 else None, text="the best of them")], quick=on_the_wire == 64,
                  on_two_cpus=True)


def bridge_rows(setup):
    """What the programs at a bridge's sockets get, beside what they get if they are connected with each other."""
    for wire, through in (("stream", peers.stream_throughput), ("dgram", peers.datagram_throughput)):
        subjects = {
            OURS: lambda through=through: heard(through(setup, bytes=1510)),
            "bare socket": lambda wire=wire: heard(peers.throughput(setup, wire, bytes=1510)),
            "VDE hub": lambda: heard(peers.vde_throughput(setup, bytes=1510)),
        }
        goals = [Goal("heard", ["bare socket"], 0.8), Goal("heard", ["VDE hub"], 4)]
        if wire == "dgram":
            subjects["sockets with names"] = lambda: heard(peers.named_datagram_throughput(setup, bytes=1510))
            goals.insert(1, Goal("heard", ["sockets with names"], 0.8))
        yield Row(f"bridge-{wire}", f"1514 B frames from one program to another by bridge {wire}", subjects, [mega("heard", "received")], goals)


def vhost_user_rows(setup):
    """Two programs of DPDK, each like a virtual machine, compared with the same without a bus."""
    directly = {"virtio_user": "directly, the machine sends", "vhost": "directly, the machine receives"}
    for on_the_wire in (64, 1514):
        frame = on_the_wire - 4
        in_two = "shmif, two bridges"
        between = "a testpmd between"
        subjects = {
            OURS: lambda frame=frame: {"heard": peers.vhost_user(setup, frame)},
            in_two: lambda frame=frame: {"heard": peers.vhost_user(setup, frame, bridges_of_their_own=True)},
            "memif": lambda frame=frame: {"heard": peers.memif(setup, frame, seconds=2 * setup.seconds)},
            "memif, rings of 2048": lambda frame=frame: {"heard": peers.memif(setup, frame, seconds=2 * setup.seconds, more=",rsize=11")},
            **{name: lambda frame=frame, sender=sender: {"heard": peers.vhost_user_directly(setup, frame, sender)}
               for sender, name in directly.items()},
            between: lambda frame=frame: {"heard": peers.vhost_user_forwarded(setup, frame)},
        }
        memif = ["memif", "memif, rings of 2048"]
        yield Row(f"vhost-user-{on_the_wire}", f"{on_the_wire} B frames from one testpmd to another by bridge vhost-user", subjects,
                  [mega("heard", "received")],
                  [*(Goal("heard", [name], 0.5) for name in directly.values()), Goal("heard", [between]), Goal("heard", [in_two]),
                   *(Goal("heard", [name], 1 if on_the_wire == 1514 else None) for name in memif),
                   *(Goal("heard", [name], numerator=in_two) for name in [*directly.values(), *memif])], headline=True)


def guest_rows(setup):
    """Virtual machines take seconds to boot, so they stay from round to round."""
    wires = {OURS: guests.through_vhost_user, "shmif, stream": guests.through_stream, "shmif, plugin of VDE": guests.through_plugin,
             "QEMU's stream": guests.directly, "VDE": guests.through_vde}
    pairs = guests.Pairs(setup, wires)
    subjects = {name: lambda name=name: {"tcp": pairs.tcp(name, 3 if setup.quick else 10)} for name in wires}
    rivals = ["QEMU's stream", "VDE"]
    yield Row("guests", "TCP from one emulated virtual machine to another, iperf3; shmif: bridge vhost-user:", subjects,
              [Figure("tcp", "1 stream", "Mbit/s", 1e-6)],
              [Goal("tcp", [peer], 1, numerator=name) for name in wires if name not in rivals for peer in rivals], around=lambda: pairs)


def idle_rows(setup):
    seconds = 2 if setup.quick else 10
    subjects = {kind: lambda kind=kind: idle.cost(setup, kind, seconds) for kind in idle.KINDS}
    yield Row("idle", f"a bridge whose program is connected and silent, for {seconds} s", subjects,
              [Figure("cpu_ms", "CPU time", "ms", more_is_better=False), Figure("switches", "context switches", "", more_is_better=False)],
              [Goal(figure, [], limit, at_most=True, numerator=kind, text=unit)
               for kind in subjects for figure, limit, unit in (("cpu_ms", seconds, "ms"), ("switches", 2 * seconds, ""))], rounds=1)


def per_cpu(result):
    cpus = max(result["cpus"], 0.01)
    return {"per_cpu": result["heard_per_s"] / cpus, "sent_per_cpu": result["sent_per_s"] / cpus, "heard": result["heard_per_s"]}


def crowd_rows(setup):
    figures = [mega("per_cpu", "delivered for a second of CPU"), mega("sent_per_cpu", "sent for a second of CPU")]
    for what in ("listeners", "senders"):
        for count in (1, 2, 4, 8):
            others = {"listeners": 1, "senders": 1, what: count}

            def flat_out(wire, others=others):
                return lambda: per_cpu(peers.throughput(setup, wire, sleep=1, pin=0, **others))

            def alone():
                return per_cpu(peers.throughput(setup, OURS, sleep=1, pin=0))

            subjects = {OURS: flat_out("shmif"), "locking readers": flat_out("locking"), "shmif, 1 and 1": alone}
            if count == 1:
                del subjects["shmif, 1 and 1"]
            yield Row(f"{what}-{count}", f"64 B, {others['senders']} to {others['listeners']}, all flat out", subjects, figures,
                      [Goal(figure, [name], 1.0 if figure == "per_cpu" and name.startswith("shmif") else None)
                       for figure in (["per_cpu"] if what == "listeners" else ["per_cpu", "sent_per_cpu"])
                       for name in subjects if name != OURS],
                      quick=what == "listeners" and count == 4)
        yield paced_row(setup, what)


def paced_row(setup, what):
    """Four listeners, or senders, at half the rate that four listeners reached when frames came as fast as possible."""
    others = {"listeners": 4, "senders": 1 if what == "listeners" else 4}

    def ours():
        fast = peers.throughput(setup, OURS, sleep=1, pin=0, **others)
        rate = fast["heard_per_s"] / 4 / others["senders"] / 2
        result = peers.throughput(setup, OURS, sleep=1, pin=0, rate=rate, **others)
        return {"lost": 100 * result["lost_share"], "heard": result["heard_per_s"]}

    return Row(f"{what}-paced", f"64 B, {others['senders']} to 4, at half the rate that four listeners can read", {OURS: ours},
               [Figure("lost", "lost", "%", more_is_better=False), mega("heard", "delivered")],
               [Goal("lost", [], 1.0, at_most=True, text="%")])


def capture_rows(setup):
    heard_by_tcpdump = {}

    def tcpdump():
        sent, share = peers.veth_capture(setup)
        heard_by_tcpdump["rate"] = sent * share
        return {"captured": sent * share, "lost": 100 * (1 - share)}

    def dump():
        alone = peers.throughput(setup, OURS, listeners=0)["sent_per_s"]
        listener = peers.throughput(setup, OURS)["sent_per_s"]
        with_dump, share = peers.bus_capture(setup)
        return {"captured": with_dump * share, "slowed": 100 * (1 - with_dump / alone), "lost": 100 * (1 - share),
                "slowed_more": 100 * (1 - with_dump / listener)}

    def dump_at_five_times():
        if "rate" not in heard_by_tcpdump:
            raise Missing("tcpdump, whose rate this needs, was not measured")
        sent, share = peers.bus_capture(setup, rate=5 * heard_by_tcpdump["rate"])
        return {"captured": sent * share, "lost": 100 * (1 - share)}

    paced = "dump -w at 5 x tcpdump's rate"
    yield Row("capture", "a capture to /dev/null beside a sender of 64 B frames, flat out",
              {"tcpdump on veth": tcpdump, OURS: dump, paced: dump_at_five_times},
              [mega("captured", "captured"), Figure("slowed", "sender slower than with nobody", "%", more_is_better=False),
               Figure("slowed_more", "sender slower than with a listener that polls", "%", more_is_better=False),
               Figure("lost", "lost", "%", more_is_better=False)],
              [Goal("captured", ["tcpdump on veth"], 5), Goal("captured", ["tcpdump on veth"], numerator=paced),
               Goal("lost", [], 0.0, at_most=True, numerator=paced, text="%"), Goal("lost", []),
               Goal("slowed", [], 20, at_most=True, text="%"), Goal("slowed_more", [])])


def port_rows(setup):
    def ports(count):
        return lambda: peers.trial(setup, "many_ports", ports=count, frames=50 if setup.quick else 500)

    yield Row("ports", "100 ports attached, all asleep, frames to one of them", {OURS: ports(100), "shmif, 1 port": ports(1)},
              [Figure("send_us", "time of a send", "us", more_is_better=False),
               Figure("wakes", "wakeups of that port for a frame", "", more_is_better=False),
               Figure("wakes_of_others", "wakeups of the others for a frame", "", more_is_better=False),
               Figure("attach_ms", "attach, ring of 4 MiB", "ms", more_is_better=False),
               Figure("private_kib", "most private memory of a process", "MiB", 1 / 1024, more_is_better=False)],
              [Goal("send_us", ["shmif, 1 port"], 1.1, at_most=True), Goal("wakes", [], 1.05, at_most=True),
               Goal("wakes_of_others", [], 0.01, at_most=True), Goal("attach_ms", [], 2, at_most=True, text="ms"),
               Goal("private_kib", [], 3, at_most=True, text="MiB")], quick=True)


def pause_rows(setup):
    for count in (1, 4):
        def flow(pause, count=count):
            def once():
                pin = 1 if count == 1 else 0
                result = peers.throughput(setup, OURS, sleep=1, pin=pin, pause=pause, listeners=count)
                return {"heard": result["heard_per_s"], "lost": 100 * result["lost_share"]}
            return once

        yield Row(f"pause-{count}", f"64 B, 1 to {count}, on a bus that pauses", {OURS: flow(1), "shmif, lossy": flow(0)},
                  [mega("heard", "delivered"), Figure("lost", "lost", "%", more_is_better=False)],
                  [Goal("heard", ["shmif, lossy"], 0.7), Goal("lost", [], 0.0, at_most=True, text="%")], quick=count == 4,
                  on_two_cpus=count == 1)


def host_rows(setup):
    def between(wire, work, amount, **options):
        def once():
            with wire(setup, **options) as pids:
                return work(pids, amount)
        return once

    def everyone(work, amount):
        return {OURS: between(hosts.shmif, work, amount), "veth": between(hosts.veth, work, amount),
                "copying process": between(hosts.copying, work, amount), "VDE": between(hosts.vde, work, amount),
                "veth without offloads": between(hosts.veth, work, amount, offloads=False)}

    seconds = 1 if setup.quick else 2
    ways = [Figure(f"{way}{streams}", f"{streams} {'stream' if streams == 1 else 'streams'} {way} the server", "Gbit/s", 1e-9)
            for streams in (1, 4) for way in ("to", "from")]
    limits = {"veth": 0.8, "copying process": 1.0, "VDE": 15, "veth without offloads": None}
    yield Row("tcp", "TCP between two exec hosts, iperf3", everyone(hosts.tcp, seconds), ways,
              [Goal(way.key, [peer], limit) for way in ways for peer, limit in limits.items()], headline=True)
    sizes = [mega(f"udp{size}", f"received, frames of {size} B", "M datagrams/s") for size in (64, 1400)]
    subjects = everyone(hosts.udp, seconds)
    yield Row("udp", "UDP between two exec hosts, iperf3 as fast as it can", subjects, sizes,
              [Goal(size.key, [peer], 0.6 if peer == "veth" else None) for size in sizes for peer in list(subjects)[1:]])
    subjects = everyone(hosts.ping, 500 if setup.quick else 3000)
    times = [Figure("p50", "median round trip", "us", more_is_better=False), Figure("p99", "99th percentile", "us", more_is_better=False)]
    yield Row("ping", "ping between two exec hosts, each when the last was answered", subjects, times,
              [Goal(figure.key, [peer], 1.1 if (figure.key, peer) == ("p50", "copying process") else None, at_most=True)
               for figure in times for peer in list(subjects)[1:]], headline=True, quick=True)


def curve_rows(setup):
    """How shmif's own throughput grows: one sender, one listener, a CPU each."""
    def curve(name, grows, option, values, **rest):
        def at(value):
            return lambda: heard(peers.throughput(setup, OURS, **{option: value}, **rest))
        return Row("growth-" + name, f"one sender, one receiver, growing with {grows}",
                   {label: at(value) for label, value in values.items()}, [mega("heard", "received")], [], curve=grows, on_two_cpus=True)

    yield curve("batch", "frames in a batch, 64 B each", "batch", {str(n): n for n in (1, 2, 4, 8, 16, 32, 64, 128, 256)})
    yield curve("frame", "bytes of a frame", "bytes", {str(n): n - 4 for n in (64, 128, 256, 512, 1024, 1514, 4096, 9018, 16384)})
    rings = {str(n): n * 1024 for n in (64, 256, 1024, 4096, 16384, 65536)}
    yield curve("ring-64", "KiB of ring, frames of 64 B", "ring", rings)
    yield Row("growth-ports", "a frame to one of many sleeping ports, growing with their number",
              {str(n): lambda n=n: peers.trial(setup, "many_ports", ports=n, frames=200) for n in (1, 10, 30, 100, 200)},
              [Figure("send_us", "time of a send", "us", more_is_better=False)], [], curve="ports")
    yield curve("ring-1514", "KiB of ring, frames of 1514 B", "ring", rings, bytes=1510)


def crowd_growth_rows(setup):
    """How the cost of hosts grows with their number."""
    peer = "kernel bridge"

    def crowd_of(kind, count):
        return lambda: crowd.measure(setup, kind, count, neighbours=20)

    subjects = {f"{count}{beside}": crowd_of(kind, count) for count in ((10,) if setup.quick else (2, 10, 50, 100, 200))
                for beside, kind in (("", crowd.Bus), (", " + peer, crowd.Bridge))}

    def less(key, title, unit, scale=1.0, pictured=False):
        return Figure(key, title, unit, scale, more_is_better=False, pictured=pictured)

    def share(key, title):
        return Figure(key, title, "%", 100, pictured=False)

    yield Row("growth-hosts", "many hosts on one wire, growing with their number", subjects,
              [less("start", "from the start of all until the last answers", "s", pictured=True),
               less("memory", "memory of a host, processes and bus", "MiB", 1 / 1024), less("kernel", "memory of a host, the kernel's", "MiB", 1 / 1024),
               less("slow", "CPU time for a broadcast, of 100/s", "ms", 1e3, pictured=True),
               less("fast", "CPU time for a broadcast, of 1000/s", "ms", 1e3, pictured=True), share("fast_heard", "broadcasts received, of 1000/s"),
               less("storm", "each asks 20 others, until all have answered", "s"), less("storm_cpu", "CPU time of that", "s"),
               less("mesh", "each asks all others, until the last answer", "s", pictured=True), less("mesh_cpu", "CPU time of that", "s"),
               share("mesh_answered", "questions answered in that")], [], quick=True, curve="hosts", peer=peer)


def stage_rows(setup):
    """Where the nanoseconds go, all on one CPU: no line moves from one CPU's cache to another's."""
    stages = {"clock": "clock_ns", "lock": "lock_ns", "append": "append_ns", "bell": "bell_ns", "all of send()": "send_ns",
              "read": "read_ns", "all of receive()": "receive_ns"}

    def stage(key, frame, batch):
        return lambda: {"ns": peers.trial(setup, "stages", bytes=frame, batch=batch, rounds=500)[key]}

    for on_the_wire, batch in ((64, 1), (64, 32), (1514, 32)):
        yield Row(f"stages-{on_the_wire}-{batch}", f"a frame of {on_the_wire} B by stages, {batch} to a batch, both ends on one CPU",
                  {name: stage(key, on_the_wire - 4, batch) for name, key in stages.items()},
                  [Figure("ns", "time for a frame", "ns", more_is_better=False)], [], quick=on_the_wire == 64 and batch == 32)

    def seam(batch):
        def once():
            result = peers.trial(setup, "stages", bytes=60, batch=batch, rounds=2000)
            return {way: result[f"seam_{way}_ns"] / result[f"direct_{way}_ns"] for way in ("send", "receive", "look")}
        return once

    # Both ways to call take turns within one process.
    titles = {"send": "send()", "receive": "receive()", "look": "receive() that finds nothing"}
    for batch in (1, 32):
        yield Row(f"seam-{batch}", f"a frame of 64 B by the functions of all formats of bus files, beside a direct call, {batch} to a batch",
                  {OURS: seam(batch)},
                  [Figure(key, f"{title}, times a direct call", "", more_is_better=False) for key, title in titles.items()],
                  [Goal(key, [], 1.05, at_most=True, text="x") for key in titles], quick=batch == 1)


def all_rows(setup):
    """All rows, the most important first."""
    makers = (memif_rows, load_rows, round_trip_rows, host_rows, socket_rows, bridge_rows, vhost_user_rows,
              guest_rows, idle_rows, crowd_rows, capture_rows, port_rows, pause_rows, stage_rows, curve_rows,
              crowd_growth_rows)
    return [row for maker in makers for row in maker(setup)]
