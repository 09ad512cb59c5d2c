#include "instruments/why/net_watch.hpp"

#include <arpa/inet.h>
#include <linux/gen_stats.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "shmif/debug/debug.hpp"
#include "tap/netns.hpp"

namespace shmif::perf {
namespace {

using Take = std::function<void(std::uint16_t type, std::span<const std::byte>)>;

constexpr const char* kWhat = "cannot read the queues of network interfaces";

template <class T>
bool take_header(std::span<const std::byte>& bytes, T& header) {
  if (bytes.size() < sizeof header) return false;
  std::memcpy(&header, bytes.data(), sizeof header);
  return true;
}

constexpr std::size_t aligned(std::size_t size) {
  return (size + NLMSG_ALIGNTO - 1) & ~std::size_t{NLMSG_ALIGNTO - 1};
}

/// The attribute with this type; empty if there is none.
std::span<const std::byte> attribute(std::span<const std::byte> bytes, unsigned type) {
  rtattr header{};
  while (take_header(bytes, header)) {
    const std::size_t length = header.rta_len;
    if (length < sizeof header || length > bytes.size()) return {};
    if ((header.rta_type & NLA_TYPE_MASK) == type) {
      return bytes.subspan(sizeof header, length - sizeof header);
    }
    bytes = bytes.subspan(std::min(aligned(length), bytes.size()));
  }
  return {};
}

std::span<const std::byte> behind(std::span<const std::byte> bytes, std::size_t size) {
  return bytes.subspan(std::min(aligned(size), bytes.size()));
}

/// Opens a socket in the namespace of the calling thread.
Result<UniqueFd> open_here() {
  UniqueFd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  if (!socket) return Error::from_errno(errno, kWhat);
  return socket;
}

/// Opens a socket in `space`. First a thread tries to enter it. If that fails, a process tries,
/// which can also enter the user namespace that owns `space`. The process comes second, because it
/// costs a copy of the page tables.
Result<UniqueFd> open_in(const tap::NetNamespace& space) {
  Result<UniqueFd> made = Error::from_errno(EPERM, kWhat);
  std::thread([&] {
    if (::setns(space.descriptor(), CLONE_NEWNET) == 0) made = open_here();
  }).join();
  if (made) return made;
  auto sent = tap::run_in(space, []() -> Result<std::vector<UniqueFd>> {
    auto socket = open_here();
    if (!socket) return std::move(socket).error();
    std::vector<UniqueFd> all;
    all.push_back(*std::move(socket));
    return all;
  });
  if (!sent) return Error(sent.error().code, std::string(kWhat) + ": " + sent.error().message);
  if (sent->empty()) return Error::from_errno(EMFILE, kWhat);
  return std::move(sent->front());
}

struct DumpPart {
  bool done = false;
  int error = 0;  ///< errno; EINTR: the tables changed meanwhile, so the answer mixes two states
};

/// Reads the messages in a netlink datagram that answer the request `sequence`. Skips all others:
/// answers to a request that was given up, and messages that somebody else sent.
DumpPart read_dump(std::span<const std::byte> datagram, std::uint32_t sequence, const Take& take) {
  DumpPart part;
  nlmsghdr header{};
  while (!part.done && take_header(datagram, header)) {
    const std::size_t length = header.nlmsg_len;
    if (length < sizeof header || length > datagram.size()) break;
    const auto body = datagram.subspan(sizeof header, length - sizeof header);
    datagram = datagram.subspan(std::min(aligned(length), datagram.size()));
    if (header.nlmsg_seq != sequence) continue;
    if ((header.nlmsg_flags & NLM_F_DUMP_INTR) != 0) part.error = EINTR;
    if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR) {
      int error = 0;
      if (body.size() >= sizeof error) std::memcpy(&error, body.data(), sizeof error);
      if (error < 0) part.error = -error;
      part.done = true;
    } else {
      take(header.nlmsg_type, body);
    }
  }
  return part;
}

}  // namespace

Result<QueueDump> QueueDump::open(pid_t process) {
  auto space = tap::NetNamespace::by_pid(process);
  if (!space) return Error(space.error().code, std::string(kWhat) + ": " + space.error().message);
  auto socket = space->is_current() ? open_here() : open_in(*space);
  if (!socket) return std::move(socket).error();
  return QueueDump(*std::move(socket));
}

Result<void> QueueDump::dump(std::uint16_t type, std::size_t family_bytes, const Take& take) {
  std::array<std::byte, NLMSG_SPACE(sizeof(tcmsg))> request{};
  nlmsghdr header{};
  header.nlmsg_len = static_cast<std::uint32_t>(NLMSG_LENGTH(family_bytes));
  header.nlmsg_type = type;
  header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  header.nlmsg_seq = ++sequence_;
  std::memcpy(request.data(), &header, sizeof header);
  if (::send(socket_.get(), request.data(), header.nlmsg_len, 0) < 0) {
    return Error::from_errno(errno, kWhat);
  }
  constexpr std::size_t kBytes = std::size_t{64} << 10U;  // more than the kernel sends in one
  buffer_.resize(kBytes);
  constexpr int kMaxParts = 4096;  // others could send forged ones without end
  int error = 0;
  for (int i = 0; i < kMaxParts; ++i) {
    sockaddr_nl from{};
    socklen_t length = sizeof from;
    void* const address = &from;
    const ssize_t got = ::recvfrom(socket_.get(), buffer_.data(), buffer_.size(), MSG_TRUNC,
                                   static_cast<sockaddr*>(address), &length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error::from_errno(errno, kWhat);
    if (from.nl_pid != 0) continue;  // not from the kernel
    const auto size = static_cast<std::size_t>(got);
    if (size > buffer_.size()) return Error::from_errno(EMSGSIZE, kWhat);
    const DumpPart part = read_dump(std::span(buffer_).first(size), sequence_, take);
    if (part.error != 0) error = part.error;
    if (!part.done) continue;
    if (error != 0) return Error::from_errno(error, kWhat);
    return {};
  }
  return Error::from_errno(EAGAIN, kWhat);
}

Result<std::vector<QueueCounts>> QueueDump::queues() {
  std::vector<QueueCounts> all;
  auto done = dump(RTM_GETQDISC, sizeof(tcmsg), [&](std::uint16_t type, auto body) {
    tcmsg head{};
    if (type != RTM_NEWQDISC || !take_header(body, head)) return;
    if (head.tcm_parent != TC_H_ROOT && head.tcm_parent != TC_H_INGRESS) return;
    const auto attributes = behind(body, sizeof head);
    const auto stats = attribute(attributes, TCA_STATS2);
    gnet_stats_basic passed{};
    gnet_stats_queue queue{};
    auto basic_bytes = attribute(stats, TCA_STATS_BASIC);
    auto queue_bytes = attribute(stats, TCA_STATS_QUEUE);
    if (!take_header(queue_bytes, queue)) return;
    (void)take_header(basic_bytes, passed);
    const auto kind = attribute(attributes, TCA_KIND);
    QueueCounts counts{.interface = head.tcm_ifindex,
                       .ingress = head.tcm_parent == TC_H_INGRESS,
                       .packets = passed.packets,
                       .drops = queue.drops};
    for (const std::byte each : kind) {
      if (each == std::byte{0}) break;
      counts.kind += std::to_integer<char>(each);
    }
    all.push_back(std::move(counts));
  });
  if (!done) return std::move(done).error();
  return all;
}

Result<std::string> QueueDump::silent_neighbour() {
  std::string failed, waiting;
  auto done = dump(RTM_GETNEIGH, sizeof(ndmsg), [&](std::uint16_t type, auto body) {
    ndmsg head{};
    if (type != RTM_NEWNEIGH || !take_header(body, head)) return;
    if ((head.ndm_state & (NUD_FAILED | NUD_INCOMPLETE)) == 0) return;
    const auto address = attribute(behind(body, sizeof head), NDA_DST);
    const std::size_t size = head.ndm_family == AF_INET ? sizeof(in_addr) : sizeof(in6_addr);
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (address.size() != size) return;
    if (::inet_ntop(head.ndm_family, address.data(), text.data(), text.size()) == nullptr) return;
    std::string& which = (head.ndm_state & NUD_FAILED) != 0 ? failed : waiting;
    if (which.empty()) which = text.data();
  });
  if (!done) return std::move(done).error();
  return failed.empty() ? waiting : failed;
}

std::string QueueDump::name_of(int interface) const {
  ifreq request{};
  request.ifr_ifindex = interface;
  if (::ioctl(socket_.get(), SIOCGIFNAME, &request) != 0) return {};
  request.ifr_name[IFNAMSIZ - 1] = 0;
  return static_cast<const char*>(request.ifr_name);
}

namespace {

/// If there are more namespaces than this, each look opens their files anew.
constexpr std::size_t kMaxOpenNets = 60;

using Number = std::optional<std::uint64_t>;

/// The sum; empty if any of the numbers is empty.
Number sum_of(std::initializer_list<Number> numbers) {
  std::uint64_t all = 0;
  for (const Number& each : numbers) {
    if (!each) return std::nullopt;
    all += *each;
  }
  return all;
}

void put(NetTotals& totals, NetLoss loss, Number lost, Number lost6, Number passed) {
  if (!lost || !lost6) return;
  totals[loss] = NetTotals::Total{*lost, *lost6, passed.value_or(0)};
}

std::string name_of(const RepeatedFile& file) {
  return file.path().substr(file.path().rfind('/') + 1);
}

}  // namespace

NetTotals net_totals(std::optional<std::string_view> snmp, std::optional<std::string_view> netstat,
                     std::optional<std::string_view> snmp6) {
  NetTotals all;
  const auto of = [&](const char* group, const char* name) -> Number {
    return snmp ? read_paired(*snmp, group, name) : std::nullopt;
  };
  const auto more = [&](const char* group, const char* name) -> Number {
    return netstat ? read_paired(*netstat, group, name) : std::nullopt;
  };
  // Old kernels lack some of these lines, and a kernel without IPv6 lacks all of them.
  const auto of6 = [&](const char* name) -> Number {
    return snmp6 ? Number(read_keyed(*snmp6, name).value_or(0)) : std::nullopt;
  };
  const Number datagrams = sum_of({of("Udp", "InDatagrams"), of6("Udp6InDatagrams")});
  put(all, NetLoss::receive_buffer, of("Udp", "RcvbufErrors"), of6("Udp6RcvbufErrors"), datagrams);
  put(all, NetLoss::socket_memory, of("Udp", "MemErrors"), of6("Udp6MemErrors"), datagrams);
  put(all, NetLoss::reassembly, of("Ip", "ReasmFails"), of6("Ip6ReasmFails"),
      sum_of({of("Ip", "ReasmOKs"), of6("Ip6ReasmOKs")}));
  // ListenDrops contains ListenOverflows.
  put(all, NetLoss::listen_queue, more("TcpExt", "ListenDrops"), 0, of("Tcp", "PassiveOpens"));
  put(all, NetLoss::retransmits, of("Tcp", "RetransSegs"), 0, of("Tcp", "OutSegs"));
  const Number sent = sum_of({of("Ip", "OutRequests"), of6("Ip6OutRequests")});
  put(all, NetLoss::no_route, sum_of({of("Ip", "OutNoRoutes"), more("IpExt", "InNoRoutes")}),
      sum_of({of6("Ip6OutNoRoutes"), of6("Ip6InNoRoutes")}), sent);
  // If a neighbour does not answer, the kernel tells the sender by ICMP. It also does so for a
  // datagram to a closed port, so subtract these.
  const auto unreachable = [](Number told, Number no_port) -> Number {
    if (!told || !no_port) return std::nullopt;
    return *told - std::min(*told, *no_port);
  };
  put(all, NetLoss::neighbour, unreachable(of("Icmp", "OutDestUnreachs"), of("Udp", "NoPorts")),
      unreachable(of6("Icmp6OutDestUnreachs"), of6("Udp6NoPorts")), sent);
  return all;
}

NetWatch::NetWatch(const KernelFiles& files)
    : files_(files),
      live_(files.path("/proc") == "/proc"),
      arp_(files.path("/proc/net/stat/arp_cache")),
      ndisc_(files.path("/proc/net/stat/ndisc_cache")) {}

std::uint64_t NetWatch::find(pid_t pid, WhySeries& series) {
  const std::string folder = "/proc/" + std::to_string(pid);
  struct stat of{};
  if (::stat(files_.path(folder + "/ns/net").c_str(), &of) != 0) return 0;
  Net& net = nets_[of.st_ino];
  if (net.pid == 0) {
    net.pid = pid;
    begin(of.st_ino, net, series);
  }
  return of.st_ino;
}

/// Opens the files of a namespace, and notes the current counters of its IP stack.
void NetWatch::begin(std::uint64_t id, Net& net, WhySeries& series) {
  const std::string folder = "/proc/" + std::to_string(net.pid) + "/net/";
  net.devices_file = RepeatedFile(files_.path(folder + "dev"));
  net.snmp = RepeatedFile(files_.path(folder + "snmp"));
  net.netstat = RepeatedFile(files_.path(folder + "netstat"));
  net.snmp6 = RepeatedFile(files_.path(folder + "snmp6"));
  net.number = series.nets.size();
  series.nets.push_back({.net = id, .first = series.ends_s.size()});
  debug(Debug::why, [&] {
    return "looks at the network namespace of process " + std::to_string(net.pid) + ", " +
           std::to_string(id);
  });
  net.before = totals_of(net, series, Visit::first);
  read_devices_of(id, net, series);
  if (!live_) return;
  auto dump = QueueDump::open(net.pid);
  if (dump) {
    ask(id, *std::move(dump), series);
  } else {
    series.miss("queues of interfaces", dump.error().message);
  }
}

void NetWatch::ask(std::uint64_t net, QueueDump dump, WhySeries& series) {
  Net& of = nets_.at(net);
  of.dump = std::move(dump);
  read_queues(net, of, series);
}

NetTotals NetWatch::totals_of(Net& net, WhySeries& series, Visit visit) {
  // All texts are read into the same buffer, so keep a copy of each.
  const auto text_of = [&](RepeatedFile& file) -> std::optional<std::string> {
    const auto text = file.read(buffer_);
    if (text && !text->empty()) return std::string(*text);
    return std::nullopt;
  };
  const auto snmp = text_of(net.snmp), netstat = text_of(net.netstat);
  auto snmp6 = text_of(net.snmp6);
  if (snmp && !snmp6 && net.snmp6.error() == ENOENT) snmp6.emplace();  // no IPv6
  for (const auto& [text, file] :
       {std::pair(&snmp, &net.snmp), {&netstat, &net.netstat}, {&snmp6, &net.snmp6}}) {
    const bool has_ended =
        visit == Visit::later && (file->error() == ENOENT || file->error() == ESRCH);
    if (!*text && !has_ended) series.miss("/proc/PID/net/" + name_of(*file), file->why());
    if (nets_.size() > kMaxOpenNets) file->close();
  }
  return net_totals(snmp, netstat, snmp6);
}

void NetWatch::read_losses(Net& net, WhySeries& series) {
  NetTotals now = totals_of(net, series, Visit::later);
  NetStep step;
  for (std::size_t i = 0; i < kNetLosses; ++i) {
    const auto& then = net.before.totals.at(i);
    const auto& total = now.totals.at(i);
    if (!then || !total) continue;
    NetTotals::Total before = *then;
    const std::uint64_t v4 = difference(total->lost, before.lost);
    const std::uint64_t v6 = difference(total->lost6, before.lost6);
    step.counts.at(i) = NetCount{.lost = v4 + v6,
                                 .passed = difference(total->passed, before.passed),
                                 .v4 = v4 > 0,
                                 .v6 = v6 > 0};
  }
  net.before = now;
  find_neighbour(net, step, series);
  series.nets[net.number].steps.push_back(step);
}

/// Packets are lost at the neighbour only while a neighbour does not answer. The kernel counts them
/// for the whole machine, not for each interface.
void NetWatch::find_neighbour(Net& net, NetStep& step, WhySeries& series) {
  std::optional<NetCount>& count = step[NetLoss::neighbour];
  if (!count || (count->lost == 0 && discarded_.value_or(0) == 0)) return;
  if (!net.dump) {
    count.reset();
    return;
  }
  auto silent = net.dump->silent_neighbour();
  if (!silent) {
    series.miss("neighbours", silent.error().message);
    count.reset();
    return;
  }
  std::string& name = series.nets[net.number].neighbour;
  if (!silent->empty()) name = *silent;
  count->lost = name.empty() ? 0 : count->lost + (silent->empty() ? 0 : discarded_.value_or(0));
}

void NetWatch::read_discards(WhySeries& series) {
  Number all = 0;
  for (RepeatedFile* file : {&arp_, &ndisc_}) {
    const auto text = file->read(buffer_);
    // Only the machine's first network namespace has these files.
    if (!text && file->error() == ENOENT) continue;
    const auto found = text ? read_column(*text, "unresolved_discards") : std::nullopt;
    if (!found) series.miss("/proc/net/stat", file->why());
    all = sum_of({all, found});
  }
  discarded_.reset();
  if (all && discards_before_) discarded_ = difference(*all, *discards_before_);
  discards_before_ = all;
}

void NetWatch::read_queues(std::uint64_t id, Net& net, WhySeries& series) {
  if (!net.dump) return;
  const auto found = net.dump->queues();
  const std::size_t interval = series.ends_s.size() - (net.queues_begun ? 1 : 0);
  if (!found) {
    // EINTR: the queues changed meanwhile. The next look reads them again.
    if (found.error().code != std::errc::interrupted) {
      series.miss("queues of interfaces", found.error().message);
    }
    net.queues_begun = false;
    net.queues.clear();
    return;
  }
  for (const QueueCounts& counts : *found) {
    const auto drops = static_cast<std::uint32_t>(counts.drops);
    const auto packets = static_cast<std::uint32_t>(counts.packets);
    const auto [at, is_new] =
        net.queues.try_emplace({counts.interface, counts.kind + (counts.ingress ? " in" : "")});
    Queue& queue = at->second;
    if (is_new) {
      queue.number = series.queues.size();
      series.queues.push_back({.interface = net.dump->name_of(counts.interface),
                               .kind = counts.kind,
                               .ingress = counts.ingress,
                               .net = id,
                               .first = interval});
      // If a queue is new in a known namespace, all of its counts belong to this interval.
      if (!net.queues_begun) queue.packets = packets, queue.drops = drops;
    }
    queue.seen = true;
    if (!net.queues_begun) continue;
    series.queues[queue.number].steps.push_back({.packets = difference32(packets, queue.packets),
                                                 .drops = difference32(drops, queue.drops)});
  }
  net.queues_begun = true;
  for (auto at = net.queues.begin(); at != net.queues.end();) {
    at = std::exchange(at->second.seen, false) ? std::next(at) : net.queues.erase(at);
  }
}

void NetWatch::read_devices_of(std::uint64_t id, Net& net, WhySeries& series) {
  const auto text = net.devices_file.read(buffer_);
  if (nets_.size() > kMaxOpenNets) net.devices_file.close();
  if (!text) {
    if (*descriptor_remedy(net.devices_file.error()) != 0) {
      series.miss("/proc/PID/net/dev", net.devices_file.why());
    }
    net.begun = false;
    net.devices.clear();
    return;
  }
  const std::size_t interval = series.ends_s.size() - (net.begun ? 1 : 0);
  for (DeviceCounts& counts : read_devices(*text)) {
    const auto [at, is_new] = net.devices.try_emplace(counts.name);
    Device& device = at->second;
    if (is_new) {
      device.number = series.devices.size();
      series.devices.push_back({.name = counts.name, .net = id, .first = interval});
      // If an interface is new in a known namespace, all of its counts belong to this interval.
      if (!net.begun) device.counts = counts;
    }
    device.seen = true;
    if (!net.begun) continue;
    DeviceCounts& before = device.counts;
    series.devices[device.number].steps.push_back(
        {.rx_packets = difference(counts.rx_packets, before.rx_packets),
         .rx_drops = difference(counts.rx_drops, before.rx_drops),
         .tx_packets = difference(counts.tx_packets, before.tx_packets),
         .tx_drops = difference(counts.tx_drops, before.tx_drops)});
  }
  net.begun = true;
  // Forget interfaces that are gone. Another one may appear with the same name.
  for (auto at = net.devices.begin(); at != net.devices.end();) {
    at = std::exchange(at->second.seen, false) ? std::next(at) : net.devices.erase(at);
  }
}

void NetWatch::read(std::uint64_t id, Net& net, WhySeries& series) {
  read_devices_of(id, net, series);
  read_queues(id, net, series);
  read_losses(net, series);
}

void NetWatch::sample(WhySeries& series) {
  if (series.own_net == 0) {
    struct stat own{};
    if (::stat(files_.path("/proc/self/ns/net").c_str(), &own) == 0) series.own_net = own.st_ino;
  }
  read_discards(series);
  for (auto at = nets_.begin(); at != nets_.end();) {
    struct stat of{};
    const std::string file = files_.path("/proc/" + std::to_string(at->second.pid) + "/ns/net");
    const bool ended = ::stat(file.c_str(), &of) != 0 || of.st_ino != at->first;
    read(at->first, at->second, series);
    at = ended ? nets_.erase(at) : std::next(at);
  }
}

}  // namespace shmif::perf
