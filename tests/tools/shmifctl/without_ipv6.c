// For LD_PRELOAD: a machine whose kernel has no IPv6. Addresses of IPv6 that a program gives an
// interface go to the kernel as addresses of a family for which it has no handler. It answers as it
// does for IPv6 with ipv6.disable=1 (net/core/rtnetlink.c).

#define _GNU_SOURCE
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

ssize_t sendmsg(int fd, const struct msghdr* message, int flags) {
  if (message->msg_iovlen == 1 && message->msg_namelen == sizeof(struct sockaddr_nl) &&
      message->msg_iov[0].iov_len >= NLMSG_LENGTH(sizeof(struct ifaddrmsg))) {
    struct nlmsghdr* const request = message->msg_iov[0].iov_base;
    struct ifaddrmsg* const address = NLMSG_DATA(request);
    if (request->nlmsg_type == RTM_NEWADDR && address->ifa_family == AF_INET6)
      address->ifa_family = AF_APPLETALK;
  }
  return syscall(SYS_sendmsg, fd, message, flags);
}
