#pragma once
// Watches which interfaces of a guest are promiscuous or down, and their MTU. Internal to tap/.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/unique_fd.hpp"
#include "tap/guest/guest.hpp"

namespace shmif::tap {

/// What a message of the kernel says about an interface.
struct LinkNews {
  unsigned index = 0;
  unsigned promiscuity = 0;  ///< see Interface::promiscuity
  bool carrier = false;      ///< up and with carrier
  std::uint32_t mtu = 0;
};
struct LinkNewsBatch {
  std::vector<LinkNews> news;
  bool incomplete = false;  ///< something was missed: ask for everything
};
/// Reads the rtnetlink messages of one datagram, and ignores malformed ones.
LinkNewsBatch read_link_news(std::span<const std::byte> datagram);

/// An interface to watch.
struct WatchedLink {
  unsigned index = 0;
  unsigned own = 0;             ///< a promiscuity up to this does not count: it is our own bridge's
  bool comes_up_later = false;  ///< what it is before it has carrier is no news
};

/// Listens on a socket of open_interface_watch() (tap/guest/net.hpp), from any namespace.
/// Threads: one at a time. Blocks: never.
class GuestWatch {
 public:
  /// `links`: the guest's interfaces, in order. They are assumed to be up and not promiscuous so
  /// far.
  static Result<GuestWatch> open(UniqueFd socket, std::vector<WatchedLink> links);
  GuestWatch(GuestWatch&&) noexcept;
  GuestWatch& operator=(GuestWatch&&) noexcept;
  ~GuestWatch();

  int descriptor() const noexcept;
  /// Reads what has come, and appends the states that changed.
  void read(std::vector<GuestInterfaceState>& changes);

 private:
  struct Impl;
  explicit GuestWatch(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::tap
