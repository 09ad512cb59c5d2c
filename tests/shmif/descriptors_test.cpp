// The descriptors that the links keep: a program that is started inherits none of them, and none is
// left when the link has gone.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/fault_link.hpp"
#include "shmif/loopback_link.hpp"
#include "tests/shmif/capture/captures.hpp"
#include "tests/support/holdings.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

/// What a program that is started now would inherit.
std::set<int> inherited() {
  std::set<int> open_ones;
  for (int fd = 0; fd < 1024; ++fd) {
    const int flags = fcntl(fd, F_GETFD);
    if (flags >= 0 && (flags & FD_CLOEXEC) == 0) open_ones.insert(fd);
  }
  return open_ones;
}

TEST(Descriptors, OfEachLinkAreInheritedByNobodyAndCloseWithIt) {
  const TempBus bus;
  const TempDir dir;
  write_capture(dir.file("a.pcap"), {make_frame(60, 1)});
  using Held = std::shared_ptr<void>;
  const auto hold = [](auto link) -> Held {
    static_cast<void>(link.descriptor());
    return std::make_shared<decltype(link)>(std::move(link));
  };
  const std::vector<std::pair<const char*, std::function<Held()>>> links{
      {"port", [&] { return hold(port_on(bus.path())); }},
      {"follower", [&] { return hold(Follower::open(bus.path(), Start::now).value()); }},
      {"loopback", [&] { return hold(LoopbackLink::self().value()); }},
      {"cable", [&] { return hold(std::move(LoopbackLink::pair().value().second)); }},
      {"faults",
       [&] {
         auto inner = std::make_unique<LoopbackLink>(LoopbackLink::self().value());
         return hold(FaultLink::wrap(AnyLink(std::move(inner)), {}, {}).value());
       }},
      {"replay", [&] { return hold(PcapReader::open(dir.file("a.pcap"), {.speed = 1}).value()); }},
      {"pcap", [&] { return hold(PcapWriter::create(dir.file("b")).value()); }},
      {"pcapng", [&] { return hold(PcapngWriter::create(dir.file("c")).value()); }},
      {"bus", [&]() -> Held { return std::make_shared<Bus>(Bus::open(bus.path()).value()); }}};
  for (const auto& [name, make] : links) {
    SCOPED_TRACE(name);
    make().reset();  // what is made once for the process is there now
    const std::set<int> before = inherited();
    const Holdings held = without_heap(holdings(bus.path()));
    Held link = make();
    EXPECT_EQ(inherited(), before);
    link.reset();
    EXPECT_EQ(without_heap(holdings(bus.path())), held) << "it is left behind";
  }
}

TEST(Descriptors, OfStandardStreamsAreNotInheritedTwice) {
  const TempDir dir;
  write_capture(dir.file("a.pcap"), {make_frame(60, 1)});
  const UniqueFd in(open(dir.file("a.pcap").c_str(), O_RDONLY | O_CLOEXEC));
  const UniqueFd out(open(dir.file("b.pcap").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  std::set<int> before;
  std::set<int> meanwhile;
  std::set<int> after;
  {
    const InPlaceOf input(STDIN_FILENO, in.get());
    const InPlaceOf output(STDOUT_FILENO, out.get());
    before = inherited();
    {
      auto reader = PcapReader::open("-").value();
      auto writer = PcapWriter::create("-").value();
      meanwhile = inherited();
    }
    after = inherited();
  }
  EXPECT_EQ(meanwhile, before);
  EXPECT_EQ(after, before) << "the streams themselves stay open";
}

}  // namespace
}  // namespace shmif::test
