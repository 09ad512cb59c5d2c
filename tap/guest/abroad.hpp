#pragma once
// Finds interfaces that somebody has moved into another network namespace, and receives news of
// them there. Internal to tap/guest.
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

#include <cstdint>
#include <optional>
#include <utility>

#include "base/unique_fd.hpp"
#include "bus/info.hpp"
#include "tap/guest/link_news.hpp"

namespace shmif::tap {

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
