#include "instruments/why/queue_dump.hpp"

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

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

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

}  // namespace

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

}  // namespace shmif::perf
