// AnyLink passes every call and every answer on, and what a Link's answers mean.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/bus.hpp"
#include "shmif/fault_link.hpp"
#include "shmif/link.hpp"
#include "shmif/loopback_link.hpp"
#include "shmif/port.hpp"
#include "tests/shmif/capture/captures.hpp"
#include "tests/shmif/link_conformance.hpp"
#include "tests/support/holdings.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

/// What was called, in order, and with what.
using Calls = std::vector<std::string>;

/// A link of which each member answers something of its own.
struct Answering {
  explicit Answering(Calls& into) : calls(into) {}
  Answering(const Answering&) = delete;
  Answering& operator=(const Answering&) = delete;
  ~Answering() { calls.emplace_back("gone"); }

  SendResult send(std::span<const FrameView> frames) noexcept {
    calls.push_back("send " + std::to_string(frames.size()));
    return {frames.size() - 1, Errc::frame_too_long};
  }
  ReceiveResult receive(FrameBatch& into) noexcept {
    calls.emplace_back("receive");
    const std::array<std::byte, 14> frame{};
    into.push(FrameView(frame.data(), frame.size()));
    return {into.size(), 17, Errc::corrupt};
  }
  int descriptor() noexcept { return 1234; }
  WaitHint prepare_wait() noexcept {
    calls.emplace_back("prepare_wait");
    return {ready, std::chrono::nanoseconds(4321)};
  }
  void finish_wait() noexcept { calls.emplace_back("finish_wait"); }
  std::size_t max_frame_bytes() noexcept { return 9022; }
  std::string address() { return "test:answering"; }

  Calls& calls;
  bool ready = false;
};

/// It also has what only some links have.
struct Patient : Answering {
  using Answering::Answering;
  SendResult try_send(std::span<const FrameView> frames) noexcept {
    calls.push_back("try_send " + std::to_string(frames.size()));
    return {frames.size() - 2, Errc::no_room};
  }
  std::chrono::nanoseconds patience() noexcept { return std::chrono::nanoseconds(5'000'001); }
  bool takes_offloads() noexcept { return true; }
  int room_descriptor() noexcept { return 4322; }
};

template <class L>
class EachAnyLink : public testing::Test {};
using AnsweringLinks = testing::Types<Answering, Patient>;
TYPED_TEST_SUITE(EachAnyLink, AnsweringLinks);

TYPED_TEST(EachAnyLink, PassesOnEveryCallAndEveryAnswer) {
  constexpr bool kIsPatient = std::is_same_v<TypeParam, Patient>;
  Calls calls;
  {
    auto link = std::make_unique<TypeParam>(calls);
    TypeParam& inside = *link;
    AnyLink any(std::move(link));
    const std::array<FrameView, 5> frames{};
    const SendResult sent = any.send(frames);
    EXPECT_EQ(sent.taken, kIsPatient ? 3U : 4U);
    EXPECT_EQ(sent.error, kIsPatient ? Errc::no_room : Errc::frame_too_long);
    FrameBatch batch;
    for (std::size_t n = 1; n < 3; ++n) {
      const ReceiveResult got = any.receive(batch);
      EXPECT_EQ(got.frames, n);
      EXPECT_EQ(got.lost, 17U);
      EXPECT_EQ(got.error, Errc::corrupt);
      EXPECT_EQ(batch.size(), n);
    }
    EXPECT_EQ(any.descriptor(), 1234);
    for (const bool ready : {true, false}) {
      inside.ready = ready;
      const WaitHint hint = any.prepare_wait();
      EXPECT_EQ(hint.ready, ready);
      EXPECT_EQ(hint.at_most, std::chrono::nanoseconds(4321));
      any.finish_wait();
    }
    EXPECT_EQ(any.patience(), std::chrono::nanoseconds(kIsPatient ? 5'000'001 : 0));
    EXPECT_EQ(any.takes_offloads(), kIsPatient);
    EXPECT_EQ(any.room_descriptor(), kIsPatient ? 4322 : -1);
    EXPECT_EQ(any.max_frame_bytes(), 9022U);
    EXPECT_EQ(any.address(), "test:answering");
    AnyLink moved(std::move(any));
    moved.finish_wait();
    EXPECT_NE(calls.back(), "gone");
  }
  EXPECT_EQ(calls,
            (Calls{kIsPatient ? "try_send 5" : "send 5", "receive", "receive", "prepare_wait",
                   "finish_wait", "prepare_wait", "finish_wait", "finish_wait", "gone"}));
}

TEST(LinkErrors, AreFinalWhereTheLinkCanNeverWorkAgainAndOnlyThere) {
  for (const Errc final : {Errc::link_ended, Errc::bus_lost, Errc::forked, Errc::not_linked}) {
    EXPECT_TRUE(is_final(final)) << make_error_code(final).message();
  }
  for (const Errc passing :
       {Errc::port_down, Errc::corrupt, Errc::no_room, Errc::interrupted, Errc::frame_too_long,
        Errc::frame_too_short, Errc::not_supported, Errc::bad_argument}) {
    EXPECT_FALSE(is_final(passing)) << make_error_code(passing).message();
  }
  EXPECT_FALSE(is_final({}));
  EXPECT_FALSE(is_final(std::make_error_code(std::errc::no_buffer_space)));
}

TEST(WaitHints, WithoutMoreSayThatNothingIsThereAndSetNoLimit) {
  EXPECT_FALSE(WaitHint{}.ready);
  EXPECT_EQ(WaitHint{}.at_most, std::chrono::nanoseconds::max());
}

// The conformance suite over the bus port.

template <std::uint32_t Mtu, std::uint64_t RingBytes>
class SizedBus {
 public:
  SizedBus() { Bus::create(path(), {.ring_bytes = RingBytes, .mtu = Mtu}).value(); }
  std::string path() const { return directory_.file("bus"); }

 private:
  TempDir directory_;
};

template <std::uint32_t Mtu, std::uint64_t RingBytes>
using PortRig = TwoPorts<SizedBus<Mtu, RingBytes>>;

/// A port behind AnyLink, as the bridge has it.
class AnyPortRig : public PortRig<1500, 4U << 20U> {
 public:
  AnyPortRig() : any_(std::make_unique<Port>(std::move(TwoPorts::link()))) {}
  AnyLink& link() { return any_; }
  std::size_t largest() { return any_.max_frame_bytes(); }

 private:
  AnyLink any_;
};

using PortRigs = testing::Types<PortRig<1500, 4U << 20U>, PortRig<1500, 64U << 10U>,
                                PortRig<65521, 4U << 20U>, AnyPortRig>;
INSTANTIATE_TYPED_TEST_SUITE_P(Port, LinkConformance, PortRigs);

TEST(AnyLink, OfAPortTellsItsPatienceAndWhatItCarriesAndNeverWaits) {
  constexpr std::chrono::seconds kPatience{1};
  const TempDir directory;
  const std::string small = directory.file("small");
  Bus::create(small, {.ring_bytes = 64U << 10U, .flow = Flow::pause, .patience = kPatience})
      .value();
  const std::string large = directory.file("large");
  Bus::create(large, {}).value();
  const auto linked_to = [](const std::string& path) {
    auto port = std::make_unique<Port>();
    port->attach(path).value();
    EXPECT_FALSE(port->up());
    return AnyLink(std::move(port));
  };
  AnyLink ethernet = linked_to(large);
  EXPECT_EQ(ethernet.patience(), std::chrono::nanoseconds(0));
  EXPECT_TRUE(ethernet.takes_offloads());
  AnyLink pausing = linked_to(small);
  EXPECT_EQ(pausing.patience(), kPatience);
  EXPECT_FALSE(pausing.takes_offloads());
  const AnyLink reads_nothing = linked_to(small);
  const std::vector<Bytes> frames{make_frame(1000, 1)};
  std::size_t sent = 0;
  SendResult last;
  while (sent < 200 && (last = pausing.send(views(frames))).taken == 1) ++sent;
  EXPECT_FALSE(last.error);
  EXPECT_LT(sent, 64U) << "it waited until it lost patience, and a bridge with it";
}

// The descriptors that the links keep: a program that is started inherits none of them, and none is
// left when the link has gone.

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
