#pragma once
// Owners of what libnl hands out. Internal to the layers that talk rtnetlink.

#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <netlink/socket.h>

#include <memory>

namespace shmif::tap {

/// Gives a pointer back by the function of libnl that is for it.
template <auto F>
struct NlDeleter {
  template <class T>
  void operator()(T* p) const noexcept {
    F(p);
  }
};
using NlSocketPtr = std::unique_ptr<nl_sock, NlDeleter<nl_socket_free>>;
using NlLinkPtr = std::unique_ptr<rtnl_link, NlDeleter<rtnl_link_put>>;

}  // namespace shmif::tap
