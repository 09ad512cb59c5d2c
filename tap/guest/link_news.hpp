#pragma once
// Messages of the kernel about the interfaces of a network namespace and their addresses: news, and
// answers to questions. Internal to tap/guest.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "bus/info.hpp"
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

// Finds interfaces that somebody has moved into another network namespace, and receives news of
// them there.
//
// A program in a host may move the host's interface, as container runtimes do. Frames still pass,
// because our end stays. But the namespace that the interface has left gets no more news of it. For
// each kind of interface, our end knows where the interface is now, however often it was moved:
//
// - The file of a TAP device leads to the device's namespace (TUNGETDEVNETNS, Linux 5.2).
// - Our end of a veth pair is in a namespace that no interface leaves. The kernel tells the other
//   end's number and namespace together with our end.
//
// We open no socket in the other namespace, because it would keep that namespace alive after
// everybody has left it. Instead, the namespace has a number in one of ours. The kernel answers
// questions about an interface of a numbered namespace (IFLA_TARGET_NETNSID), and sends its news
// here (NETLINK_LISTEN_ALL_NSID). The latter needs rights over that namespace.

/// Our end of an interface. It is enough to find the interface again.
class OurEnd {
 public:
  /// No end: then the interface cannot be found after it has left.
  OurEnd() = default;
  /// `descriptor`: of the TAP device, or a packet socket on our end of a veth pair; any other one
  /// counts as no end. The descriptor of a TAP device stays the caller's, because a duplicate would
  /// keep the device attached. After it has been closed, the interface cannot be found any more.
  OurEnd(int descriptor, LinkKind kind) noexcept;

  int tap() const noexcept { return tap_; }                   ///< -1 if it is not a TAP device
  unsigned far_index() const noexcept { return far_index_; }  ///< of our end of a pair; 0: no pair

 private:
  int tap_ = -1;
  unsigned far_index_ = 0;
};

/// Threads: one at a time. Blocks: as InterfaceQuestions.
class Abroad {
 public:
  /// `home`: a socket of the namespace that interfaces may leave; it must outlive this. `news` and
  /// `questions`: rtnetlink sockets, not blocking, in no multicast group. If there are veth pairs,
  /// both are in the namespace with our ends of them, otherwise in any.
  Abroad(int home, UniqueFd news, UniqueFd questions)
      : home_(home), news_(std::move(news)), questions_(std::move(questions)) {}

  enum class Where : std::uint8_t {
    here,     ///< in the namespace of `home`
    abroad,   ///< in another namespace
    unknown,  ///< we may not look there, or the kernel is too old
    gone,     ///< deleted
  };
  struct Found {
    Where where = Where::unknown;
    Place place{};  ///< if abroad; if here, its index
  };
  Found find(const OurEnd& end);
  /// Result: empty if the interface is not there any more, or if we may not look there.
  std::optional<LinkNews> link(const Place& place) { return questions_.link(place.index, place); }

  /// Begins or ends to receive news of all interfaces in namespaces with numbers. Without
  /// CAP_NET_BROADCAST the kernel does not allow it. Then changes there are seen only by asking.
  void listen(bool on);
  int descriptor() const noexcept { return news_.get(); }  ///< readable when there is news
  /// Reads one datagram. Result: false if there is none. `missed`: a message was lost.
  bool read(LinkNewsBatch& batch, int& space, bool& missed);

 private:
  Found find_tap(int tap);
  Found find_peer(unsigned far_index);

  int home_;
  UniqueFd news_;
  InterfaceQuestions questions_;
  bool listens_ = false;
};

}  // namespace shmif::tap
