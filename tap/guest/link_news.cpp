#include "tap/guest/link_news.hpp"

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/neighbour.h>
#include <linux/net_namespace.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "tap/libnl.hpp"
#include "tap/netlink.hpp"
#include "tap/netns.hpp"

namespace shmif::tap {
namespace {

/// The largest datagram that the kernel sends.
constexpr std::size_t kMaxDatagram = 32768;

/// How many datagrams of a list are read for one question. One datagram has some 700 addresses. The
/// kernel makes each datagram when the one before it is read, so the unread rest costs nothing
/// until the next question.
constexpr unsigned kMaxListReads = 4;
/// How many datagrams are read for the answer about one interface.
constexpr unsigned kMaxLinkReads = 64;
constexpr int kTargetSpace = 46;  // IFLA_TARGET_NETNSID, which old headers lack

/// Calls `take` with each message.
template <class Take>
void for_each_message(std::span<const std::byte> datagram, const Take& take) {
  // libnl's functions do not write to the message, but their parameters are not const.
  auto* header =
      reinterpret_cast<nlmsghdr*>(const_cast<std::byte*>(datagram.data()));  // NOLINT: see above
  auto left = static_cast<int>(datagram.size());
  while (::nlmsg_ok(header, left) != 0) {  // each message is 16 bytes or more
    take(header);
    header = ::nlmsg_next(header, &left);
  }
}

MacAddress mac_in(const nlattr* attribute) {
  if (attribute == nullptr || ::nla_len(attribute) != 6) return {};
  return MacAddress::read(static_cast<const std::byte*>(::nla_data(attribute)));
}

/// What one message says, if it is about an interface. The flag IFF_PROMISC shows only what an
/// administrator set. The count also includes packet sockets.
std::optional<LinkNews> read_link(nlmsghdr* header) {
  if (header->nlmsg_type != RTM_NEWLINK && header->nlmsg_type != RTM_DELLINK) return std::nullopt;
  std::array<nla_policy, IFLA_MAX + 1> policy{};
  // Shorter attributes are refused.
  for (const int each : {IFLA_PROMISCUITY, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_LINK_NETNSID})
    policy[static_cast<std::size_t>(each)].type = NLA_U32;
  std::array<nlattr*, IFLA_MAX + 1> found{};
  if (::nlmsg_parse(header, sizeof(ifinfomsg), found.data(), IFLA_MAX, policy.data()) < 0)
    return std::nullopt;
  const auto* const about = static_cast<const ifinfomsg*>(::nlmsg_data(header));
  // Bridges and IPv6 send their own messages about their part of an interface.
  if (about->ifi_family != AF_UNSPEC) return std::nullopt;
  LinkNews news{.index = static_cast<unsigned>(about->ifi_index)};
  news.gone = header->nlmsg_type == RTM_DELLINK;
  if (news.gone) return news;
  if (found[IFLA_PROMISCUITY] == nullptr) return std::nullopt;
  news.promiscuity = ::nla_get_u32(found[IFLA_PROMISCUITY]);
  news.carrier = Interface::carries(about->ifi_flags);
  news.mtu = found[IFLA_MTU] != nullptr ? ::nla_get_u32(found[IFLA_MTU]) : 0;
  news.mac = mac_in(found[IFLA_ADDRESS]);
  const auto number = [](nlattr* attribute) {
    return attribute != nullptr ? ::nla_get_u32(attribute) : 0;
  };
  news.lower = number(found[IFLA_LINK]);
  news.master = number(found[IFLA_MASTER]);
  if (found[IFLA_LINK_NETNSID] != nullptr)
    news.lower_space = ::nla_get_s32(found[IFLA_LINK_NETNSID]);
  return news;
}

/// The address of an interface, if the message is about one that is there.
std::optional<IpAddress> read_address(nlmsghdr* header) {
  if (header->nlmsg_type != RTM_NEWADDR) return std::nullopt;
  std::array<nlattr*, IFA_MAX + 1> found{};
  if (::nlmsg_parse(header, sizeof(ifaddrmsg), found.data(), IFA_MAX, nullptr) < 0)
    return std::nullopt;
  IpAddress address;
  address.family = static_cast<const ifaddrmsg*>(::nlmsg_data(header))->ifa_family;
  if (address.family != AF_INET && address.family != AF_INET6) return std::nullopt;
  // With a peer, IFA_ADDRESS is the peer's.
  const nlattr* const own = found[IFA_LOCAL] != nullptr ? found[IFA_LOCAL] : found[IFA_ADDRESS];
  const std::size_t size = address.bits() / 8;
  if (own == nullptr || static_cast<std::size_t>(::nla_len(own)) != size) return std::nullopt;
  std::memcpy(address.bytes.data(), ::nla_data(own), size);
  return address;
}

/// The number of a namespace; negative if it has no number.
std::optional<int> read_number(nlmsghdr* header) {
  std::array<nla_policy, NETNSA_MAX + 1> policy{};
  policy[NETNSA_NSID].type = NLA_U32;
  std::array<nlattr*, NETNSA_MAX + 1> found{};
  if (header->nlmsg_type != RTM_NEWNSID ||
      ::nlmsg_parse(header, sizeof(rtgenmsg), found.data(), NETNSA_MAX, policy.data()) < 0 ||
      found[NETNSA_NSID] == nullptr)
    return std::nullopt;
  return ::nla_get_s32(found[NETNSA_NSID]);
}

ifinfomsg interface_about(std::uint8_t family, unsigned index) {
  ifinfomsg about{};
  about.ifi_family = family;
  about.ifi_index = static_cast<int>(index);
  return about;
}

bool is_neighbour(const nlmsghdr* header) {
  return header->nlmsg_type == RTM_NEWNEIGH || header->nlmsg_type == RTM_DELNEIGH;
}

/// The address in a message about an entry of the own list of interface `index`. The kernel sends
/// similar messages for the multicast list, and, without NTF_SELF, for the table of a bridge.
std::optional<MacAddress> read_entry(nlmsghdr* header, unsigned index) {
  std::array<nlattr*, NDA_MAX + 1> found{};
  if (header->nlmsg_type != RTM_NEWNEIGH ||
      ::nlmsg_parse(header, sizeof(ndmsg), found.data(), NDA_MAX, nullptr) < 0)
    return std::nullopt;
  const auto* const about = static_cast<const ndmsg*>(::nlmsg_data(header));
  if (about->ndm_family != AF_BRIDGE || static_cast<unsigned>(about->ndm_ifindex) != index ||
      (about->ndm_flags & NTF_SELF) == 0 || found[NDA_LLADDR] == nullptr ||
      ::nla_len(found[NDA_LLADDR]) != 6)
    return std::nullopt;
  const MacAddress mac = mac_in(found[NDA_LLADDR]);
  if (mac.is_group()) return std::nullopt;
  return mac;
}

/// The number of the sender's namespace. The kernel adds it to news from another namespace.
std::optional<int> space_in(msghdr& message) noexcept {
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_NETLINK || c->cmsg_type != NETLINK_LISTEN_ALL_NSID) continue;
    int space = 0;
    std::memcpy(&space, CMSG_DATA(c), sizeof space);
    return space;
  }
  return std::nullopt;
}

}  // namespace

LinkNewsBatch read_link_news(std::span<const std::byte> datagram) {
  LinkNewsBatch batch;
  for_each_message(datagram, [&](nlmsghdr* header) {
    if (const auto news = read_link(header)) batch.links.push_back(*news);
    if (const auto address = read_address(header)) batch.addresses.push_back(*address);
    batch.lists = batch.lists || is_neighbour(header);
  });
  return batch;
}

bool InterfaceStack::take(const LinkNews& news, const std::function<bool(unsigned)>& is_ours) {
  const auto at = std::ranges::find(known_, news.index);
  const auto belongs = [&](unsigned index) {
    return index != 0 && (is_ours(index) || std::ranges::find(known_, index) != known_.end());
  };
  // The number of an interface in another namespace has no meaning here.
  if (!belongs(news.index) && (news.lower_space || !belongs(news.lower))) return false;
  if (news.gone) {
    if (at != known_.end()) known_.erase(at);
  } else if (at == known_.end()) {
    if (known_.size() == kMaxKnown) known_.erase(known_.begin());
    known_.push_back(news.index);
  }
  return true;
}

void read_unicast_list(std::span<const std::byte> datagram, std::uint32_t question, unsigned index,
                       UnicastList& list) {
  for_each_message(datagram, [&](nlmsghdr* header) {
    if (header->nlmsg_seq != question || list.ended) return;
    list.failed = list.failed || header->nlmsg_type == NLMSG_ERROR ||
                  (header->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
    list.ended = header->nlmsg_type == NLMSG_DONE || header->nlmsg_type == NLMSG_ERROR;
    const auto mac = read_entry(header, index);
    if (mac && list.macs.size() <= UnicastList::kMaxMacs) list.macs.push_back(*mac);
  });
}

/// A message to the kernel.
class InterfaceQuestions::Question {
 public:
  template <class About>
  Question(std::uint16_t type, std::uint16_t flags, const About& about)
      : message_(::nlmsg_alloc_simple(type, NLM_F_REQUEST | flags)) {
    good_ = message_ != nullptr && ::nlmsg_append(message_.get(), const_cast<About*>(&about),
                                                  sizeof about, NLMSG_ALIGNTO) == 0;
  }
  template <class Value>
  void add(int attribute, const Value& value) {
    put(attribute, &value, sizeof value);
  }
  void add(int attribute, const std::string& value) {
    put(attribute, value.c_str(), value.size() + 1);
  }
  nlmsghdr* header() const { return good_ ? ::nlmsg_hdr(message_.get()) : nullptr; }

 private:
  void put(int attribute, const void* value, std::size_t size) {
    good_ = good_ && ::nla_put(message_.get(), attribute, static_cast<int>(size), value) == 0;
  }

  std::unique_ptr<nl_msg, NlDeleter<nlmsg_free>> message_;
  bool good_ = false;
};

bool InterfaceQuestions::ask(Question& question) {
  nlmsghdr* const header = question.header();
  if (header == nullptr) return false;
  header->nlmsg_seq = ++questions_;
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  return ::sendto(socket_.get(), header, header->nlmsg_len, 0,
                  reinterpret_cast<const sockaddr*>(&kernel),
                  sizeof kernel) == static_cast<ssize_t>(header->nlmsg_len);
}

/// Reads one datagram. Result: false if no datagram is there. When the kernel takes a
/// question, it answers at once, so no datagram comes later.
bool InterfaceQuestions::read() {
  alignas(nlmsghdr) std::array<std::byte, kMaxDatagram> buffer;
  sockaddr_nl from{};
  socklen_t length = sizeof from;
  ssize_t size = 0;
  do {
    size = ::recvfrom(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT,
                      reinterpret_cast<sockaddr*>(&from), &length);
  } while (size < 0 && errno == EINTR);
  if (size < 0) return false;
  if (from.nl_pid != 0) return true;  // root of the namespace may send here, too
  const auto datagram = std::span(buffer).first(static_cast<std::size_t>(size));
  read_unicast_list(datagram, list_question_, list_of_, list_);
  for_each_message(datagram, [this](nlmsghdr* header) {
    if (header->nlmsg_seq == link_question_) link_ = read_link(header);
    if (header->nlmsg_seq == number_question_) number_ = read_number(header);
  });
  return true;
}

std::optional<LinkNews> InterfaceQuestions::ask_for_link(Question& question) {
  link_.reset();
  if (!ask(question)) return std::nullopt;
  link_question_ = questions_;
  for (unsigned i = 0; i < kMaxLinkReads && !link_ && read(); ++i) {
  }
  return link_;
}

std::optional<LinkNews> InterfaceQuestions::link(unsigned index, const Place& where) {
  Question question(RTM_GETLINK, 0, interface_about(AF_UNSPEC, index));
  if (where.space != Place::kHere) question.add(kTargetSpace, where.space);
  return ask_for_link(question);
}

std::optional<LinkNews> InterfaceQuestions::link(const std::string& name, const Place& where) {
  Question question(RTM_GETLINK, 0, ifinfomsg{});
  if (where.space != Place::kHere) question.add(kTargetSpace, where.space);
  question.add(IFLA_IFNAME, name);
  return ask_for_link(question);
}

bool InterfaceQuestions::ask_for_number(Question& question) {
  number_.reset();
  if (!ask(question)) return false;
  number_question_ = questions_;
  for (unsigned i = 0; i < kMaxLinkReads && !number_ && read(); ++i) {
  }
  return number_.has_value();
}

std::optional<int> InterfaceQuestions::space_number(int space) {
  const auto known = [&] {
    Question question(RTM_GETNSID, 0, rtgenmsg{});
    question.add(NETNSA_FD, space);
    return ask_for_number(question) && *number_ >= 0;
  };
  if (known()) return number_;
  Question give(RTM_NEWNSID, 0, rtgenmsg{});
  give.add(NETNSA_FD, space);
  give.add(NETNSA_NSID, -1);  // any
  if (!ask(give) || !known()) return std::nullopt;
  return number_;
}

std::optional<UnicastList> InterfaceQuestions::unicast_list(unsigned index) {
  unsigned reads = 0;
  // First read what an earlier question left.
  while (!list_.ended && reads++ < kMaxListReads && read()) {
  }
  if (list_.ended) {
    list_ = UnicastList{};
    list_of_ = index;
    Question question(RTM_GETNEIGH, NLM_F_DUMP, interface_about(AF_BRIDGE, index));
    if (!ask(question)) {
      list_.ended = true;
      return std::nullopt;
    }
    list_question_ = questions_;
    while (!list_.ended && reads++ < kMaxListReads && read()) {
    }
  }
  // The rest of another interface's long list can use up all reads.
  if (list_.failed || list_of_ != index) return std::nullopt;
  return list_;
}

OurEnd::OurEnd(int descriptor, LinkKind kind) noexcept {
  ifreq request{};
  if (kind == LinkKind::tap && ::ioctl(descriptor, TUNGETIFF, &request) == 0) tap_ = descriptor;
  sockaddr_ll bound{};
  socklen_t size = sizeof bound;
  if (kind == LinkKind::veth &&
      ::getsockname(descriptor, reinterpret_cast<sockaddr*>(&bound), &size) == 0 &&
      bound.sll_family == AF_PACKET) {
    far_index_ = static_cast<unsigned>(bound.sll_ifindex);
  }
}

Abroad::Found Abroad::find(const OurEnd& end) {
  if (end.tap() >= 0) return find_tap(end.tap());
  if (end.far_index() != 0) return find_peer(end.far_index());
  return {};
}

Abroad::Found Abroad::find_tap(int tap) {
  const auto space = NetNamespace::of_device(tap);
  if (!space) return {.where = space.error().code.value() == EBADFD ? Where::gone : Where::unknown};
  ifreq request{};
  if (::ioctl(tap, TUNGETIFF, &request) != 0)
    return {.where = errno == EBADFD ? Where::gone : Where::unknown};
  const auto number = questions_.space_number(space->descriptor());
  if (!number) return {};
  const auto now = questions_.link(request.ifr_name, Place{.space = *number});
  if (!now) return {};
  const auto home = NetNamespace::of_socket(home_);
  if (!home) return {};
  const bool here = space->is_same(*home);
  return {.where = here ? Where::here : Where::abroad,
          .place = {.space = *number, .index = now->index}};
}

Abroad::Found Abroad::find_peer(unsigned far_index) {
  const auto ours = questions_.link(far_index);
  if (!ours) return {.where = Where::gone};
  if (ours->lower == 0 || !ours->lower_space) return {};
  const auto home = NetNamespace::of_socket(home_);
  const auto number = home ? questions_.space_number(home->descriptor()) : std::nullopt;
  if (!number) return {};
  return {.where = *ours->lower_space == *number ? Where::here : Where::abroad,
          .place = {.space = *ours->lower_space, .index = ours->lower}};
}

void Abroad::listen(bool on) {
  if (on == listens_) return;
  const int all = on ? 1 : 0;
  const int group = RTNLGRP_LINK;
  // This process may not be allowed to hear of other namespaces now. The next attempt may succeed.
  if (::setsockopt(news_.get(), SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &all, sizeof all) != 0)
    return;
  listens_ = on;
  (void)::setsockopt(news_.get(), SOL_NETLINK,
                     on ? NETLINK_ADD_MEMBERSHIP : NETLINK_DROP_MEMBERSHIP, &group, sizeof group);
}

bool Abroad::read(LinkNewsBatch& batch, int& space, bool& missed) {
  alignas(nlmsghdr) std::array<std::byte, 32768> buffer;  // the kernel sends no larger ones
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  sockaddr_nl from{};
  iovec part{buffer.data(), buffer.size()};
  msghdr message{};
  message.msg_name = &from;
  message.msg_namelen = sizeof from;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  batch = {};
  const ssize_t size = ::recvmsg(news_.get(), &message, 0);
  if (size < 0 && errno == ENOBUFS) return missed = true;
  if (size < 0) return errno == EINTR;
  // Root of a namespace may send to every netlink socket of the namespace.
  const auto number = space_in(message);
  if (from.nl_pid != 0 || !number) return true;
  space = *number;
  batch = read_link_news(std::span(buffer).first(static_cast<std::size_t>(size)));
  return true;
}

}  // namespace shmif::tap
