// What the caller of a guest asks for, and that each wish has its effect: the host name, the signal
// mask, early signals, descriptors, the time to end.

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "tap/netlink.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/holdings.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tap/guest/guest_rig.hpp"

namespace shmif::tap::test {
namespace {

constexpr int kNoNamespaces = 77;

/// Runs `body` in a guest of `options`, with `before` first, in the supervisor. Result: what it
/// returned; 77 where there are no namespaces.
int status_of(GuestOptions options, const std::function<int()>& body,
              const std::function<void()>& before = {}) {
  Supervised::Options o;
  o.guest = std::move(options);
  o.guest.body = body;
  o.before = before;
  Supervised guest(o);
  const int status = guest.finish();
  if (status != 0) std::fputs(guest.output().c_str(), stderr);
  return status;
}

void block_only(std::initializer_list<int> numbers) {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int number : numbers) ::sigaddset(&set, number);
  ::sigprocmask(SIG_SETMASK, &set, nullptr);
}

/// Takes signals that are blocked. Result: 0, or the number of the first one that did not come.
int take_each(std::initializer_list<int> numbers) {
  for (const int number : numbers) {
    sigset_t one;
    ::sigemptyset(&one);
    ::sigaddset(&one, number);
    const timespec patience{20, 0};
    if (::sigtimedwait(&one, nullptr, &patience) != number) return number;
  }
  return 0;
}

TEST(GuestOptions, EverySignalBeforeTheCommandStartsReachesItOnce) {
  Supervised::Options o;
  o.guest = guest_running({});
  o.before = [] { block_only({SIGUSR1, SIGUSR2, SIGTERM}); };  // as the command inherits it
  o.serve = [](Guest& guest) {
    for (const int number : {SIGUSR1, SIGUSR2}) {
      ::kill(::getpid(), number);
      guest.dispatch();
    }
    ::kill(::getpid(), SIGTERM);
  };
  o.guest.body = [] { return take_each({SIGUSR1, SIGUSR2, SIGTERM}); };
  Supervised guest(o);
  const int status = guest.finish();
  if (status == kNoNamespaces) GTEST_SKIP() << "no namespaces here: " << guest.output();
  EXPECT_EQ(status, 0) << "the number of the signal that did not come";
}

TEST(GuestOptions, SignalSendsTheCommandWhatItSays) {
  Supervised::Options o;
  o.guest = guest_running({});
  o.guest.forward_signals = false;
  o.before = [] { block_only({SIGUSR1, SIGTERM}); };
  o.guest.body = [] { return take_each({SIGUSR1, SIGTERM}); };
  o.serve = [](Guest& guest) {
    (void)guest.release();  // and once more by the rig, which init does not mind
    guest.signal(SIGUSR1);
    guest.signal(SIGTERM);
  };
  Supervised guest(o);
  const int status = guest.finish();
  if (status == kNoNamespaces) GTEST_SKIP() << "no namespaces here: " << guest.output();
  EXPECT_EQ(status, 0) << "the number of the signal that did not come";
}

TEST(GuestOptions, TheHostNameIsTheLastOneGivenAndHasAnAddressBesideThoseOfBefore) {
  const auto run = [](const std::string& first, const std::string& later) {
    auto o = guest_running({});
    o.hostname = first;
    o.forward_signals = false;
    const std::string hosts = contents("/etc/hosts");
    o.body = [=] {
      std::array<char, 65> name{};
      ::gethostname(name.data(), name.size());
      if (std::string(name.data()) != (later.empty() ? first : later)) return 1;
      const std::string now = contents("/etc/hosts");
      if (now == hosts && !later.empty()) return kNoNamespaces;  // no layer over /etc here
      return now == (later.empty() ? hosts : hosts + "127.0.1.1\t" + later + '\n') ? 0 : 2;
    };
    auto guest = Guest::start(o);
    if (!guest || !guest->release(later)) return kNoNamespaces;
    return guest->wait().status;
  };
  for (const auto& [first, later] : {std::pair{"named-first", ""}, std::pair{"", "named-later"},
                                     std::pair{"named-first", "named-later"}}) {
    const int status = shmif::test::Child([&] { return run(first, later); }).wait();
    if (status == kNoNamespaces) GTEST_SKIP() << "no namespaces here, or no layer over /etc";
    EXPECT_EQ(status, 0) << first << ", then " << later << ": 1 the name, 2 its address";
  }
}

TEST(GuestOptions, ABodyHasTheDescriptorsThatWereInheritedOnPurposeAndNoOther) {
  UniqueFd marked(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  UniqueFd deliberate(::open("/dev/null", O_RDONLY));  // NOLINT(android-cloexec-open)
  const int number = marked.get();
  const int kept = deliberate.get();
  const int status = status_of(guest_running({}), [=] {
    if (::fcntl(number, F_GETFD) >= 0) return 1;
    if (::fcntl(kept, F_GETFD) != 0) return 2;
    for (int fd = 3; fd < 256; ++fd) {
      if (const int flags = ::fcntl(fd, F_GETFD); flags >= 0 && (flags & FD_CLOEXEC) != 0) return 3;
    }
    return 0;
  });
  if (status == kNoNamespaces) GTEST_SKIP() << "no namespaces here";
  EXPECT_EQ(status, 0) << "1 a marked one is there, 2 the deliberate one is not, 3 one of ours";
}

TEST(GuestOptions, NothingOfAGuestReachesAProgramThatItsCallerRuns) {
  const int code = shmif::test::Child([] {
                     const auto before = shmif::test::handed_on();
                     auto o = guest_running({"true"});
                     o.interfaces.emplace_back();
                     o.interfaces.back().name = "tap1";
                     auto guest = Guest::start(o);
                     if (!guest) return kNoNamespaces;
                     if (shmif::test::handed_on() != before) {
                       for (const auto& each : shmif::test::handed_on()) {
                         std::fprintf(stderr, "%s\n", each.c_str());
                       }
                       return 1;
                     }
                     return guest->release() && guest->wait().status == 0 ? 0 : 2;
                   }).wait();
  if (code == kNoNamespaces) GTEST_SKIP() << "no namespaces here";
  EXPECT_EQ(code, 0) << "1 a descriptor is handed on, 2 the guest did not end as it should";
}

TEST(GuestOptions, OurEndOfEachVethPairHasItsMtuAndATagAndNoAddressThatSpeaksByItself) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: enters the namespace of our end";
  constexpr std::array<std::uint32_t, 3> kMtus{4321, 1400, 9000};
  auto o = guest_running({"true"}, Via::veth);
  o.forward_signals = false;
  for (const char* name : {"tap1", "tap2"}) o.interfaces.emplace_back().name = name;
  for (std::size_t i = 0; i < kMtus.size(); ++i) o.interfaces[i].mtu = kMtus[i];
  auto guest = Guest::start(o);
  if (!guest) GTEST_SKIP() << "no namespaces here: " << guest.error().message;
  const UniqueFd far(::ioctl(guest->links()[0].descriptor.get(), SIOCGSKNS));
  ASSERT_TRUE(far) << std::strerror(errno);
  const auto space = NetNamespace::by_path("/proc/self/fd/" + std::to_string(far.get()));
  ASSERT_TRUE(space) << space.error().message;
  const auto netlink = Netlink::open(*space);
  ASSERT_TRUE(netlink) << netlink.error().message;
  for (std::size_t i = 0; i < kMtus.size(); ++i) {
    EXPECT_EQ(guest->links()[i].mtu, kMtus[i]);
    const auto end = netlink->interface(o.interfaces[i].name);
    ASSERT_TRUE(end) << end.error().message;
    EXPECT_EQ(end->mtu, kMtus[i] + 4) << "with room for a VLAN tag";
    EXPECT_TRUE(end->has_carrier());
  }
  const auto all = netlink->interfaces();
  ASSERT_TRUE(all) << all.error().message;
  for (const AddressedInterface& each : *all) {
    EXPECT_TRUE(each.name == "lo" || each.addresses.empty()) << each.addresses[0].to_string();
  }
}

/// Neighbours know the host by this address before it has sent anything from another.
TEST(GuestOptions, TheLinkLocalAddressIsMadeOfTheMacThatWasAskedFor) {
  auto o = guest_running({}, Via::veth);
  o.interfaces[0].mac = MacAddress::parse("b2:a0:00:00:00:07");
  const int status = status_of(o, [] {
    std::ifstream addresses("/proc/net/if_inet6");
    if (!addresses) return kNoNamespaces;
    std::string found;
    for (std::string line; std::getline(addresses, line);) {
      if (line.find(" tap0") != std::string::npos) found += line.substr(0, line.find(' ')) + '\n';
    }
    std::fputs(found.c_str(), stderr);
    return found == "fe80000000000000b0a000fffe000007\n" ? 0 : 1;
  });
  if (status == kNoNamespaces) GTEST_SKIP() << "no namespaces here, or no IPv6";
  EXPECT_EQ(status, 0);
}

/// Whoever reads what the command writes must see its end when the command has closed it.
TEST(GuestOptions, NoDescriptorThatTheCommandInheritsStaysOpenBesideIt) {
  const int code =
      shmif::test::Child([] {
        std::array<int, 2> pipe{};
        std::array<int, 2> life{};
        if (::pipe2(pipe.data(), O_CLOEXEC) != 0 || ::pipe2(life.data(), O_CLOEXEC) != 0) {
          return 99;
        }
        // Numbers below, between and above those that the guest takes for itself.
        std::vector<int> ends;
        for (int fd = 0; fd < 120 || ends.size() % 2 == 0;) {
          fd = ::fcntl(pipe[1], F_DUPFD, 3);
          ends.push_back(fd);
        }
        for (std::size_t i = 1; i < ends.size() - 1; i += 2) ::close(ends[i]);
        ::close(pipe[1]);
        auto o = guest_running({});
        o.body = [] {
          ::close_range(3, ~0U, 0);
          for (;;) ::pause();  // until it is killed
          return 0;
        };
        auto guest = Guest::start(o);
        if (!guest) return kNoNamespaces;
        if (!guest->release()) return 98;
        for (std::size_t i = 0; i < ends.size(); i += 2) ::close(ends[i]);
        pollfd entry{pipe[0], POLLIN, 0};
        const int ready = ::poll(&entry, 1, static_cast<int>(kGenerousTime.count()));
        return ready == 1 && (entry.revents & POLLHUP) != 0 ? 0 : 1;
      }).wait();
  if (code == kNoNamespaces) GTEST_SKIP() << "no namespaces here";
  EXPECT_EQ(code, 0) << "1 it is open";
}

TEST(GuestOptions, WhatTheCommandLeftBehindIsCountedByItsKind) {
  // A copy of the shell under a name that is longer than the kernel keeps.
  const shmif::test::TempDir programs("/tmp");  // for /dev/shm may be mounted noexec
  ::chmod(programs.path().c_str(), 0755);
  const std::string long_named = programs.file("shell-of-more-than-15");
  std::filesystem::copy_file("/bin/sh", long_named);
  struct Case {
    std::string script;
    int daemons;
    int jobs;
  };
  // Each says through a FIFO of its own that it has a session of its own.
  const auto daemon = [](const std::string& fifo) {
    return "setsid sh -c 'echo > $0; exec sleep 601' " + fifo + " & read line < " + fifo + "; ";
  };
  const std::string one = daemon("$0/one");
  const std::string two = one + daemon("$0/two");
  const shmif::test::TempDir directory;
  for (const char* fifo : {"one", "two"}) {
    ASSERT_EQ(::mkfifo(directory.file(fifo).c_str(), 0600), 0);
  }
  for (const std::string& program : {std::string("sh"), long_named}) {
    for (const Case& each :
         {Case{"exit 0", 0, 0}, Case{"sleep 601 & exit 0", 0, 1},
          Case{"sleep 601 & sleep 601 & sleep 601 & exit 0", 0, 3},
          Case{one + "sleep 601 & exit 0", 1, 1}, Case{two + "sleep 601 & exit 0", 2, 1},
          Case{two + "sleep 601 & sleep 0; exit 0", 2, 0},
          Case{one + "sleep 601 & exit 3", 0, 0}}) {
      auto o = guest_running({program, "-c", each.script, directory.path()});
      o.forward_signals = false;
      auto guest = Guest::start(o);
      if (!guest && guest.error().code == make_error_code(Errc::not_supported)) {
        GTEST_SKIP() << "no namespaces here: " << guest.error().message;
      }
      ASSERT_TRUE(guest && guest->release());
      const GuestExit exit = guest->wait();
      EXPECT_EQ(exit.daemons, each.daemons) << program << ' ' << each.script;
      EXPECT_EQ(exit.jobs, each.jobs) << program << ' ' << each.script;
    }
  }
}

// Wishes for a guest that cannot be fulfilled: each is refused by name, before anything is made.

/// What is wrong with a host of these addresses and gateways, or "nothing". No host is made: the
/// caller has threads, and that is what Guest::start complains of last.
std::string wrong_with(const std::vector<const char*>& addresses,
                       const std::vector<const char*>& gateways) {
  auto o = guest_running({"true"});
  for (const char* each : addresses) o.interfaces[0].addresses.push_back(*Cidr::parse(each));
  for (const char* each : gateways) o.interfaces[0].gateways.push_back(*IpAddress::parse(each));
  const auto guest = Guest::start(o);
  if (guest) return "started";
  const std::string& message = guest.error().message;
  return message.find("threads") != std::string::npos ? "nothing" : message;
}

TEST(Guest, AGatewayIsTakenWhereItIsInOneOfTheNetworksToTheBit) {
  std::atomic<bool> over{false};
  std::jthread other([&] { over.wait(false); });
  struct Case {
    std::vector<const char*> addresses;
    const char* inside;
    const char* outside;
  };
  for (const Case& each :
       {Case{{"198.18.0.2/25"}, "198.18.0.126", "198.18.0.129"},
        Case{{"198.18.0.2/23"}, "198.18.1.1", "198.18.2.1"},
        Case{{"198.18.0.2/31"}, "198.18.0.3", "198.18.0.1"},
        Case{{"198.18.0.2/24", "198.19.0.2/24"}, "198.19.0.1", "198.17.0.1"},
        Case{{"fd00::2/65"}, "fd00::7fff:0:0:1", "fd00::8000:0:0:1"},
        Case{{"198.18.0.2/24"}, "198.18.0.1", "c612::1"}, Case{{}, "fe80::1", "fec0::1"},
        Case{{"198.18.0.2/24"}, "febf::1", "fe7f::1"}}) {
    EXPECT_EQ(wrong_with(each.addresses, {each.inside}), "nothing") << each.inside;
    const std::string why = wrong_with(each.addresses, {each.outside});
    EXPECT_NE(why.find("is not in any network"), std::string::npos) << each.outside << why;
    EXPECT_EQ(wrong_with(each.addresses, {each.inside, each.outside}), why) << "each is looked at";
  }
  EXPECT_EQ(wrong_with({"198.18.0.2/32"}, {"198.19.0.1"}), "nothing") << "where it is on the link";
  EXPECT_EQ(wrong_with({"fd00::2/128", "198.18.0.2/24"}, {"fd01::1"}), "nothing");
  EXPECT_NE(wrong_with({"fd00::2/128", "198.18.0.2/24"}, {"198.19.0.1"}), "nothing");
  EXPECT_EQ(wrong_with({"198.18.0.2/24", "198.18.0.2/25", "198.18.0.3/24"}, {}), "nothing");
  const std::string twice = wrong_with({"198.18.0.2/24", "198.18.0.3/24", "198.18.0.2/24"}, {});
  EXPECT_NE(twice.find("198.18.0.2/24 twice"), std::string::npos) << twice;
  over = true;
  over.notify_all();
}

TEST(Guest, ProcessWithThreadsIsRefused) {
  std::atomic<bool> over{false};
  std::thread other([&] { over.wait(false); });
  auto guest = Guest::start(guest_running({"true"}));
  over = true;
  over.notify_all();
  other.join();
  ASSERT_FALSE(guest);
  EXPECT_EQ(guest.error().code, make_error_code(Errc::bad_argument));
  EXPECT_NE(guest.error().message.find("threads"), std::string::npos);
}

/// Three interfaces, of which the last two are right alone.
GuestOptions with_three() {
  auto o = guest_running({"true"});
  for (const char* name : {"tap1", "tap2"}) o.interfaces.emplace_back().name = name;
  for (unsigned i = 0; i < 3; ++i) {
    const std::string network = "198.18." + std::to_string(i);
    o.interfaces[i].mac = MacAddress::parse("b2:a0:00:00:00:0" + std::to_string(i));
    o.interfaces[i].addresses = {Cidr::parse(network + ".2/24").value()};
    o.interfaces[i].gateways = {IpAddress::parse(network + ".1").value()};
  }
  return o;
}

TEST(Guest, WhatIsWrongWithAnyOfItsInterfacesIsSaid) {
  std::atomic<bool> over{false};
  std::jthread other([&] { over.wait(false); });  // see wrong_with()
  const auto why = [](const GuestOptions& o) {
    const auto guest = Guest::start(o);
    return guest ? std::string("started") : guest.error().message;
  };
  EXPECT_NE(why(with_three()).find("threads"), std::string::npos) << why(with_three());
  for (unsigned i = 0; i < 3; ++i) {
    const unsigned next = (i + 1) % 3;
    const std::string name = "tap" + std::to_string(i);
    auto o = with_three();
    o.interfaces[i].name = "a b";
    EXPECT_NE(why(o).find("\"a b\" is not a name"), std::string::npos) << why(o);
    o = with_three();
    o.interfaces[i].name = o.interfaces[next].name;
    EXPECT_NE(why(o).find("two interfaces named \"" + o.interfaces[next].name + '"'),
              std::string::npos)
        << why(o);
    const auto with_bridge = [&](const char* bridge, const std::vector<std::string>& taps) {
      auto wish = with_three();
      wish.interfaces[i].lan = GuestLan{.bridge = bridge, .taps = taps};
      return why(wish);
    };
    EXPECT_NE(with_bridge("lan0", {"a", "b"}).find("threads"), std::string::npos);
    for (const auto& [bridge, taps, twice] :
         {std::tuple(name.c_str(), std::vector<std::string>{"a"}, name),
          {"lan0", {"a", "lan0"}, "lan0"},
          {"lan0", {"a", "b", "a"}, "a"},
          {"lan0", {"a", o.interfaces[next].name}, o.interfaces[next].name}}) {
      const std::string said = with_bridge(bridge, taps);
      EXPECT_NE(said.find("two interfaces named \"" + twice + '"'), std::string::npos) << said;
    }
    EXPECT_NE(with_bridge("lan0", {"a", "b c"}).find("\"b c\" is not a name"), std::string::npos);
    o = with_three();
    o.interfaces[i].mac = MacAddress::parse("01:00:5e:00:00:01");
    EXPECT_NE(why(o).find('"' + name + "\" cannot have the MAC address 01:00:5e:00:00:01"),
              std::string::npos)
        << why(o);
    o = with_three();
    o.interfaces[i].addresses.push_back(o.interfaces[i].addresses[0]);
    EXPECT_NE(why(o).find('"' + name + "\" cannot have the address 198.18."), std::string::npos)
        << why(o);
    o = with_three();
    o.interfaces[i].gateways.push_back(o.interfaces[next].gateways[0]);  // of a neighbour's network
    EXPECT_NE(why(o).find("gateway " + o.interfaces[next].gateways[0].to_string() +
                          " is not in any network of interface \"" + name),
              std::string::npos)
        << why(o);
  }
  over = true;
  over.notify_all();
}

}  // namespace
}  // namespace shmif::tap::test
