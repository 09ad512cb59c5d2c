#pragma once
// Finds interfaces that somebody has moved into another network namespace, and hears of them there.
// Internal to tap/guest.
//
// A program in a host may move the host's interface, as container runtimes do. Frames still pass,
// because our end stays. But the namespace that the interface has left hears no more of it. Each
// kind of interface has an end of ours that knows where the interface is now, however often it was
// moved:
//
// - The file of a TAP device leads to the device's namespace (TUNGETDEVNETNS, Linux 5.2).
// - Our end of a veth pair is in a namespace that nobody leaves, and the kernel tells the other
//   end's number and namespace with it.
//
// No socket is opened in the other namespace: it would keep that namespace alive when everybody has
// left it. Instead, the namespace has a number in one of ours. The kernel answers questions about
// an interface of a numbered namespace (IFLA_TARGET_NETNSID), and sends its news here
// (NETLINK_LISTEN_ALL_NSID), which needs rights over that namespace.

#include <cstdint>
#include <optional>
#include <utility>

#include "base/unique_fd.hpp"
#include "bus/info.hpp"
#include "tap/guest/link_news.hpp"

namespace shmif::tap {

/// Our end of an interface: enough to find the interface again.
class OurEnd {
 public:
  /// Nothing: then the interface is not found once it has left.
  OurEnd() = default;
  /// `descriptor`: of the TAP device, or a packet socket on our end of a veth pair; others are
  /// nothing. That of a TAP device stays the caller's: a duplicate would keep the device attached.
  /// When it has been closed, the interface is not found any more.
  OurEnd(int descriptor, LinkKind kind) noexcept;

  int tap() const noexcept { return tap_; }                   ///< -1: no TAP device
  unsigned far_index() const noexcept { return far_index_; }  ///< of our end of a pair; 0: no pair

 private:
  int tap_ = -1;
  unsigned far_index_ = 0;
};

/// Threads: one at a time. Blocks: as InterfaceQuestions.
class Abroad {
 public:
  /// `home`: a socket of the namespace from which interfaces may go; it must outlive this. `news`
  /// and `questions`: rtnetlink, not blocking, in no multicast group. They are in the namespace
  /// with our ends of veth pairs if there are any, otherwise anywhere.
  Abroad(int home, UniqueFd news, UniqueFd questions)
      : home_(home), news_(std::move(news)), questions_(std::move(questions)) {}

  enum class Where : std::uint8_t {
    here,     ///< in the namespace of `home`
    abroad,   ///< in another one
    unknown,  ///< we may not look there, or the kernel is too old
    gone,     ///< deleted
  };
  struct Found {
    Where where = Where::unknown;
    Place place{};  ///< if abroad; if here, its index
  };
  Found find(const OurEnd& end);
  /// Result: empty if the interface is not there any more, or we may not look there.
  std::optional<LinkNews> link(const Place& place) { return questions_.link(place.index, place); }

  /// Begins or ends to hear of all interfaces in namespaces with numbers. Without CAP_NET_BROADCAST
  /// the kernel does not allow it, and changes there are seen only when somebody asks.
  void listen(bool on);
  int descriptor() const noexcept { return news_.get(); }  ///< readable when there is news
  /// Reads one datagram. Result: false if there is none. `missed`: something was lost.
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
