#include "tap/guest/watch.hpp"

#include <linux/filter.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <initializer_list>
#include <optional>
#include <utility>

#include "tap/guest/link_news.hpp"

namespace shmif::tap {
namespace {

using Clock = std::chrono::steady_clock;

/// Lets only messages about interfaces pass, and about entries of their own lists. Messages about
/// neighbours come with all traffic, and would wake the watch.
bool leave_out_neighbours(int socket) {
  constexpr std::uint32_t kType = offsetof(nlmsghdr, nlmsg_type);
  constexpr std::uint32_t kFamily = NLMSG_HDRLEN + offsetof(ndmsg, ndm_family);
  constexpr std::uint32_t kFlags = NLMSG_HDRLEN + offsetof(ndmsg, ndm_flags);
  // A filter loads numbers in network byte order.
  const std::uint32_t is_new = htons(RTM_NEWNEIGH);
  const std::uint32_t is_gone = htons(RTM_DELNEIGH);
  std::array<sock_filter, 9> program{{
      BPF_STMT(BPF_LD | BPF_H | BPF_ABS, kType),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, is_new, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, is_gone, 0, 4),
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, kFamily),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_BRIDGE, 0, 3),
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, kFlags),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, NTF_SELF, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
      BPF_STMT(BPF_RET | BPF_K, 0),
  }};
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  return ::setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) == 0;
}

Result<UniqueFd> open_route_socket(unsigned groups) {
  UniqueFd s(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  if (s && (groups & RTMGRP_NEIGH) != 0 && !leave_out_neighbours(s.get()))
    groups &= ~unsigned{RTMGRP_NEIGH};
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  if (!s || ::bind(s.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return Error::from_errno(errno, "cannot watch the host's interfaces");
  return s;
}

Result<std::vector<UniqueFd>> open_route_sockets(std::initializer_list<unsigned> all_groups) {
  std::vector<UniqueFd> sockets;
  for (const unsigned groups : all_groups) {
    auto socket = open_route_socket(groups);
    if (!socket) return std::move(socket).error();
    sockets.push_back(*std::move(socket));
  }
  return sockets;
}

timespec to_timespec(Clock::time_point at) {
  const auto since = std::max(at.time_since_epoch(), Clock::duration(1));  // 0 would never come
  const auto whole = std::chrono::floor<std::chrono::seconds>(since);
  return {.tv_sec = whole.count(),
          .tv_nsec = std::chrono::duration_cast<std::chrono::nanoseconds>(since - whole).count()};
}

}  // namespace

Result<std::vector<UniqueFd>> open_abroad_sockets() {
  return open_route_sockets({0, 0});
}

Result<std::vector<UniqueFd>> open_watch_sockets() {
  return open_route_sockets({RTMGRP_LINK | RTMGRP_NEIGH, 0, 0, 0});
}

Result<std::vector<UniqueFd>> open_guest_watch_sockets() {
  return open_route_sockets(
      {RTMGRP_LINK | RTMGRP_NEIGH | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR, 0, 0, 0});
}

WatchSockets WatchSockets::take(std::vector<UniqueFd>& from) {
  return {.news = std::move(from.at(0)),
          .questions = std::move(from.at(1)),
          .abroad_news = std::move(from.at(2)),
          .abroad_questions = std::move(from.at(3))};
}

struct GuestWatch::Impl {
  struct Link {
    WatchedLink is;
    OurEnd end{};
    Place place{};           ///< `is.index` is its number at home
    bool is_abroad = false;  ///< it is in another namespace, at `place`
    bool left = false;       ///< must be found again
    bool is_hidden = false;  ///< it exists, but we may not look there
    LinkNews now{};
    bool is_known = false;  ///< we have heard of it
    std::vector<MacAddress> list{};
    bool list_is_long = false;  ///< more addresses than the port can keep
    GuestInterfaceState told{};

    bool is_home() const { return !is_abroad && !is_hidden; }
  };

  UniqueFd news;
  UniqueFd timer;
  UniqueFd events;  ///< an epoll of all that is readable
  InterfaceQuestions questions{UniqueFd()};
  std::optional<Abroad> abroad;
  WatchPace pace;
  std::vector<Link> links;
  InterfaceStack stack;  ///< the interfaces on top of ours
  Clock::time_point asked_at = Clock::now();
  Clock::time_point may_ask_at;  ///< no question before this time
  Clock::time_point busy_until;
  std::optional<Clock::time_point> timer_at;  ///< when the timer fires, if it is set
  bool wants_answer = false;                  ///< ask as soon as `may_ask_at` allows
  GuestAddresses heard_addresses;

  Link* find(unsigned index) {
    const auto it = std::ranges::find_if(
        links, [index](const Link& l) { return l.is.index == index && l.is_home() && !l.left; });
    return it == links.end() ? nullptr : &*it;
  }

  /// Whether news of an interface that is not ours can mean that a list of ours has changed.
  bool concerns_us(const LinkNews& other) {
    return stack.take(other, [this](unsigned index) {
      return std::ranges::any_of(links, [index](const Link& l) {
        return l.is_home() && !l.left && (l.is.index == index || l.now.master == index);
      });
    });
  }

  void take(const LinkNewsBatch& batch) {
    wants_answer = wants_answer || batch.lists;
    heard_addresses.added.insert(heard_addresses.added.end(), batch.addresses.begin(),
                                 batch.addresses.end());
    for (const LinkNews& each : batch.links) {
      Link* const link = find(each.index);
      if (link == nullptr) {
        if (!concerns_us(each)) continue;
        wants_answer = true;
        busy_until = Clock::now() + pace.busy_for;
      } else {
        take(*link, each);
      }
    }
  }

  void take(Link& link, const LinkNews& now) {
    if (now.gone) {
      link.left = wants_answer = true;
      return;
    }
    note(link, now);
    // Do not ask if the count says that the list is empty.
    wants_answer =
        wants_answer || (!link.is_abroad && (now.promiscuity > link.is.own || has_addresses(link)));
  }

  static bool has_addresses(const Link& link) { return !link.list.empty() || link.list_is_long; }

  static void note(Link& link, const LinkNews& now) {
    link.now = now;
    link.is_known = true;
  }

  std::optional<LinkNews> state_now(const Link& link) {
    if (link.is_hidden) return std::nullopt;
    return link.is_abroad ? abroad->link(link.place) : questions.link(link.is.index);
  }

  void look_for(Link& link) {
    const Abroad::Found found = abroad->find(link.end);
    link.left = false;
    if (found.where == Abroad::Where::gone) return;  // the owner of our end learns that
    link.is_abroad = found.where == Abroad::Where::abroad;
    link.is_hidden = found.where == Abroad::Where::unknown;
    link.place = found.place;
    if (link.is_abroad) abroad->listen(true);  // before the next question
    if (!link.is_home()) link.is.own = 0;      // it has left our bridge
    if (found.where == Abroad::Where::here) link.is.index = found.place.index;
  }

  void ask_state(Link& link) {
    if (link.left || link.is_hidden) look_for(link);
    std::optional<LinkNews> now = state_now(link);
    if (!now && !link.is_hidden) {  // it has gone meanwhile
      look_for(link);
      now = state_now(link);
      link.is_hidden = link.is_hidden || (link.is_abroad && !now);
    }
    if (now) note(link, *now);
  }

  void ask_list(Link& link) {
    const auto list =
        link.is_home() ? questions.unicast_list(link.is.index) : std::optional<UnicastList>();
    // Without an answer, the count alone decides. The port then receives too many frames rather
    // than too few.
    link.list = list ? list->macs : std::vector<MacAddress>();
    link.list_is_long = list && (!list->ended || list->macs.size() > UnicastList::kMaxMacs);
    if (link.list_is_long) link.list.clear();
    std::ranges::sort(link.list);
  }

  void ask() {
    for (Link& link : links) {
      ask_state(link);
      if (link.is.has_list) ask_list(link);
    }
    abroad->listen(std::ranges::any_of(links, [](const Link& l) { return l.is_abroad; }));
    wants_answer = false;
    asked_at = Clock::now();
    may_ask_at = asked_at + pace.least;
  }

  Clock::time_point next_question() const {
    Clock::time_point next = Clock::time_point::max();
    if (std::ranges::any_of(links, [](const Link& l) { return l.is.has_list || !l.is_home(); }))
      next = asked_at + (asked_at < busy_until ? pace.busy : pace.quiet);
    return wants_answer ? std::min(next, may_ask_at) : next;
  }

  void set_timer() {
    const Clock::time_point next = next_question();
    if (next == timer_at) return;
    timer_at = next;
    itimerspec at{};
    if (next != Clock::time_point::max()) at.it_value = to_timespec(next);
    (void)::timerfd_settime(timer.get(), TFD_TIMER_ABSTIME, &at, nullptr);
  }

  /// Reads one datagram of news. Result: false if there is none.
  bool read_news() {
    alignas(nlmsghdr) std::array<std::byte, 32768> buffer;  // the kernel sends no larger ones
    sockaddr_nl from{};
    socklen_t length = sizeof from;
    const ssize_t size = ::recvfrom(news.get(), buffer.data(), buffer.size(), 0,
                                    reinterpret_cast<sockaddr*>(&from), &length);
    if (size < 0 && errno == ENOBUFS) {  // lost messages
      wants_answer = true;
      heard_addresses.missed = true;
      return true;
    }
    if (size < 0) return errno == EINTR;
    // Root of the namespace may send to every netlink socket of the namespace.
    if (from.nl_pid != 0) return true;
    take(read_link_news(std::span(buffer).first(static_cast<std::size_t>(size))));
    return true;
  }

  /// The same as read_news(), for news from other namespaces.
  bool read_news_from_abroad() {
    LinkNewsBatch batch;
    int space = Place::kHere;
    if (!abroad->read(batch, space, wants_answer)) return false;
    for (const LinkNews& each : batch.links) {
      const auto it = std::ranges::find_if(links, [&](const Link& l) {
        return l.is_abroad && !l.left && l.place == Place{.space = space, .index = each.index};
      });
      if (it != links.end()) take(*it, each);
    }
    return true;
  }

  static GuestInterfaceState state_of(const Link& link, std::size_t number) {
    const unsigned explained = link.is.own + (has_addresses(link) ? 1 : 0);
    return {.interface = number,
            .promiscuous = link.list_is_long || link.is_hidden || link.now.promiscuity > explained,
            .carrier = link.is_hidden || link.now.carrier,
            .carrier_known = !link.is_hidden,
            .mtu = link.now.mtu,
            .mac = link.now.mac,
            .other_macs = link.list};
  }

  void tell(std::vector<GuestInterfaceState>& changes) {
    for (std::size_t i = 0; i < links.size(); ++i) {
      Link& link = links[i];
      GuestInterfaceState now = state_of(link, i);
      if (!link.is_known || now == link.told) continue;
      if (link.is.comes_up_later) continue;
      link.told = now;
      changes.push_back(std::move(now));
    }
  }
};

GuestWatch::GuestWatch(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GuestWatch::GuestWatch(GuestWatch&&) noexcept = default;
GuestWatch::~GuestWatch() = default;

Result<GuestWatch> GuestWatch::open(WatchSockets sockets, std::vector<WatchedLink> links,
                                    const WatchPace& pace) {
  auto impl = std::make_unique<Impl>();
  impl->news = std::move(sockets.news);
  impl->questions = InterfaceQuestions(std::move(sockets.questions));
  impl->pace = pace;
  impl->abroad.emplace(impl->news.get(), std::move(sockets.abroad_news),
                       std::move(sockets.abroad_questions));
  impl->timer.reset(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  impl->events.reset(::epoll_create1(EPOLL_CLOEXEC));
  const std::string what = "cannot watch the host's interfaces";
  if (!impl->timer || !impl->events) return Error::from_errno(errno, what);
  for (const int each : {impl->news.get(), impl->timer.get(), impl->abroad->descriptor()}) {
    epoll_event event{};
    event.events = EPOLLIN;
    if (::epoll_ctl(impl->events.get(), EPOLL_CTL_ADD, each, &event) != 0)
      return Error::from_errno(errno, what);
  }
  for (std::size_t i = 0; i < links.size(); ++i) {
    Impl::Link& link =
        impl->links.emplace_back(Impl::Link{links[i], OurEnd(links[i].our_end, links[i].kind)});
    link.told.interface = i;
    // An interface that was there before may already have addresses in its list.
    impl->wants_answer = impl->wants_answer || (link.is.has_list && !link.is.comes_up_later);
    // If an interface was moved before we could receive news, look for it at once.
    if (link.is.index == 0 && link.is.our_end >= 0) link.left = impl->wants_answer = true;
  }
  impl->set_timer();
  return GuestWatch(std::move(impl));
}

int GuestWatch::descriptor() const noexcept {
  return impl_->events.get();
}

void GuestWatch::read(std::vector<GuestInterfaceState>& changes) {
  std::uint64_t expirations = 0;
  if (::read(impl_->timer.get(), &expirations, sizeof expirations) > 0) impl_->timer_at.reset();
  // Bounded: a guest that changes its interfaces without pause must not keep us here.
  for (int i = 0; i < 64 && impl_->read_news(); ++i) {
  }
  for (int i = 0; i < 64 && impl_->read_news_from_abroad(); ++i) {
  }
  if (Clock::now() >= impl_->next_question()) impl_->ask();
  impl_->set_timer();
  impl_->tell(changes);
}

void GuestWatch::come_up() noexcept {
  for (Impl::Link& link : impl_->links) link.is.comes_up_later = false;
}

GuestAddresses GuestWatch::take_addresses() {
  return std::exchange(impl_->heard_addresses, {});
}

void show_carrier_on(Port& port, const GuestInterfaceState& now) {
  static_cast<void>(now.carrier_known ? port.set_carrier(now.carrier) : port.set_carrier_unknown());
}

void show_on(Port& port, const GuestInterfaceState& now, bool always_promiscuous) {
  std::vector<MacAddress> others = now.other_macs;
  const bool has_another = !now.mac.is_zero() && now.mac != port.mac();
  if (has_another && port.set_mac(now.mac)) others.push_back(now.mac);
  static_cast<void>(port.set_other_macs(others));
  static_cast<void>(port.set_promiscuous(always_promiscuous || now.promiscuous));
  show_carrier_on(port, now);
}

}  // namespace shmif::tap
