// The rows about media, and about where the job runs.

#include <set>
#include <string>

#include "perf/engine/engine.hpp"
#include "perf/option/option_kinds.hpp"

namespace shmif::perf {

using J = JobOptions;

namespace {

using enum OnServer;

const std::vector<Word<EngineKind>>& engine_words() {
  static const std::vector<Word<EngineKind>> words = [] {
    std::vector<Word<EngineKind>> all;
    for (const Engine* const engine : engines()) all.push_back({engine->name, engine->kind});
    return all;
  }();
  return words;
}

/// One engine or several; if several, `engines` has them all.
Kind<J> engine_list() {
  const std::span<const Word<EngineKind>> words = engine_words();
  Kind<J> kind{.placeholder = "ENGINE[,...]", .range = listed(words)};
  kind.set = [words](std::string_view value, J& job) -> Result<void> {
    auto read = read_words(words, value);
    if (!read) return read.error();
    for (auto it = read->begin(); it != read->end(); ++it) {
      if (std::find(read->begin(), it, *it) == it) continue;
      return refused(value, std::string("has ") + engine_of(*it).name + " twice");
    }
    job.engine = read->front();
    job.engines = read->size() > 1 ? *std::move(read) : std::vector<EngineKind>();
    return {};
  };
  kind.copy = copier(&J::engine);  // a list of engines makes jobs before these get peers
  kind.show = [](const J&) { return std::string("bus"); };
  return kind;
}

Kind<J> faults(FaultOptions J::* member) {
  return parsed(
      member, parse_faults, +[](const FaultOptions& f) { return to_string(f); }, "FAULTS",
      "loss, duplicate, reorder, corrupt, truncate, burst, drop, match, delay, order, rate, "
      "queue, seed, separated by commas");
}

Kind<J> cpus(std::vector<int> J::* member) {
  return parsed(
      member, parse_cpus,
      +[](const std::vector<int>& list) { return list.empty() ? "all" : to_string_of_cpus(list); },
      "CPUS", "numbers and ranges up to 1023, separated by commas");
}

/// A code point by its number, or by its name in RFC 2474, 2597, 3246 or 5865.
Result<std::uint32_t> parse_dscp(std::string_view text) {
  static constexpr std::pair<std::string_view, std::uint32_t> kCodePoints[] = {
      {"cs0", 0},   {"cs1", 8},   {"cs2", 16},  {"cs3", 24},  {"cs4", 32},  {"cs5", 40},
      {"cs6", 48},  {"cs7", 56},  {"af11", 10}, {"af12", 12}, {"af13", 14}, {"af21", 18},
      {"af22", 20}, {"af23", 22}, {"af31", 26}, {"af32", 28}, {"af33", 30}, {"af41", 34},
      {"af42", 36}, {"af43", 38}, {"ef", 46},   {"va", 44},   {"le", 1}};
  for (const auto& [name, value] : kCodePoints) {
    if (text == name) return value;
  }
  const auto number = base::read_digits(text);
  if (number && *number < 64) return static_cast<std::uint32_t>(*number);
  return refused(text, "is not a code point (0 to 63, or a name such as ef, af11, cs1)");
}

Kind<J> dscp() {
  return kind_of(&J::dscp, "CODE", "0 to 63, or ef, af11 to af43, cs0 to cs7, va, le", parse_dscp,
                 [](const auto&) { return "none"; });
}

bool is_tcp(const J& job) {
  return job.engine == EngineKind::host && job.proto == HostProtocol::tcp;
}

/// Whether frames pass in both directions whatever the role: acknowledgements, or what a program
/// does.
bool is_two_way(const J& job) {
  return is_tcp(job) || (job.engine == EngineKind::host && !job.exec.empty());
}

constexpr auto kOnBus = on<EngineKind::bus, EngineKind::host>;
constexpr auto kOnDevices = on<EngineKind::tap, EngineKind::packet>;

/// The engines whose wires have so many ends (0: any number): "bus, tap and packet".
std::string engines_with(std::size_t max_ends) {
  std::string names, last;
  for (const Engine* const engine : engines()) {
    if (engine->capabilities.max_ends != max_ends) continue;
    if (!last.empty()) names += (names.empty() ? "" : ", ") + last;
    last = engine->name;
  }
  return names + (names.empty() ? "" : " and ") + last;
}

/// Whether jobs share a wire, or use one that other programs use, too.
bool on_shared_wire(const J& job) {
  return engine_of(job.engine).capabilities.max_ends == 0;
}
std::string shared_wire() {
  return "is for engine=" + engines_with(0);
}

/// Whether the run makes the bus that the job is on.
bool makes_bus(const J& job) {
  return kOnBus(job) && job.bus.empty();
}
constexpr const char* kMadeBus =
    "is for a bus that the run makes (engine=bus or host, without the option bus)";

/// Settings for a socket of an emulated host. iperf3 has the same settings, as the texts say.
void add_socket_rows(Rows& rows) {
  rows.add("mss", allowed, packet_bytes(&J::mss_bytes, 0, 32767),
           R"(For proto=tcp: the largest segment (TCP_MAXSEG) of both ends, as iperf3 -M. If TCP
              timestamps are on, a segment carries 12 bytes less data than this.)",
           "0, the kernel's choice")
      .to_peer()
      .only(is_tcp, "is for engine=host with proto=tcp");
  rows.add("window", allowed, bytes(&J::window_bytes, 0, 1U << 30U),
           R"(For engine=host: the size of the socket buffers for sending and receiving, as
              iperf3 -w. It limits the window of TCP. It is an error if the kernel grants less.)",
           "0, the kernel's choice")
      .to_peer()
      .only(on<EngineKind::host>, "is for engine=host");
  rows.add("congestion", allowed, text(&J::congestion, "NAME", "such as cubic, reno or bbr", 16),
           "For proto=tcp: the congestion control, as iperf3 -C; the kernel must have it.",
           "the kernel's choice")
      .to_peer()
      .only(is_tcp, "is for engine=host with proto=tcp");
  rows.add("dscp", allowed, dscp(),
           R"(For engine=host: the differentiated services code point of the packets, as iperf3
              --dscp.)")
      .to_peer()
      .only(on<EngineKind::host>, "is for engine=host");
}

/// The wire of jobs, and what the run makes for it.
void add_wire_rows(Rows& rows) {
  rows.add("engine ioengine", allowed, engine_list(),
           R"(The kind of wire that carries the frames. With several engines, the job runs once
              over each, one after the other, as NAME-ENGINE.)")
      .to_peer();
  rows.add("bus", needs_directory, text(&J::bus, "PATH", "the path of a bus file"),
           "For engine=bus and host: the bus to attach to.", "one made for the run")
      .to_peer()
      .only(kOnBus, "is for engine=bus and host");
  rows.add("wire", allowed, text(&J::wire, "NAME", "any text"),
           "Jobs with the same engine and the same wire name are on one wire. But with engine=" +
               engines_with(2) + ", each pair of jobs has a wire of its own, and with engine=" +
               engines_with(1) + ", each job has.",
           "one wire for all jobs of an engine")
      .to_peer()
      .only(on_shared_wire, shared_wire());
  rows.add("bus_size", allowed, bytes(&J::bus_size_bytes, 64U << 10U, 1ULL << 30U),
           R"(The size of the ring (the part of the file that holds the frames) of a bus made
              for the run: a power of two with room for eight of the largest frames that mtu
              allows. The more it holds, the longer a job can wait for a CPU without losing
              frames.)",
           "4M, or 32M if several jobs of engine=bus send as fast as they can")
      .to_peer()
      .only(makes_bus, kMadeBus);
  rows.add("mtu", allowed, packet_bytes(&J::mtu, 68, 65535),
           R"(The MTU of the wire made for the run. Frames are longer by their Ethernet header.
              A bus and a TAP device take at most 65521.)")
      .to_peer()
      .only([](const J& job) { return job.engine != EngineKind::bus || job.bus.empty(); },
            "has no effect: the bus that \"bus\" names has its own MTU");
  rows.add("bus_pause", allowed, yes_or_no(&J::bus_pause),
           R"(On a bus made for the run, senders wait for slow receivers. Otherwise slow
              receivers lose the oldest frames.)")
      .to_peer()
      .only(makes_bus, kMadeBus);
}

/// What exists already, on this machine or another.
void add_place_of_wire_rows(Rows& rows) {
  rows.add("netdev", needs_live,
           text(&J::netdev, "NAME[,...]", "names of interfaces, separated by commas"),
           R"(For engine=tap and packet: existing interfaces, one for each job on the wire, in
              the order of the jobs.)",
           "made for the run")
      .to_peer()
      .only(kOnDevices, "is for engine=tap and packet");
  rows.add("netns", needs_live,
           text(&J::netns, "NAME", "a name of ip-netns(8), a process, or a path"),
           "The network namespace that the interfaces of netdev are in.", "the program's own")
      .to_peer()
      .only([](const J& job) { return kOnDevices(job) && !job.netdev.empty(); },
            "is for engine=tap and packet with netdev");
  rows.add("socket", names_sockets,
           text(&J::socket, "PLACE[,...]", "paths, ADDRESS:PORT, or URLs, separated by commas"),
           R"(Where the programs are that carry the frames. For engine=stream: one at which a
              program listens, such as 'shmifctl bridge ... stream:PLACE', for all jobs on the
              wire or one for each. For engine=dgram: two for each job, its own and that of the
              program. For engine=vde: the URL of a VDE network, for all jobs on the wire or one
              for each.)",
           "with engine=stream, the jobs are connected to each other; engine=dgram and vde need it")
      .to_peer()
      .only(on<EngineKind::stream, EngineKind::dgram, EngineKind::vde>,
            "is for engine=stream, dgram and vde");
  rows.add("filename", needs_directory, text(&J::filename, "PATH", "the path of a capture file"),
           R"(For engine=pcap: the file to write, or with rw=rx to read. It is written as pcapng
              if its name ends with .pcapng, otherwise as pcap. A capture that exists is
              replaced, any other file never.)")
      .to_peer()
      .only(on<EngineKind::pcap>, "is for engine=pcap; to name a bus, use bus=PATH");
  rows.add("hostname", names_host,
           text(&J::hostname, "ADDRESS", "an IPv4 or IPv6 address, or a MAC address", 256),
           R"(For engine=udp: the address at which frames are received. It is an address of this
              machine, except with no_peer. A server takes no names. For engine=bus: the MAC address
              of the port at which frames are received (default: a random one, or, if
              jobs have a server, one that follows from server and name).)")
      .to_peer()
      .only(on<EngineKind::udp, EngineKind::bus>, "is for engine=udp and bus");
  rows.add("port", names_port, number(&J::port, 0, 65535),
           "For engine=udp: the port of the receiver.", "0, a free port")
      .to_peer()
      .only(on<EngineKind::udp>, "is for engine=udp");
  rows.add("no_peer", needs_live, yes_or_no(&J::no_peer),
           R"(For engine=udp and bus, and rw=tx: no peer is made, and the frames go to the program
              that receives at hostname and port, on this or another machine; on engine=bus, at the
              MAC address hostname. What arrives there is not counted here. Another shmifperf
              receives it with rw=rx, verify_only and the same hostname and port. On engine=bus, it
              can also reply: use rw=pingpong here, and rw=echo with verify_only there.)")
      .only(on<EngineKind::udp, EngineKind::bus>, "is for engine=udp and bus");
  rows.add("allow_live", needs_live, yes_or_no(&J::allow_live),
           R"(Lets the job send on an existing bus to which other processes have attached ports,
              or on an existing interface that has addresses or routes. Without this option,
              that is refused.)")
      .to_peer()
      .only(on_shared_wire, shared_wire());
}

void add_fault_rows(Rows& rows) {
  rows.add("fault", allowed, faults(&J::fault),
           R"(Faults for the frames that this job sends, such as loss=1%,delay=5ms+-1ms: see
              shmifctl bridge --fault. With engine=host they are on the wire, and hit each frame
              of the host: segments, also those that TCP sends again, acknowledgements, address
              resolution.)")
      .only([](const J& job) { return job.rw != Role::rx || is_two_way(job); },
            "is for jobs that send (rw=tx, txrx, pingpong and echo), and with engine=host for "
            "programs and TCP")
      .once();
  rows.add("fault_rx", allowed, faults(&J::fault_rx),
           R"(Faults for the frames that are sent to this job. With engine=host, the kernel of the
              host drops frames that arrive damaged, so they are lost.)")
      .only([](const J& job) { return receives(job.rw) || is_two_way(job); },
            "is for jobs that receive (rw=rx, txrx, pingpong and echo), and with engine=host for "
            "programs and TCP")
      .once();
}

void add_host_rows(Rows& rows) {
  rows.add("proto protocol", allowed,
           one_of(&J::proto, {{"udp", HostProtocol::udp}, {"tcp", HostProtocol::tcp}}, "PROTOCOL"),
           "For engine=host: the protocol that carries the traffic between the hosts.")
      .to_peer()
      .only(on<EngineKind::host>, "is for engine=host");
  add_socket_rows(rows);
  rows.add("ip", allowed,
           text(&J::ip, "ADDRESS/BITS", "an IPv4 or IPv6 address with its prefix", 64),
           "For engine=host: the address of the host.", "the next address in 198.18.0.0/15")
      .only(on<EngineKind::host>, "is for engine=host");
  rows.add("exec", needs_exec, command(&J::exec),
           R"(For engine=host: a program to run on the host instead of the traffic. The job
              fails if the program does not exit 0.)");
}

}  // namespace

void add_engine_rows(std::vector<OptionRow>& into) {
  Rows rows(into, OptionCategory::engine);
  add_wire_rows(rows);
  add_place_of_wire_rows(rows);
  add_fault_rows(rows);
  add_host_rows(rows);
}

void add_place_rows(std::vector<OptionRow>& into) {
  Rows rows(into, OptionCategory::place);
  rows.add("cpus_allowed", allowed, cpus(&J::cpus_allowed), "The CPUs that the job may run on.");
  rows.add("cpus_allowed_policy", allowed,
           one_of(&J::cpus_allowed_policy,
                  {{"shared", CpuPolicy::shared}, {"split", CpuPolicy::split}}, "POLICY"),
           R"(shared: all clones share the CPUs. split: each clone has a CPU for itself; too few
              CPUs are an error.)")
      .to_peer();
  rows.add("peer_cpus_allowed", allowed, cpus(&J::peer_cpus_allowed),
           "The CPUs that the peer made for the job may run on.")
      .only([](const J& job) { return sends(job.rw) && job.to.empty(); },
            "is for jobs for which a peer is made (rw=tx, txrx and pingpong, without to)");
  rows.add("numa_node", allowed, number(&J::numa_node, 0, 1023),
           R"(Short for numa_cpu_nodes=N and numa_mem_policy=bind:N: the node whose memory the
              job uses, and whose CPUs it may run on unless cpus_allowed names others.)")
      .to_peer();
  rows.add("numa_cpu_nodes", allowed,
           parsed(
               &J::numa_cpu_nodes, parse_nodes,
               +[](const std::vector<int>& nodes) {
                 return nodes.empty() ? std::string("none") : to_string_of_nodes(nodes);
               },
               "NODES", "all, or numbers and ranges up to 1023, separated by commas"),
           "The NUMA nodes whose CPUs the job may run on, unless cpus_allowed names others.")
      .to_peer();
  rows.add("numa_mem_policy", allowed,
           parsed(&J::numa_mem_policy, parse_numa_policy, to_string, "MODE[:NODES]",
                  "default, prefer:N, bind:NODES, interleave:NODES or local"),
           R"(From which NUMA nodes the job takes its memory. prefer: from node N while it has
              free memory. bind: only from these nodes. interleave: from these nodes in turn.
              local: from the node of the CPU that the job runs on. default: the kernel's
              policy. NODES is all, or numbers and ranges, separated by commas. The memory of a
              bus that exists stays where it is.)")
      .to_peer();
  rows.add("nice", allowed, integer(&J::nice, -20, 19), "See nice(2).").to_peer();
  rows.add("rtprio", needs_exec, integer(&J::rtprio, 1, 99),
           R"(Runs the job under SCHED_FIFO with that priority. A job that spins then keeps all
              others off its CPU.)")
      .to_peer();
  rows.add("lockmem", allowed, yes_or_no(&J::lockmem),
           R"(Keeps the job's frames, sent and received, from being swapped out. fio's option is
              an amount to lock.)")
      .to_peer();
  rows.add("hugepages", allowed, yes_or_no(&J::hugepages),
           "Asks for huge pages for the job's buffers.")
      .to_peer();
  rows.add("uid", needs_exec, text(&J::uid, "USER", "a name or a number", 64),
           R"(The user that the job changes to after the devices are open. Its commands
              (exec_prerun, exec_postrun) always run as this user, and its logs and captures
              are made with this user's rights.)",
           "as the program was started")
      .to_peer();
  rows.add("gid", needs_exec, text(&J::gid, "GROUP", "a name or a number", 64),
           R"(The group that the job changes to. It changes the group first, then the user
              (uid). With gid or uid, it gives up its supplementary groups.)",
           "the group of uid")
      .to_peer();
  rows.add("cgroup", needs_exec,
           text(&J::cgroup, "PATH",
                "a path below /sys/fs/cgroup; the prefix /sys/fs/cgroup may be left out"),
           R"(The control group (version 2) to run the job in. If it does not exist, but its
              parent is such a group, the run makes it, for all jobs that name it, and removes
              it at the end.)")
      .to_peer();
  rows.add("cgroup_weight", needs_exec, number(&J::cgroup_weight, 0, 10'000),
           R"(The share of the CPUs (cpu.weight) of a control group that the run makes; 100 is
              usual. Refused for a group that exists. fio's option is a share of the disk.)",
           "0, the kernel's choice")
      .to_peer();
  rows.add("cgroup_nodelete", needs_exec, yes_or_no(&J::cgroup_nodelete),
           "Keeps a control group that the run made, so that its counts can be read afterwards.")
      .to_peer();
  rows.add("exec_prerun", needs_exec, command(&J::exec_prerun),
           R"(A program to run before the job gets ready, as the job's user (uid), on its CPUs
              and in its control group. The job fails if the program does not exit 0. Its output
              goes to NAME.prerun.txt.)");
  rows.add("exec_postrun", needs_exec, command(&J::exec_postrun),
           R"(A program to run after the traffic of the job has ended, even if the job has
              failed, but not if it never started. The job fails if the program does not exit 0.
              Its output goes to NAME.postrun.txt.)");
}

}  // namespace shmif::perf
