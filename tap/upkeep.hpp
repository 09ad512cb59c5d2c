#pragma once
// Upkeep: puts back the addresses and default routes that we gave an interface, when the interface
// comes up again. When an interface goes down, the kernel removes its IPv6 addresses and its
// routes.

#include <functional>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "tap/cidr.hpp"
#include "tap/netlink.hpp"

namespace shmif::tap {

/// What was given to an interface, which is up.
struct GivenAddresses {
  unsigned index = 0;
  std::vector<Cidr> addresses{};
  std::vector<IpAddress> gateways{};
  bool optimistic = false;  ///< see Netlink::add_address()
};

/// Threads: one at a time. Blocks: read() waits for the kernel's answers (microseconds) if it puts
/// something back.
class Upkeep {
 public:
  /// A socket that receives news of interfaces, addresses and routes in the calling process's
  /// namespace.
  /// Errors: an errno.
  static Result<UniqueFd> open_socket();

  /// `socket`: from open_socket(). `session`: opens a Netlink session in the same namespace.
  Upkeep(UniqueFd socket, std::function<Result<Netlink>()> session,
         std::vector<GivenAddresses> given);

  int descriptor() const noexcept { return socket_.get(); }
  /// Reads what has happened. If somebody removed an address or the default route of an interface
  /// that was up, it is not put back any more. An interface that was deleted or has left the
  /// namespace gets nothing back: in its new namespace it has no addresses either. If something
  /// cannot be put back, that is tried again when the interface comes up again.
  void read();

 private:
  struct Address {
    Cidr cidr;
    bool lost = false;
  };
  struct Interface {
    unsigned index;
    std::vector<Address> addresses;
    std::vector<IpAddress> gateways;
    bool optimistic;
    bool up = true;
  };
  void take(std::span<const std::byte> datagram);
  void note_link(unsigned index, bool up);
  void note_removal(unsigned index, const Cidr& cidr);
  void note_removal(unsigned index, const IpAddress& gateway);
  void put_back(Interface& interface) const;

  UniqueFd socket_;
  std::function<Result<Netlink>()> session_;
  std::vector<Interface> all_;
};

}  // namespace shmif::tap
