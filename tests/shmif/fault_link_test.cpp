#include "shmif/fault_link.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/loopback_link.hpp"
#include "shmif/port.hpp"
#include "tests/shmif/link_conformance.hpp"
#include "tests/support/frames.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

using namespace std::chrono_literals;

FaultLink wrap(LoopbackLink link, const FaultOptions& received, const FaultOptions& sent) {
  return FaultLink::wrap(AnyLink(std::make_unique<LoopbackLink>(std::move(link))), received, sent)
      .value();
}

/// The far end of a loopback, on which the suite feeds and listens.
template <int kDelayMs>
class FaultRig {
 public:
  static constexpr bool kSends = true, kReceives = true, kLive = true, kEnds = true;
  static std::string unavailable() { return {}; }

  FaultRig()
      : FaultRig(LoopbackLink::pair({.queue_frames = 64, .max_frame_bytes = 9022}).value()) {}
  FaultLink& link() { return link_; }
  std::size_t largest() { return link_.max_frame_bytes(); }
  void feed(const std::vector<Bytes>& frames) { far_.feed(frames); }
  std::vector<Bytes> heard() {
    static_cast<void>(link_.prepare_wait());  // what is due goes out
    link_.finish_wait();
    return far_.heard();
  }
  void end() { far_.end(); }

 private:
  explicit FaultRig(std::pair<LoopbackLink, LoopbackLink> ends)
      : link_(wrap(std::move(ends.first), faults(), faults())), far_(std::move(ends.second)) {}
  static FaultOptions faults() { return {.delay = std::chrono::milliseconds(kDelayMs)}; }
  FaultLink link_;
  FarEnd<LoopbackLink> far_;
};

INSTANTIATE_TYPED_TEST_SUITE_P(WithoutFaults, LinkConformance, testing::Types<FaultRig<0>>);
INSTANTIATE_TYPED_TEST_SUITE_P(WithDelay, LinkConformance, testing::Types<FaultRig<2>>);

struct Cable {
  explicit Cable(const FaultOptions& received, const FaultOptions& sent = {}) {
    auto [a, b] = LoopbackLink::pair().value();
    near.emplace(wrap(std::move(a), received, sent));
    far.emplace(std::move(b));
  }
  std::optional<FaultLink> near;
  std::optional<LoopbackLink> far;
};

TEST(FaultLink, IsAsPatientAsTheLinkWithinIt) {
  const TempBus bus(BusOptions{.flow = Flow::pause, .patience = 300ms});
  AnyLink port(std::make_unique<Port>(port_on(bus.path())));
  ASSERT_EQ(port.patience(), 300ms);
  AnyLink wrapped(std::make_unique<FaultLink>(FaultLink::wrap(std::move(port), {}, {}).value()));
  EXPECT_EQ(wrapped.patience(), 300ms);
}

TEST(FaultLink, EachDirectionHasItsOwnFaultsAndCounts) {
  Cable cable({.loss = 1}, {.duplicate = 1});
  const std::vector<Bytes> frames{make_frame(60, 1), make_frame(61, 2)};
  EXPECT_EQ(cable.near->send(views(frames)).taken, 2U);
  EXPECT_TRUE(same_frames({frames[0], frames[0], frames[1], frames[1]}, collect(*cable.far, 4)));
  EXPECT_EQ(cable.far->send(views(frames)).taken, 2U);
  FrameBatch batch;
  EXPECT_EQ(cable.near->receive(batch).frames, 0U);
  EXPECT_EQ(cable.near->sent().duplicated, 2U);
  EXPECT_EQ(cable.near->sent().lost, 0U);
  EXPECT_EQ(cable.near->received().lost, 2U);
  EXPECT_EQ(cable.near->received().frames, 2U);
  EXPECT_EQ(cable.near->under_way(), 0U);
}

TEST(FaultLink, FaultsAreChangedWhileItRunsForWhatComesFromThenOn) {
  Cable cable({}, {.delay = std::chrono::hours(1)});
  const std::vector<Bytes> frames{make_frame(60, 1), make_frame(61, 2)};
  EXPECT_EQ(cable.far->send(views(frames)).taken, 2U);
  EXPECT_TRUE(same_frames(frames, collect(*cable.near, 2)));
  EXPECT_EQ(cable.near->send(views(frames)).taken, 2U);

  cable.near->set_faults({.loss = 1}, {.duplicate = 1});
  EXPECT_EQ(cable.far->send(views(frames)).taken, 2U);
  FrameBatch batch;
  EXPECT_EQ(cable.near->receive(batch).frames, 0U);
  EXPECT_EQ(cable.near->received().lost, 2U);
  EXPECT_EQ(cable.near->received().frames, 4U) << "the counters go on";
  EXPECT_EQ(cable.near->under_way(), 2U) << "these keep their hour";
  EXPECT_EQ(cable.near->send(views(frames)).taken, 2U);
  EXPECT_EQ(cable.near->sent().duplicated, 2U);
  EXPECT_EQ(cable.near->under_way(), 6U) << "and are not overtaken";
  EXPECT_EQ(cable.near->to_receive(), 0U) << "all of them go out";

  cable.near->set_faults({}, {.duplicate = 1});
  EXPECT_EQ(cable.far->send(views(frames)).taken, 2U);
  EXPECT_TRUE(same_frames(frames, collect(*cable.near, 2)));
}

TEST(FaultLink, ItsDescriptorWakesWhenAFrameIsDueAndNotBefore) {
  Cable cable({.delay = 50ms});
  const std::vector<Bytes> frames{make_frame(60, 1)};
  ASSERT_EQ(cable.far->send(views(frames)).taken, 1U);
  FrameBatch batch;
  const auto sent = std::chrono::steady_clock::now();
  EXPECT_EQ(cable.near->receive(batch).frames, 0U);
  EXPECT_EQ(cable.near->under_way(), 1U);
  EXPECT_EQ(cable.near->to_receive(), 1U);
  for (int looks = 0; batch.empty(); ++looks) {
    ASSERT_LT(looks, 10) << "the descriptor wakes for nothing";
    const WaitHint hint = cable.near->prepare_wait();
    pollfd p{.fd = cable.near->descriptor(), .events = POLLIN, .revents = 0};
    if (!hint.ready) {
      EXPECT_EQ(poll(&p, 1, 30'000), 1) << "nothing woke it";
    }
    cable.near->finish_wait();
    EXPECT_FALSE(cable.near->receive(batch).error);
  }
  EXPECT_GE(std::chrono::steady_clock::now() - sent, 50ms);
}

TEST(FaultLink, WhatIsUnderWayWhenTheLinkEndsIsReceivedFirst) {
  Cable cable({.delay = 30ms});
  const std::vector<Bytes> frames{make_frame(60, 1), make_frame(70, 2)};
  ASSERT_EQ(cable.far->send(views(frames)).taken, 2U);
  FrameBatch batch;
  EXPECT_EQ(cable.near->receive(batch).frames, 0U);
  cable.far.reset();
  EXPECT_FALSE(cable.near->receive(batch).error) << "frames are still under way";
  EXPECT_TRUE(same_frames(frames, collect(*cable.near, 2)));
  EXPECT_EQ(cable.near->receive(batch).error, Errc::link_ended);
  EXPECT_EQ(cable.near->send(views(frames)).error, Errc::link_ended);
}

TEST(FaultLink, WhatIsUnderWayToTheLinkGoesOutWhenItIsDue) {
  Cable cable({}, {.delay = 20ms});
  const std::vector<Bytes> frames{make_frame(60, 1)};
  ASSERT_EQ(cable.near->send(views(frames)).taken, 1U);
  FrameBatch batch;
  EXPECT_EQ(cable.far->receive(batch).frames, 0U);
  while (cable.near->under_way() > 0) {
    const WaitHint hint = cable.near->prepare_wait();
    pollfd p{.fd = cable.near->descriptor(), .events = POLLIN, .revents = 0};
    if (!hint.ready && cable.near->under_way() > 0) {
      EXPECT_EQ(poll(&p, 1, 30'000), 1) << "nothing woke it";
    }
    cable.near->finish_wait();
  }
  EXPECT_TRUE(same_frames(frames, collect(*cable.far, 1)));
}

/// A loopback that, when told to, fails, takes no frames, or has a descriptor that is always
/// readable.
class Moody {
 public:
  struct Mood {
    std::error_code next_error;  ///< of the next receive() only
    bool takes_frames = true;
    std::size_t frames_until_end = SIZE_MAX;  ///< that it sends, and then it has ended
    int descriptor = -1;                      ///< instead of its own
    int waits_begun = 0, waits_ended = 0;     ///< what it was told
  };
  Moody(LoopbackLink link, Mood& mood) : link_(std::move(link)), mood_(mood) {}

  SendResult send(std::span<const FrameView> frames) noexcept {
    if (!mood_.takes_frames) return {};
    const std::size_t count = std::min(frames.size(), mood_.frames_until_end);
    const SendResult sent = link_.send(frames.first(count));
    mood_.frames_until_end -= sent.taken;
    if (sent.error || count == frames.size()) return sent;
    return {sent.taken, make_error_code(Errc::link_ended)};
  }
  ReceiveResult receive(FrameBatch& into) noexcept {
    if (mood_.next_error) return {0, 0, std::exchange(mood_.next_error, {})};
    return link_.receive(into);
  }
  int descriptor() noexcept {
    return mood_.descriptor >= 0 ? mood_.descriptor : link_.descriptor();
  }
  WaitHint prepare_wait() noexcept {
    ++mood_.waits_begun;
    return link_.prepare_wait();
  }
  void finish_wait() noexcept {
    ++mood_.waits_ended;
    link_.finish_wait();
  }
  std::size_t max_frame_bytes() noexcept { return link_.max_frame_bytes(); }
  std::string address() { return "moody:"; }

 private:
  LoopbackLink link_;
  Mood& mood_;
};

FaultLink wrap(LoopbackLink link, Moody::Mood& mood, const FaultOptions& received = {},
               const FaultOptions& sent = {}) {
  return FaultLink::wrap(AnyLink(std::make_unique<Moody>(std::move(link), mood)), received, sent)
      .value();
}

bool is_readable(FaultLink& link) {
  pollfd p{.fd = link.descriptor(), .events = POLLIN, .revents = 0};
  return poll(&p, 1, 0) == 1;
}

TEST(FaultLink, TellsOfAnErrorThatMayPassAndAsksAgain) {
  auto [near, far] = LoopbackLink::pair().value();
  Moody::Mood mood{.next_error = Errc::corrupt};
  FaultLink link = wrap(std::move(near), mood);
  const std::vector<Bytes> frames{make_frame(60, 1)};
  ASSERT_EQ(far.send(views(frames)).taken, 1U);
  FrameBatch batch;
  EXPECT_EQ(link.receive(batch).error, Errc::corrupt);
  const ReceiveResult next = link.receive(batch);
  EXPECT_FALSE(next.error) << next.error.message();
  EXPECT_EQ(next.frames, 1U);
}

TEST(FaultLink, ALinkThatHasEndedWakesNobodyWhoWaitsForWhatIsUnderWay) {
  const UniqueFd readable(eventfd(1, EFD_CLOEXEC));  // like a socket whose peer has closed
  auto [near, far] = LoopbackLink::pair().value();
  Moody::Mood mood{.next_error = {}, .descriptor = readable.get()};
  FaultLink link = wrap(std::move(near), mood, {.delay = std::chrono::hours(1)});
  const std::vector<Bytes> frames{make_frame(60, 1)};
  ASSERT_EQ(far.send(views(frames)).taken, 1U);
  FrameBatch batch;
  EXPECT_EQ(link.receive(batch).frames, 0U);
  pollfd p{.fd = link.descriptor(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&p, 1, 0), 1);
  mood.next_error = Errc::link_ended;
  EXPECT_FALSE(link.receive(batch).error) << "a frame is under way";
  EXPECT_FALSE(link.prepare_wait().ready);
  EXPECT_EQ(poll(&p, 1, 0), 0) << "whoever waits would turn round and round";
  link.finish_wait();
}

TEST(FaultLink, FramesThatALinkWillNeverTakeWakeNobody) {
  auto [near, far] = LoopbackLink::pair().value();
  Moody::Mood mood{.next_error = {}, .frames_until_end = 1};
  FaultLink link = wrap(std::move(near), mood, {}, {.delay = 1ms});
  const std::vector<Bytes> frames{make_frame(60, 1), make_frame(60, 2), make_frame(60, 3)};
  ASSERT_EQ(link.send(views(frames)).taken, 3U);
  pollfd p{.fd = link.descriptor(), .events = POLLIN, .revents = 0};
  while (!link.send({}).error) {  // they are not due yet
    static_cast<void>(link.prepare_wait());
    EXPECT_GE(poll(&p, 1, 10), 0);
    link.finish_wait();
  }
  EXPECT_EQ(link.under_way(), 2U);
  for (int round = 0; round < 2; ++round) {
    EXPECT_FALSE(link.prepare_wait().ready);
    EXPECT_FALSE(is_readable(link)) << "whoever waits would turn round and round";
    link.finish_wait();
  }
}

TEST(FaultLink, ALinkThatEndsWithinABatchTellsHowManyWentOut) {
  auto [near, far] = LoopbackLink::pair().value();
  Moody::Mood mood{.next_error = {}, .frames_until_end = 2};
  FaultLink link = wrap(std::move(near), mood);
  std::vector<Bytes> frames;
  for (std::uint64_t i = 0; i < 5; ++i) frames.push_back(make_frame(60, i));
  SendResult sent = link.send(views(frames));
  EXPECT_EQ(sent.taken, 2U);
  EXPECT_EQ(sent.error, Errc::link_ended);
  sent = link.send(views(frames));
  EXPECT_EQ(sent.taken, 0U);
  EXPECT_EQ(sent.error, Errc::link_ended);
  frames.resize(2);
  EXPECT_TRUE(same_frames(frames, collect(far, 2)));
}

TEST(FaultLink, ALongBatchDoesNotFillAShortQueue) {
  auto [near, far] = LoopbackLink::pair({.queue_frames = 1000}).value();
  FaultLink link = wrap(std::move(near), {}, {.queue_frames = 64});
  std::vector<Bytes> frames;
  for (std::uint64_t i = 0; i < 1000; ++i) frames.push_back(make_frame(60, i));
  EXPECT_EQ(link.send(views(frames)).taken, frames.size());
  EXPECT_EQ(link.sent().queue_full, 0U);
  EXPECT_TRUE(same_frames(frames, collect(far, frames.size())));
}

TEST(FaultLink, OffersFramesAgainSoonThatTheLinkDidNotTake) {
  auto [near, far] = LoopbackLink::pair().value();
  Moody::Mood mood{.next_error = {}, .takes_frames = false};
  FaultLink link = wrap(std::move(near), mood);
  const std::vector<Bytes> frames{make_frame(60, 1)};
  EXPECT_EQ(link.send(views(frames)).taken, 1U);
  EXPECT_LE(link.prepare_wait().at_most, 1ms) << "nothing else would wake it";
  link.finish_wait();
  mood.takes_frames = true;
  EXPECT_EQ(link.prepare_wait().at_most, std::chrono::nanoseconds::max());
  link.finish_wait();
  EXPECT_TRUE(same_frames(frames, collect(far, 1)));
}

TEST(FaultLink, TakesNoMoreThanItsQueueHoldsWhileTheLinkTakesNothing) {
  auto [near, far] = LoopbackLink::pair({.queue_frames = 1000}).value();
  Moody::Mood mood{.next_error = {}, .takes_frames = false};
  FaultLink link = wrap(std::move(near), mood, {}, {.queue_frames = 100});
  std::vector<Bytes> frames;
  for (std::uint64_t i = 0; i < 200; ++i) frames.push_back(make_frame(60, i));
  std::size_t taken = link.send(views(frames)).taken;
  EXPECT_GT(taken, 0U);
  EXPECT_LE(taken, 100U);
  EXPECT_EQ(link.send(views(frames)).taken, 0U);
  EXPECT_FALSE(link.prepare_wait().ready);
  EXPECT_FALSE(is_readable(link)) << "whoever waits would turn round and round";
  link.finish_wait();
  mood.takes_frames = true;
  const std::vector<FrameView> all = views(frames);
  while (taken < 200) taken += link.send(std::span(all).subspan(taken)).taken;
  EXPECT_EQ(link.sent().queue_full, 0U);
  EXPECT_TRUE(same_frames(frames, collect(far, frames.size())));
}

TEST(FaultLink, TellsTheLinkWhenAWaitBeginsAndWhenItEnds) {
  auto [near, far] = LoopbackLink::pair().value();
  Moody::Mood mood;
  FaultLink link = wrap(std::move(near), mood);
  const std::vector<Bytes> frames{make_frame(60, 1)};
  FrameBatch batch;
  for (int round = 1; round <= 3; ++round) {
    EXPECT_FALSE(link.prepare_wait().ready);
    EXPECT_EQ(mood.waits_begun, round);
    EXPECT_EQ(far.send(views(frames)).taken, 1U);
    EXPECT_TRUE(is_readable(link));
    link.finish_wait();
    EXPECT_EQ(mood.waits_ended, round);
    EXPECT_EQ(link.receive(batch).frames, 1U);
    EXPECT_FALSE(is_readable(link));
  }
  link.finish_wait();
  EXPECT_EQ(mood.waits_ended, 3) << "none had begun";
}

TEST(FaultLink, IsReadyWhenAFrameIsDueAndQuietWhenItHasGone) {
  const std::vector<Bytes> frames{make_frame(60, 1)};
  FrameBatch batch;
  Cable in({.delay = 1ms});
  ASSERT_EQ(in.far->send(views(frames)).taken, 1U);
  EXPECT_EQ(in.near->receive(batch).frames, 0U);
  std::this_thread::sleep_for(2ms);
  EXPECT_TRUE(in.near->prepare_wait().ready);
  in.near->finish_wait();

  Cable out({}, {.delay = 1ms});
  ASSERT_EQ(out.near->send(views(frames)).taken, 1U);
  (void)out.near->prepare_wait();  // sets the timer
  out.near->finish_wait();
  std::this_thread::sleep_for(2ms);
  EXPECT_EQ(out.near->receive(batch).frames, 0U);
  EXPECT_EQ(out.near->under_way(), 0U);
  EXPECT_FALSE(out.near->prepare_wait().ready);
  EXPECT_FALSE(is_readable(*out.near)) << "for a frame that has gone";
  out.near->finish_wait();
}

TEST(FaultLink, WhatTheLinkRefusesIsCountedAndTheRestGoesOn) {
  const TempBus bus;
  Port listener = port_on(bus.path());
  auto port = std::make_unique<Port>(port_on(bus.path()));
  Port* const raw = port.get();
  FaultLink link = FaultLink::wrap(AnyLink(std::move(port)), {}, {}).value();
  const std::vector<Bytes> frames{make_frame(60, 1), make_frame(61, 2)};
  ASSERT_FALSE(raw->down());
  EXPECT_EQ(link.send(views(frames)).taken, 2U) << "they are lost on the way";
  EXPECT_EQ(link.refused(), 2U);
  ASSERT_FALSE(raw->up());
  EXPECT_EQ(link.send(views(frames)).taken, 2U);
  EXPECT_EQ(link.refused(), 2U);
  EXPECT_TRUE(same_frames(frames, collect(listener, 2)));
  EXPECT_EQ(link.address(), "bus:" + bus.path());
}

/// A link whose receive() gives the test's answers, one for each call. After the last it has ended.
class Telling {
 public:
  explicit Telling(std::vector<ReceiveResult> answers) : answers_(std::move(answers)) {}
  SendResult send(std::span<const FrameView> frames) noexcept { return {frames.size(), {}}; }
  ReceiveResult receive(FrameBatch& into) noexcept {
    if (next_ == answers_.size()) return {0, 0, make_error_code(Errc::link_ended)};
    const ReceiveResult answer = answers_[next_++];
    for (std::size_t i = 0; i < answer.frames; ++i) into.push(FrameView(into.room().data(), 60));
    return answer;
  }
  int descriptor() noexcept { return -1; }
  WaitHint prepare_wait() noexcept { return {.ready = true}; }
  void finish_wait() noexcept {}
  std::size_t max_frame_bytes() noexcept { return kMaxFrameBytes; }
  std::string address() { return "telling:"; }

 private:
  std::vector<ReceiveResult> answers_;
  std::size_t next_ = 0;
};
static_assert(Link<Telling>);

/// What each call of a link with faults around that link returns, until the link has ended.
/// `answers`: for each call the frames that the inner link brings, how many it lost, and an error.
std::vector<ReceiveResult> told_through(const FaultOptions& faults,
                                        std::vector<ReceiveResult> answers) {
  FaultLink link =
      FaultLink::wrap(AnyLink(std::make_unique<Telling>(std::move(answers))), faults, {}).value();
  std::vector<ReceiveResult> told;
  while (told.empty() || told.back().error != Errc::link_ended) {
    FrameBatch batch;
    told.push_back(link.receive(batch));
  }
  return told;
}

TEST(FaultLink, WhatTheLinkLostItTellsOnOnceWithFramesAndWithout) {
  const std::vector<ReceiveResult> told = told_through({}, {{2, 5, {}}, {0, 7, {}}, {1, 0, {}}});
  ASSERT_EQ(told.size(), 4U);
  EXPECT_EQ(told[0].frames, 2U);
  EXPECT_EQ(told[0].lost, 5U);
  EXPECT_EQ(told[1].frames, 0U);
  EXPECT_EQ(told[1].lost, 7U);
  EXPECT_EQ(told[2].lost, 0U);
  EXPECT_EQ(told[3].lost, 0U);
}

TEST(FaultLink, AnErrorThatComesWhileFramesAreUnderWayIsToldOnceAfterThem) {
  const std::vector<ReceiveResult> told = told_through(
      {.delay = 5ms}, {{2, 0, {}}, {0, 0, make_error_code(Errc::corrupt)}, {1, 0, {}}});
  std::size_t frames = 0;
  std::size_t errors = 0;
  for (const ReceiveResult& each : told) {
    if (each.error == Errc::corrupt) {
      ++errors;
      EXPECT_EQ(frames, 2U) << "it came between the second and the third";
    }
    frames += each.frames;
  }
  EXPECT_EQ(frames, 3U);
  EXPECT_EQ(errors, 1U);
}

// Faults hit the frames that a wire would carry: the segments of a super-frame, with finished
// checksums.

/// A link that keeps what it is sent, and brings what the test gave it.
class Keeper {
 public:
  struct Kept {
    std::vector<FrameView> to_bring;
    std::vector<Bytes> sent;
    bool sent_work = false;  ///< a frame that was sent leaves work to its receiver
    std::size_t room = SIZE_MAX;
  };
  explicit Keeper(Kept& kept) : kept_(kept) {}
  SendResult send(std::span<const FrameView> frames) noexcept {
    std::size_t taken = 0;
    for (const FrameView& frame : frames) {
      if (kept_.room == 0) break;
      --kept_.room;
      ++taken;
      kept_.sent.push_back(to_bytes(frame));
      kept_.sent_work |= frame.offload.pending();
    }
    return {taken, {}};
  }
  ReceiveResult receive(FrameBatch& into) noexcept {
    ReceiveResult result;
    for (const FrameView& frame : std::exchange(kept_.to_bring, {})) {
      into.push_lent(frame);
      ++result.frames;
    }
    return result;
  }
  int descriptor() noexcept { return -1; }
  WaitHint prepare_wait() noexcept { return {.ready = true}; }
  void finish_wait() noexcept {}
  std::size_t max_frame_bytes() noexcept { return 1522; }
  std::string address() { return "keeper:"; }
  std::uint64_t bus_frames() noexcept { return 77; }

 private:
  Kept& kept_;
};
static_assert(Link<Keeper>);

FaultLink wrap(Keeper::Kept& kept, const FaultOptions& received, const FaultOptions& sent) {
  return FaultLink::wrap(AnyLink(std::make_unique<Keeper>(kept)), received, sent).value();
}

/// A super-frame of TCP with `segments` segments of 1,000 bytes.
struct SuperFrame {
  explicit SuperFrame(std::size_t segments, bool v6 = false)
      : shape{.v6 = v6}, bytes(build(shape, 1000 * segments, 1)), view(bytes.data(), bytes.size()) {
    view.offload = header_for(shape, 1000);
  }
  Shape shape;
  Bytes bytes;
  FrameView view;

  /// Whether this is segment number `index`, from 0.
  void expect_segment(const Bytes& frame, std::size_t index) const {
    SCOPED_TRACE(index);
    ASSERT_EQ(frame.size(), shape.payload() + 1000);
    EXPECT_TRUE(
        std::equal(frame.begin() + static_cast<std::ptrdiff_t>(shape.payload()), frame.end(),
                   bytes.begin() + static_cast<std::ptrdiff_t>(shape.payload() + 1000 * index)));
    EXPECT_TRUE(transport_checksum_holds(shape, frame));
    EXPECT_TRUE(header_checksum_holds(shape, frame));
  }
};

TEST(FaultLinkOffload, AFaultOfFramesThatAreSentHitsSegments) {
  for (const bool v6 : {false, true}) {
    SCOPED_TRACE(v6);
    Keeper::Kept kept;
    FaultLink link = wrap(kept, {}, parse_faults("drop=2,40").value());
    EXPECT_TRUE(AnyLink(std::make_unique<FaultLink>(wrap(kept, {}, {}))).takes_offloads());
    const SuperFrame super(50, v6);
    const SendResult sent = link.send({&super.view, 1});
    EXPECT_EQ(sent.taken, 1U) << "it is one frame";
    EXPECT_FALSE(sent.error);
    ASSERT_EQ(kept.sent.size(), 48U);
    EXPECT_FALSE(kept.sent_work);
    super.expect_segment(kept.sent[0], 0);
    super.expect_segment(kept.sent[1], 2);
    super.expect_segment(kept.sent[47], 49);
    EXPECT_EQ(link.sent().frames, 50U);
    EXPECT_EQ(link.sent().lost, 2U);
    EXPECT_EQ(link.segments_made(), 49U);
  }
}

TEST(FaultLinkOffload, AFaultOfFramesThatAreReceivedHitsSegments) {
  Keeper::Kept kept;
  FaultLink link = wrap(kept, parse_faults("drop=1").value(), {});
  SuperFrame super(45);
  super.view.number = 33;
  kept.to_bring = {super.view};
  FrameBatch batch;
  EXPECT_EQ(link.receive(batch).frames, 44U);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    EXPECT_FALSE(batch[i].offload.pending());
    EXPECT_EQ(batch[i].number, 33U);
    super.expect_segment(to_bytes(batch[i]), i + 1);
  }
}

TEST(FaultLinkOffload, AnUnfinishedChecksumIsFinishedBeforeABitIsChanged) {
  const Shape shape{.tcp = false};
  const Bytes bytes = build(shape, 200, 1);
  FrameView frame(bytes.data(), bytes.size());
  frame.offload = header_for(shape, 0);
  for (const bool corrupt : {false, true}) {
    Keeper::Kept kept;
    FaultLink link = wrap(kept, {}, {.corrupt = corrupt ? 1.0 : 0.0});
    EXPECT_EQ(link.send({&frame, 1}).taken, 1U);
    ASSERT_EQ(kept.sent.size(), 1U);
    EXPECT_FALSE(kept.sent_work);
    const bool whole =
        transport_checksum_holds(shape, kept.sent[0]) && header_checksum_holds(shape, kept.sent[0]);
    EXPECT_EQ(whole, !corrupt) << "nobody else would notice the changed bit";
  }
}

TEST(FaultLinkOffload, NoSuperFrameIsTakenWhileTheLinkTakesNothing) {
  Keeper::Kept kept;
  kept.room = 10;
  FaultLink link = wrap(kept, {}, {});
  const SuperFrame super(50);
  const std::vector<FrameView> three(3, super.view);
  EXPECT_EQ(link.send(three).taken, 1U) << "its segments wait in the link with faults";
  EXPECT_EQ(kept.sent.size(), 10U);
  EXPECT_EQ(link.send(std::span(three).subspan(1)).taken, 0U);
  kept.room = SIZE_MAX;
  EXPECT_EQ(link.send(std::span(three).subspan(1)).taken, 2U);
  ASSERT_EQ(kept.sent.size(), 150U);
  for (std::size_t i = 0; i < 150; ++i) super.expect_segment(kept.sent[i], i % 50);
}

TEST(FaultLinkOffload, WhatDoesNotMatchItsHeaderIsRefusedOrCountedAsLost) {
  Keeper::Kept kept;
  FaultLink link = wrap(kept, {}, {});
  SuperFrame nonsense(3);
  nonsense.view.offload.gso_size = 0;
  FrameView outside = nonsense.view;
  outside.offload = {};
  outside.bytes = outside.bytes.first(200);
  outside.offload.flags = Offload::kNeedsChecksum;
  outside.offload.csum_start = 199;
  outside.offload.csum_offset = 16;
  SuperFrame too_long(3);
  too_long.view.offload.gso_size = 1500;  // and the headers: more than the link takes
  for (const FrameView& frame : {nonsense.view, outside, too_long.view}) {
    const SendResult sent = link.send({&frame, 1});
    EXPECT_EQ(sent.taken, 0U);
    EXPECT_EQ(sent.error, Errc::bad_argument);
  }
  EXPECT_TRUE(kept.sent.empty());
  kept.to_bring = {nonsense.view, outside};
  FrameBatch batch;
  const ReceiveResult got = link.receive(batch);
  EXPECT_EQ(got.frames, 0U);
  EXPECT_EQ(got.lost, 2U);
}

TEST(FaultLinkOffload, TellsHowManyFramesTheBusOfTheWrappedLinkHas) {
  Keeper::Kept kept;
  AnyLink link(std::make_unique<FaultLink>(wrap(kept, {}, {})));
  EXPECT_EQ(link.bus_frames(), 77U);
}

TEST(FaultLinkChange, HurriedFramesOfAWayGoAtOnce) {
  Keeper::Kept kept;
  FaultLink link = wrap(kept, {.delay = std::chrono::hours(1)}, {.delay = std::chrono::hours(1)});
  const Bytes bytes = make_frame(100, 1);
  const FrameView frame(bytes.data(), bytes.size());
  kept.to_bring = {frame};
  FrameBatch batch;
  EXPECT_EQ(link.receive(batch).frames, 0U);
  EXPECT_EQ(link.send({&frame, 1}).taken, 1U);
  link.hurry(true, false);
  EXPECT_EQ(link.receive(batch).frames, 1U);
  EXPECT_TRUE(kept.sent.empty());
  link.hurry(false, true);
  EXPECT_EQ(link.receive(batch).frames, 0U);
  EXPECT_EQ(kept.sent.size(), 1U);
  kept.to_bring = {frame, frame};
  EXPECT_EQ(link.receive(batch).frames, 0U);
  EXPECT_EQ(link.send({&frame, 1}).taken, 1U);
  EXPECT_EQ(link.discard(), 3U);
  EXPECT_EQ(link.under_way(), 0U);
}

}  // namespace
}  // namespace shmif::test
