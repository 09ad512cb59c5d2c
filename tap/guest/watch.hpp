#pragma once
// Watches which frames the interfaces of a guest receive (their MAC addresses, promiscuous mode),
// whether they are down, and their MTU. Internal to tap/ and tools/.
//
// The kernel reports a change of an interface at once. But it does not report that a program has
// put an address into the unicast list of an interface (PACKET_MR_UNICAST). So the watch also asks.
// It asks at once when it hears of a change of an interface that is on a watched one, because most
// addresses come with such an interface (macvlan, VLAN); each second in the minute after that;
// otherwise every ten seconds. If it always asked each second, fifty idle hosts would run fifty
// times a second. The same would happen if it asked at any news in a namespace that many share.
//
// TAP devices and veth pairs have no filter for the list. While the list has addresses, the kernel
// counts one more user of promiscuous mode. So an interface is promiscuous only if the count is
// higher than the list explains.
//
// An interface that somebody moves into another network namespace is watched there (link_news.hpp).
// The kernel does not tell the interface's list there. So if the count says that the list has
// addresses, the interface counts as promiscuous. If it cannot be found, its carrier is unknown.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/port.hpp"
#include "tap/guest/guest.hpp"

namespace shmif::tap {

/// An interface to watch.
struct WatchedLink {
  unsigned index = 0;
  unsigned own = 0;             ///< promiscuity up to this does not count: our own bridge causes it
  bool comes_up_later = false;  ///< its state before come_up() is no news
  bool has_list = true;         ///< ask for its unicast list
  int our_end = -1;             ///< see OurEnd
  LinkKind kind = LinkKind::tap;
};

/// The netlink sockets of a watch. The first two are in the namespace of the interfaces.
struct WatchSockets {
  UniqueFd news;       ///< reports changes
  UniqueFd questions;  ///< in no multicast group
  /// Sockets as Abroad wants them.
  UniqueFd abroad_news{}, abroad_questions{};

  /// Takes over the result of open_watch_sockets(). `from`: the four sockets.
  static WatchSockets take(std::vector<UniqueFd>& from);
};
/// Makes the four sockets, in their order, in the calling process's namespace. Errors: the
/// system's.
Result<std::vector<UniqueFd>> open_watch_sockets();
/// The same, for a watch that also hears which IP addresses the interfaces of the namespace get.
Result<std::vector<UniqueFd>> open_guest_watch_sockets();
/// Makes the last two, in the calling process's namespace, if the far ends of veth pairs are there.
Result<std::vector<UniqueFd>> open_abroad_sockets();

/// How often to ask for unicast lists.
struct WatchPace {
  std::chrono::milliseconds quiet{10'000};
  std::chrono::milliseconds busy{1'000};
  std::chrono::milliseconds busy_for{60'000};  ///< after news of another interface
  /// The least time between two questions, even if there is news: somebody may make news without
  /// pause.
  std::chrono::milliseconds least{100};
};

/// Works from any namespace. Threads: one at a time. Blocks: read() blocks as InterfaceQuestions
/// does.
class GuestWatch {
 public:
  /// `links`: the guest's interfaces, in order. At the beginning they are assumed to be up and not
  /// promiscuous.
  static Result<GuestWatch> open(WatchSockets sockets, std::vector<WatchedLink> links,
                                 const WatchPace& pace = {});
  GuestWatch(GuestWatch&&) noexcept;
  GuestWatch& operator=(GuestWatch&&) = delete;
  ~GuestWatch();

  /// Readable when read() has something to do.
  int descriptor() const noexcept;
  /// The interfaces that come up later have their addresses and routes now, so the next read()
  /// tells their states. An interface gets its carrier a little before, and cannot answer everybody
  /// then.
  void come_up() noexcept;
  /// Reads the news that has come, asks if it is time, and appends the states that changed.
  void read(std::vector<GuestInterfaceState>& changes);
  /// What it has heard about IP addresses since the last call.
  GuestAddresses take_addresses();

 private:
  struct Impl;
  explicit GuestWatch(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Shows the carrier of the interface behind a port.
void show_carrier_on(Port& port, const GuestInterfaceState& now);

/// Makes a port receive the frames that the interface behind it receives, and show the interface's
/// carrier. If another port has the interface's own address, the port keeps its address and
/// receives frames for both.
void show_on(Port& port, const GuestInterfaceState& now, bool always_promiscuous);

}  // namespace shmif::tap
