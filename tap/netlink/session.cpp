#include "tap/netlink/session.hpp"

#include <fcntl.h>
#include <linux/netlink.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace shmif::tap {

int errno_of(int nl_error) {
  static constexpr std::array<std::pair<int, int>, 15> kTable{{{NLE_EXIST, EEXIST},
                                                               {NLE_OBJ_NOTFOUND, ENOENT},
                                                               {NLE_NODEV, ENODEV},
                                                               {NLE_PERM, EPERM},
                                                               {NLE_NOACCESS, EACCES},
                                                               {NLE_BUSY, EBUSY},
                                                               {NLE_INVAL, EINVAL},
                                                               {NLE_NOMEM, ENOMEM},
                                                               {NLE_NOADDR, EADDRNOTAVAIL},
                                                               {NLE_OPNOTSUPP, EOPNOTSUPP},
                                                               {NLE_AF_NOSUPPORT, EAFNOSUPPORT},
                                                               {NLE_RANGE, ERANGE},
                                                               {NLE_AGAIN, EAGAIN},
                                                               {NLE_INTR, EINTR},
                                                               {NLE_BAD_SOCK, EBADF}}};
  const int wanted = std::abs(nl_error);
  for (const auto& [nle, number] : kTable) {
    if (nle == wanted) return number;
  }
  return EIO;
}

Error libnl_failure(int nl_error, const std::string& what) {
  const int number = errno_of(nl_error);
  const std::error_code code(number, std::generic_category());
  std::string why = number == EIO ? nl_geterror(nl_error) : code.message();
  if (number == EPERM || number == EACCES) {
    why += " (needs CAP_NET_ADMIN in this network namespace)";
  }
  return {code, what + ": " + why};
}

Error bad_interface_name(std::string_view name) {
  return {Errc::bad_argument, "\"" + std::string(name) +
                                  "\" is not a name for an interface: 1 to 15 characters without "
                                  "'/', ':', '%' and blanks"};
}

Error netlink_out_of_memory() {
  return Error::from_errno(ENOMEM, "netlink");
}

NlAddrPtr to_nl(const IpAddress& a, unsigned prefix) {
  NlAddrPtr p(nl_addr_build(a.family, a.bytes.data(), a.bits() / 8));
  if (p) nl_addr_set_prefixlen(p.get(), static_cast<int>(prefix));
  return p;
}

namespace {

/// Opens the two sockets of a session: rtnetlink, and one for ioctl.
Result<std::vector<UniqueFd>> open_sockets() {
  UniqueFd route(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  sockaddr_nl any{};
  any.nl_family = AF_NETLINK;
  if (!route || ::bind(route.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0) {
    return Error::from_errno(errno, "cannot open a netlink socket");
  }
  UniqueFd control(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!control) return Error::from_errno(errno, "cannot open a socket for interface requests");
  std::vector<UniqueFd> sockets;
  sockets.push_back(std::move(route));
  sockets.push_back(std::move(control));
  return sockets;
}

}  // namespace

Result<NlLinkPtr> Netlink::Impl::get(const std::string& name) const {
  if (!is_interface_name(name)) return bad_interface_name(name);
  rtnl_link* link = nullptr;
  if (const int e = rtnl_link_get_kernel(socket.get(), 0, name.c_str(), &link); e < 0) {
    // The kernel reports an unknown interface with different errors.
    const bool unknown = errno_of(e) == ENOENT || errno_of(e) == ENODEV || errno_of(e) == EINVAL;
    return libnl_failure(unknown ? NLE_NODEV : e, "no interface \"" + name + "\" here");
  }
  return NlLinkPtr(link);
}

Netlink::Netlink(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Netlink::Netlink(Netlink&&) noexcept = default;
Netlink& Netlink::operator=(Netlink&&) noexcept = default;
Netlink::~Netlink() = default;

Result<Netlink> Netlink::open() {
  auto here = NetNamespace::current();
  if (!here) return std::move(here).error();
  return open(*here);
}

Result<Netlink> Netlink::open(const NetNamespace& where) {
  auto sockets = where.is_current() ? open_sockets() : run_in(where, open_sockets);
  if (!sockets) return std::move(sockets).error();
  auto impl = std::make_unique<Impl>();
  impl->socket.reset(nl_socket_alloc());
  if (!impl->socket) return netlink_out_of_memory();
  const int fd = sockets->at(0).release();  // nl_socket_free closes it
  if (const int e = nl_socket_set_fd(impl->socket.get(), NETLINK_ROUTE, fd); e < 0) {
    ::close(fd);
    return libnl_failure(e, "cannot use a netlink socket");
  }
  believe_kernel_only(impl->socket.get());
  impl->control = std::move(sockets->at(1));
  impl->own_namespace.reset(::fcntl(where.descriptor(), F_DUPFD_CLOEXEC, 0));
  return Netlink(std::move(impl));
}

}  // namespace shmif::tap
