#pragma once
// The interfaces of a guest, made from inside its network namespace. Internal to tap/guest.

#include <memory>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "tap/guest/guest.hpp"
#include "tap/upkeep.hpp"

namespace shmif::tap {

struct GuestEnd {
  LinkKind kind = LinkKind::tap;
  UniqueFd descriptor;  ///< for the program that serves the far end
  MacAddress mac;       ///< zero if it comes later
  unsigned index = 0;
};

/// The interfaces of a guest. Threads: one at a time. Errors: not_supported, or an errno.
class GuestNet {
 public:
  /// Makes every interface of the options, which must outlive this, in the calling process's
  /// network namespace. If a veth pair needs a second namespace, the process leaves its own and
  /// returns to it. Afterwards the interfaces are up, have carrier, addresses and routes, and
  /// loopback is up. Interfaces whose MAC address comes later have addresses, but are down.
  static Result<GuestNet> make(const GuestOptions& options);
  GuestNet(GuestNet&&) noexcept;
  GuestNet& operator=(GuestNet&&) = delete;
  ~GuestNet();

  std::vector<GuestEnd>& ends() noexcept;  ///< one for each interface
  /// The four sockets for a watch on the interfaces. Errors: an errno.
  Result<std::vector<UniqueFd>> open_watch() const;
  /// Gives these addresses to the interfaces that wait for an address, and sets them up.
  Result<void> set_up(std::span<const MacAddress> macs);
  /// What the interfaces were given. Call it when all of them are up.
  Result<std::vector<GivenAddresses>> given() const;

 private:
  struct Impl;
  explicit GuestNet(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::tap
