// AnyLink passes every call and every answer on, and what a Link's answers mean.

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "shmif/link.hpp"

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

}  // namespace
}  // namespace shmif::test
