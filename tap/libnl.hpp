#pragma once
// Owners of libnl's objects. Internal to the layers that use rtnetlink.

#include <netlink/errno.h>
#include <netlink/handlers.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <netlink/socket.h>

#include <cstdlib>
#include <memory>

namespace shmif::tap {

/// Frees a pointer with libnl's function for its type.
template <auto F>
struct NlDeleter {
  template <class T>
  void operator()(T* p) const noexcept {
    F(p);
  }
};
using NlSocketPtr = std::unique_ptr<nl_sock, NlDeleter<nl_socket_free>>;
using NlLinkPtr = std::unique_ptr<rtnl_link, NlDeleter<rtnl_link_put>>;

/// nl_recv(), but skips messages that do not come from the kernel. Root in a network namespace may
/// send to every netlink socket of that namespace, also to a socket that a process outside holds.
inline int receive_from_kernel(nl_sock* socket, sockaddr_nl* from, unsigned char** buffer,
                               ucred** credentials) {
  for (int i = 0; i < 4096; ++i) {  // bounded: somebody may forge messages without pause
    const int size = ::nl_recv(socket, from, buffer, credentials);
    if (size <= 0 || from->nl_pid == 0) return size;
    std::free(*buffer);
    *buffer = nullptr;
    if (credentials != nullptr) {
      std::free(*credentials);
      *credentials = nullptr;
    }
  }
  return -NLE_AGAIN;
}

/// Makes the libnl functions that use these callbacks accept only messages from the kernel.
inline void believe_kernel_only(nl_cb* callbacks) {
  ::nl_cb_overwrite_recv(callbacks, receive_from_kernel);
}
inline void believe_kernel_only(nl_sock* socket) {
  nl_cb* const callbacks = ::nl_socket_get_cb(socket);  // a reference of our own
  believe_kernel_only(callbacks);
  ::nl_cb_put(callbacks);
}

}  // namespace shmif::tap
