#pragma once
// How tap/netlink.hpp is done: the state of a session, and what the files of this folder share.
// Each of them has the functions of Netlink for one subject.

#include <netlink/addr.h>
#include <netlink/cache.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/route.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "tap/libnl.hpp"
#include "tap/netlink.hpp"

namespace shmif::tap {

using AddrPtr = std::unique_ptr<rtnl_addr, NlDeleter<rtnl_addr_put>>;
using RoutePtr = std::unique_ptr<rtnl_route, NlDeleter<rtnl_route_put>>;
using CachePtr = std::unique_ptr<nl_cache, NlDeleter<nl_cache_free>>;
using NlAddrPtr = std::unique_ptr<nl_addr, NlDeleter<nl_addr_put>>;

/// Converts libnl's own error numbers back to the kernel's errno. Threads: any. Blocks: never; so
/// do all functions here.
int errno_of(int nl_error);
/// An Error that says what failed, why, and what to do about it if that is known.
Error libnl_failure(int nl_error, const std::string& what);
Error bad_interface_name(std::string_view name);
Error netlink_out_of_memory();
/// Result: null if there is no memory.
NlAddrPtr to_nl(const IpAddress& a, unsigned prefix);

/// Threads: one at a time. Blocks: for the kernel's answer.
struct Netlink::Impl {
  NlSocketPtr socket;
  UniqueFd control;
  UniqueFd own_namespace;  ///< tells whether /proc/sys/net shows this session's namespace

  /// Asks the kernel for one interface.
  Result<NlLinkPtr> get(const std::string& name) const;

  /// Looks up the interface, lets `edit` fill in the changes, and sends them.
  template <class Edit>
  Result<void> change(const std::string& name, const std::string& what, Edit edit) {
    auto link = get(name);
    if (!link) return Error(link.error().code, what + ": " + link.error().message);
    const NlLinkPtr changes(rtnl_link_alloc());
    if (!changes) return netlink_out_of_memory();
    rtnl_link_set_ifindex(changes.get(), rtnl_link_get_ifindex(link->get()));
    edit(changes.get());
    if (const int e = rtnl_link_change(socket.get(), link->get(), changes.get(), 0); e < 0) {
      return libnl_failure(e, what);
    }
    return {};
  }

  Result<void> set_flag(const std::string& name, const std::string& what, unsigned flag, bool on) {
    return change(name, what, [&](rtnl_link* l) {
      if (on) {
        rtnl_link_set_flags(l, flag);
      } else {
        rtnl_link_unset_flags(l, flag);
      }
    });
  }
};

}  // namespace shmif::tap
