#pragma once
// Finds out from the kernel's routes which IPv4 addresses lead to many machines, without asking for
// each address.

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "tap/netlink.hpp"

namespace shmif::tap {

/// The routes of type broadcast and multicast, of all tables. A packet goes to many machines only
/// by one of these routes. So the kernel is asked only about addresses that such a route covers;
/// then its rules decide which table counts. If a host scans a network, the kernel need not be
/// asked.
///
/// The list is read once, and again after news of such a route; the kernel filters the news. If the
/// list cannot be read, or is too long, the kernel is asked about each address.
/// Threads: one at a time. Blocks: for the kernel's answers (microseconds; the list takes longer if
/// there are very many routes).
class ManyRoutes {
 public:
  /// In the calling thread's namespace. Errors: an errno.
  static Result<ManyRoutes> open();

  /// Whether packets for the address, as a number, go to many. A new route counts within 10 ms.
  /// Errors: as Netlink::leads_to_many().
  Result<bool> lead(std::uint32_t address);

 private:
  using Clock = std::chrono::steady_clock;
  struct Prefix {
    std::uint32_t first = 0;
    unsigned bits = 0;
  };
  ManyRoutes(Netlink netlink, UniqueFd news)
      : netlink_(std::move(netlink)), news_(std::move(news)) {}
  bool has_news() noexcept;
  bool read_list();
  bool read_type(int socket, std::uint8_t type, std::vector<Prefix>& all) const;
  bool may_lead(std::uint32_t address) const noexcept;

  Netlink netlink_;
  UniqueFd news_;
  Clock::time_point looked_at_ = Clock::time_point::min();
  Clock::time_point read_again_at_ = Clock::time_point::min();
  /// Empty if the list is not known.
  std::optional<std::vector<Prefix>> list_;
};

}  // namespace shmif::tap
