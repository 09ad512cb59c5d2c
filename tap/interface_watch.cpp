#include "tap/interface_watch.hpp"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>
#include <vector>

namespace shmif::tap {
namespace {

/// A socket that hears of every interface of the calling thread's namespace.
Result<std::vector<Descriptor>> open_events() {
  Descriptor events(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_LINK;
  if (!events ||
      ::bind(events.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return Error::from_errno(errno, "cannot listen for changes of interfaces");
  }
  std::vector<Descriptor> out;
  out.push_back(std::move(events));
  return out;
}

}  // namespace

Result<InterfaceWatch> InterfaceWatch::open(const NetNamespace& where, std::string interface) {
  auto netlink = Netlink::open(where);
  if (!netlink) return std::move(netlink).error();
  auto events = where.is_current() ? open_events() : run_in(where, open_events);
  if (!events) return std::move(events).error();
  return InterfaceWatch(std::move(*netlink), std::move(events->at(0)), std::move(interface));
}

Result<Interface> InterfaceWatch::read() {
  // What the messages say does not matter, nor whether some were lost (ENOBUFS): the interface
  // itself is asked. Bounded, in case interfaces change without end; the descriptor then stays
  // readable.
  std::array<char, 512> message{};
  for (int i = 0; i < 1000; ++i) {
    if (::recv(events_.get(), message.data(), message.size(), MSG_DONTWAIT) < 0 &&
        errno == EAGAIN) {
      break;
    }
  }
  return netlink_.interface(interface_);
}

}  // namespace shmif::tap
