#include "tap/guest_watch.hpp"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/rtnl.h>
#include <netlink/socket.h>

#include <utility>

namespace shmif::tap {

struct GuestWatch::Impl {
  ~Impl() { ::nl_socket_free(socket); }

  /// A message about an interface. The flag IFF_PROMISC only shows what an administrator set; the
  /// count shows packet sockets too.
  static int on_message(nl_msg* message, void* self) {
    nlmsghdr* const header = ::nlmsg_hdr(message);
    if (header->nlmsg_type != RTM_NEWLINK) return NL_OK;
    const nlattr* const count = ::nlmsg_find_attr(header, sizeof(ifinfomsg), IFLA_PROMISCUITY);
    if (!::nlmsg_valid_hdr(header, sizeof(ifinfomsg)) || count == nullptr) return NL_OK;
    const auto* const about = static_cast<const ifinfomsg*>(::nlmsg_data(header));
    static_cast<Impl*>(self)->note(static_cast<unsigned>(about->ifi_index),
                                   ::nla_get_u32(count) > 0);
    return NL_OK;
  }

  void note(unsigned index, bool now) {
    for (std::size_t i = 0; i < indices.size(); ++i) {
      if (indices[i] != index || on[i] == now) continue;
      on[i] = now;
      changes->push_back({i, now});
    }
  }

  nl_sock* socket = nullptr;
  std::vector<unsigned> indices;
  std::vector<bool> on;
  std::vector<GuestPromiscuity>* changes = nullptr;  ///< while reading
};

GuestWatch::GuestWatch(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GuestWatch::GuestWatch(GuestWatch&&) noexcept = default;
GuestWatch& GuestWatch::operator=(GuestWatch&&) noexcept = default;
GuestWatch::~GuestWatch() = default;

Result<GuestWatch> GuestWatch::open(UniqueFd socket, std::vector<unsigned> indices) {
  auto impl = std::make_unique<Impl>();
  impl->socket = ::nl_socket_alloc();
  if (impl->socket == nullptr) return Error::from_errno(ENOMEM, "netlink");
  const int fd = socket.release();
  if (const int e = ::nl_socket_set_fd(impl->socket, NETLINK_ROUTE, fd); e < 0) {
    ::close(fd);
    return Error::from_errno(
        EIO, std::string("cannot watch the guest's interfaces: ") + ::nl_geterror(e));
  }
  ::nl_socket_set_nonblocking(impl->socket);
  // News come without having been asked for.
  ::nl_socket_disable_seq_check(impl->socket);
  ::nl_socket_modify_cb(impl->socket, NL_CB_VALID, NL_CB_CUSTOM, Impl::on_message, impl.get());
  impl->on.resize(indices.size());
  impl->indices = std::move(indices);
  return GuestWatch(std::move(impl));
}

int GuestWatch::descriptor() const noexcept {
  return ::nl_socket_get_fd(impl_->socket);
}

void GuestWatch::read(std::vector<GuestPromiscuity>& changes) {
  impl_->changes = &changes;
  // One call reads one datagram, or an answer to the end. Bounded, so that a guest which changes
  // its interfaces without pause does not keep us here.
  for (int i = 0; i < 64; ++i) {
    const int e = ::nl_recvmsgs_default(impl_->socket);
    if (e == -NLE_NOMEM || e == -NLE_DUMP_INTR) {
      // The socket overflowed, so something was missed: ask for everything.
      (void)::nl_rtgen_request(impl_->socket, RTM_GETLINK, AF_UNSPEC, NLM_F_DUMP);
      continue;
    }
    if (e < 0) break;
  }
  impl_->changes = nullptr;
}

}  // namespace shmif::tap
