#pragma once
// Messages of the kernel about the interfaces of a network namespace and their addresses: news, and
// answers to questions. Internal to tap/guest.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/mac.hpp"
#include "tap/cidr.hpp"

namespace shmif::tap {

/// Where an interface is.
struct Place {
  static constexpr int kHere = -1;  ///< the namespace of the socket that asks
  int space = kHere;                ///< otherwise the number that another namespace has there
  unsigned index = 0;

  bool operator==(const Place&) const = default;
};

/// What a message says about an interface.
struct LinkNews {
  unsigned index = 0;
  bool gone = false;         ///< then the other members have no meaning
  unsigned promiscuity = 0;  ///< see Interface::promiscuity
  bool carrier = false;      ///< up and with carrier
  std::uint32_t mtu = 0;
  MacAddress mac{};  ///< zero if the interface has none
  /// The interface below it (macvlan, VLAN), or the other end of the pair (veth); 0: there is none.
  unsigned lower = 0;
  std::optional<int> lower_space{};  ///< the number of its namespace, if that is another
  unsigned master = 0;               ///< the bond or bridge that it belongs to; 0: there is none
};
struct LinkNewsBatch {
  std::vector<LinkNews> links;
  bool lists = false;  ///< the list of an interface has changed
  /// IP addresses that an interface has got, or of which the kernel says something new.
  std::vector<IpAddress> addresses{};
};
/// Reads the rtnetlink messages of one datagram, and ignores malformed ones.
LinkNewsBatch read_link_news(std::span<const std::byte> datagram);

/// The interfaces (macvlans, VLANs) that are on top of some others, directly or through further
/// ones.
class InterfaceStack {
 public:
  /// Records news. `is_ours`: whether an interface is one of those at the bottom, by index. Result:
  /// whether the news is about one of these, or about an interface above one of them.
  bool take(const LinkNews& news, const std::function<bool(unsigned index)>& is_ours);

 private:
  /// If there are more, the oldest is forgotten. With its next news it is known again, if the
  /// interface below it is known.
  static constexpr std::size_t kMaxKnown = 64;
  std::vector<unsigned> known_;
};

/// The *unicast list* of an interface: addresses for which it receives frames besides its own,
/// because a macvlan, a VLAN, a program or the administrator has asked for that.
struct UnicastList {
  /// More addresses than a port can keep.
  static constexpr std::size_t kMaxMacs = 16;
  std::vector<MacAddress> macs{};  ///< at most one more than kMaxMacs
  bool ended = false;              ///< all messages of the answer have come
  bool failed = false;             ///< there is no list, or it changed during the reading
};
/// Reads the messages of one datagram that belong to the answer to question number `question`,
/// about interface `index`.
void read_unicast_list(std::span<const std::byte> datagram, std::uint32_t question, unsigned index,
                       UnicastList& list);

/// Asks the kernel about the interfaces of a namespace.
/// Threads: one at a time. Blocks: for the kernel's answer (microseconds; while an interface is
/// being unregistered elsewhere, up to milliseconds). The work for one question is bounded, however
/// many addresses somebody has put into a list.
class InterfaceQuestions {
 public:
  /// `socket`: of rtnetlink, not blocking, in no multicast group.
  explicit InterfaceQuestions(UniqueFd socket) : socket_(std::move(socket)) {}

  /// `where`: the namespace to look into. Result: empty if there is no such interface, or if the
  /// caller has no rights over that namespace.
  std::optional<LinkNews> link(unsigned index, const Place& where = {});
  std::optional<LinkNews> link(const std::string& name, const Place& where);
  /// The number of the namespace that the descriptor `space` leads to. If it has no number, it gets
  /// one. Result: empty if the kernel refuses that.
  std::optional<int> space_number(int space);
  /// Result: empty if the kernel gives no answer. If the result has more than kMaxMacs addresses,
  /// or has not ended, it is only the beginning of the list.
  std::optional<UnicastList> unicast_list(unsigned index);

 private:
  class Question;
  bool ask(Question& question);
  std::optional<LinkNews> ask_for_link(Question& question);
  bool ask_for_number(Question& question);
  bool read();

  UniqueFd socket_;
  std::uint32_t questions_ = 0;  ///< asked so far: the number of the last one
  std::uint32_t link_question_ = 0;
  std::optional<LinkNews> link_;
  std::uint32_t number_question_ = 0;
  std::optional<int> number_;
  std::uint32_t list_question_ = 0;
  unsigned list_of_ = 0;
  UnicastList list_{.ended = true};
};

}  // namespace shmif::tap
