#pragma once
// The conformance suite that every Link passes. A link's test writes a Rig, which builds the link
// and the other side of it, and instantiates the suite:
//
//   INSTANTIATE_TYPED_TEST_SUITE_P(Loopback, LinkConformance, testing::Types<LoopbackRig>);
//
// A Rig has:
//
//   static constexpr bool kSends;     // the link passes frames on
//   static constexpr bool kReceives;  // frames arrive at the link
//   static constexpr bool kLive;      // frames may be fed at any time; false: once, before link()
//   static constexpr bool kEnds;      // end() is possible
//   static std::string unavailable(); // why it cannot run on this machine; empty when it can
//   Rig();                            // may use ASSERT-like failures through exceptions
//   auto& link();                     // the Link under test
//   std::size_t largest();            // the longest untagged frame that crosses it
//   void feed(const std::vector<Bytes>& frames);  // lets them arrive at the link, in order
//   std::vector<Bytes> heard();       // what the link sent since the last call, in order
//   void end();                       // the device goes away, the peer closes, the file is read
//
// Members that the constants rule out are never called, but must compile; a promise that does not
// concern the link passes at once, and is not a skip. Other traffic, such as a kernel's neighbour
// discovery, may appear on both sides: the suite looks at its own frames only.

#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "shmif/link.hpp"
#include "shmif/port.hpp"
#include "tests/support/frames.hpp"

namespace shmif::test {

// The far end of a link, another of its kind, where the conformance suite feeds the link and hears
// what it sent.

template <Link L>
void feed_all(L& link, const std::vector<Bytes>& frames) {
  const SendResult r = link.send(views(frames));
  if (r.error || r.taken != frames.size()) throw std::runtime_error("cannot feed the link");
}

template <Link L>
std::vector<Bytes> hear_all(L& link, FrameBatch batch) {
  std::vector<Bytes> out;
  while (link.receive(batch).frames > 0) {
    for (const FrameView& f : batch.frames()) out.push_back(to_bytes(f));
    batch.clear();
  }
  return out;
}

template <Link L>
class FarEnd {
 public:
  explicit FarEnd(L link) : link_(std::move(link)) {}

  void feed(const std::vector<Bytes>& frames) { feed_all(*link_, frames); }
  std::vector<Bytes> heard() { return hear_all(*link_, FrameBatch()); }
  void end() { link_.reset(); }

 private:
  std::optional<L> link_;
};

/// Two ports of a bus: one is the link, the other feeds and hears it. `File` makes the bus, and has
/// its path().
template <class File>
class TwoPorts {
 public:
  static constexpr bool kSends = true, kReceives = true, kLive = true, kEnds = false;
  static std::string unavailable() { return {}; }

  TwoPorts() {
    for (Port* port : {&near_, &far_}) {
      port->attach(file_.path()).value();
      if (port->up()) throw std::runtime_error("a port does not go up");
    }
  }
  Port& link() { return near_; }
  std::size_t largest() { return near_.max_frame_bytes(); }
  void feed(const std::vector<Bytes>& frames) { feed_all(far_, frames); }
  std::vector<Bytes> heard() { return hear_all(far_, FrameBatch(64, 8U << 20U)); }
  void end() {}

 private:
  File file_;
  Port near_, far_;
};

/// Every size from 14 to 1600, then ever larger steps, and the three largest. The suite sends them
/// in small groups so that no queue overflows.
inline std::vector<std::size_t> sizes_up_to(std::size_t largest) {
  std::vector<std::size_t> sizes;
  for (std::size_t n = kEthernetHeaderBytes; n <= largest; n += n < 1600 ? 1 : 251) {
    sizes.push_back(n);
  }
  for (std::size_t back = 3; back-- > 0;) sizes.push_back(largest - back);
  return sizes;
}

/// The descriptors that this process has open, and those that a program would inherit.
struct Descriptors {
  Descriptors() {
    for (int fd = 0; fd < 1024; ++fd) {
      const int flags = ::fcntl(fd, F_GETFD);
      if (flags >= 0) all.insert(fd);
      if (flags >= 0 && (flags & FD_CLOEXEC) == 0) inherited.insert(fd);
    }
  }
  std::set<int> all, inherited;
};

inline std::size_t suite_frames(const FrameBatch& batch) {
  return static_cast<std::size_t>(std::ranges::count_if(batch.frames(), is_suite_frame));
}

template <class Rig>
class LinkConformance : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = Rig::unavailable(); !why.empty()) GTEST_SKIP() << why;
    rig_ = std::make_unique<Rig>();
  }
  Rig& rig() { return *rig_; }
  void drop_rig() { rig_.reset(); }
  auto& link() { return rig_->link(); }

  /// Sends all of it, reading the other side whenever the link is full. Result: what was heard.
  std::vector<Bytes> send_all(const std::vector<Bytes>& frames, bool some_may_be_dropped = false) {
    std::vector<Bytes> heard;
    const auto out = views(frames);
    std::size_t sent = 0;
    for (int refusals = 0; sent < out.size() && refusals < 1000;) {
      const SendResult r = link().send(std::span(out).subspan(sent));
      EXPECT_FALSE(r.error) << r.error.message();
      EXPECT_LE(r.taken, out.size() - sent);
      if (r.error) break;
      sent += r.taken;
      refusals = r.taken == 0 ? refusals + 1 : 0;
      std::ranges::move(rig().heard(), std::back_inserter(heard));
    }
    EXPECT_EQ(sent, out.size());
    // Nobody can tell what is dropped from what comes late: a second is long, and ten are longer.
    listen_until(heard, frames.size(), std::chrono::seconds(some_may_be_dropped ? 1 : 10));
    return heard;
  }

  /// Goes on listening for what is still under way inside a device: a busy kernel may take its time
  /// to pass it on.
  void listen_until(std::vector<Bytes>& heard, std::size_t count,
                    std::chrono::milliseconds patience = std::chrono::seconds(10)) {
    for (int quiet = 0; heard.size() < count && quiet < patience.count() / 5;) {
      const std::size_t before = heard.size();
      std::ranges::move(rig().heard(), std::back_inserter(heard));
      quiet = heard.size() == before ? quiet + 1 : 0;
      if (quiet > 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

 private:
  std::unique_ptr<Rig> rig_;
};

TYPED_TEST_SUITE_P(LinkConformance);

TYPED_TEST_P(LinkConformance, ReceivesEverySizeInOrderAndUnchanged) {
  if constexpr (TypeParam::kReceives) {
    std::vector<Bytes> frames;
    for (const std::size_t size : sizes_up_to(this->rig().largest())) {
      frames.push_back(make_frame(size, frames.size()));
    }
    if constexpr (TypeParam::kLive) {
      for (std::size_t at = 0; at < frames.size(); at += 8) {
        const std::vector<Bytes> group(
            frames.begin() + static_cast<std::ptrdiff_t>(at),
            frames.begin() + static_cast<std::ptrdiff_t>(std::min(at + 8, frames.size())));
        this->rig().feed(group);
        ASSERT_TRUE(same_frames(group, collect(this->link(), group.size()))) << "from " << at;
      }
    } else {
      this->rig().feed(frames);
      ASSERT_TRUE(same_frames(frames, collect(this->link(), frames.size())));
    }
  } else {
    SUCCEED() << "nothing arrives at this link";
  }
}

TYPED_TEST_P(LinkConformance, SendsEverySizeInOrderAndUnchanged) {
  if constexpr (TypeParam::kSends) {
    std::vector<Bytes> group;
    std::uint64_t seed = 0;
    const auto sizes = sizes_up_to(this->rig().largest());
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      group.push_back(make_frame(sizes[i], ++seed));
      if (group.size() < 8 && i + 1 < sizes.size()) continue;
      ASSERT_TRUE(same_frames(group, this->send_all(group))) << "up to size " << sizes[i];
      group.clear();
    }
  } else {
    SUCCEED() << "this link sends nothing";
  }
}

TYPED_TEST_P(LinkConformance, TakesABatchLargerThanItsQueueKeepingTheOrder) {
  if constexpr (TypeParam::kSends) {
    std::vector<Bytes> frames;
    for (std::uint64_t i = 0; i < 5000; ++i) frames.push_back(make_frame(60, i));
    const std::vector<Bytes> heard = this->send_all(frames, true);
    // A full link may drop, but never reorder or repeat: what was heard is a subsequence.
    auto from = frames.begin();
    for (const Bytes& f : heard) {
      from = std::find(from, frames.end(), f);
      ASSERT_NE(from, frames.end()) << "a frame out of order, changed or twice";
      ++from;
    }
    EXPECT_FALSE(heard.empty());
    const std::vector<Bytes> next{make_frame(100, 99)};
    EXPECT_TRUE(same_frames(next, this->send_all(next))) << "the link works on after a full queue";
  } else {
    SUCCEED() << "this link sends nothing";
  }
}

TYPED_TEST_P(LinkConformance, ReceiveAppendsToWhatTheBatchHolds) {
  if constexpr (TypeParam::kReceives) {
    const std::vector<Bytes> frames{make_frame(60, 1), make_frame(61, 2), make_frame(62, 3)};
    this->rig().feed(frames);
    FrameBatch batch;
    const Bytes already = make_frame(77, 7);
    std::memcpy(batch.room().data(), already.data(), already.size());
    batch.push(FrameView(already.data(), already.size()));
    while (batch.size() < 4) {
      const std::size_t before = batch.size();
      const ReceiveResult r = this->link().receive(batch);
      ASSERT_EQ(batch.size(), before + r.frames);
      ASSERT_FALSE(r.error) << r.error.message();
      if (r.frames == 0) {
        ASSERT_TRUE(wait_for(this->link(), std::chrono::seconds(20)));
      }
    }
    EXPECT_EQ(to_bytes(batch[0]), already);
    std::vector<Bytes> got;
    for (std::size_t i = 1; i < batch.size(); ++i) {
      if (is_suite_frame(batch[i])) got.push_back(to_bytes(batch[i]));
    }
    if (got.size() < frames.size()) {  // others' traffic came between
      std::ranges::move(collect(this->link(), frames.size() - got.size()), std::back_inserter(got));
    }
    EXPECT_TRUE(same_frames(frames, got));
  } else {
    SUCCEED() << "nothing arrives at this link";
  }
}

TYPED_TEST_P(LinkConformance, AFullBatchStopsTheReceiveAndLosesNothing) {
  if constexpr (TypeParam::kReceives) {
    std::vector<Bytes> frames;
    for (std::uint64_t i = 0; i < 20; ++i) frames.push_back(make_frame(60 + i, i));
    this->rig().feed(frames);
    std::vector<Bytes> got;
    FrameBatch batch(3);
    while (got.size() < frames.size()) {
      batch.clear();
      while (!batch.full()) {
        const ReceiveResult r = this->link().receive(batch);
        if (r.error) break;
        const bool all = got.size() + suite_frames(batch) >= frames.size();
        const std::chrono::milliseconds patience(all ? 200 : 20'000);
        if (r.frames == 0 && !wait_for(this->link(), patience)) break;
      }
      if (batch.empty()) break;
      ASSERT_LE(batch.size(), 3U);
      if (batch.full()) {
        const ReceiveResult r = this->link().receive(batch);
        ASSERT_EQ(r.frames, 0U);
        ASSERT_EQ(batch.size(), 3U);
        ASSERT_FALSE(r.error) << r.error.message();
      }
      for (const FrameView& f : batch.frames()) {
        if (is_suite_frame(f)) got.push_back(to_bytes(f));
      }
    }
    EXPECT_TRUE(same_frames(frames, got));
  } else {
    SUCCEED() << "nothing arrives at this link";
  }
}

TYPED_TEST_P(LinkConformance, ARoomThatIsTooSmallGivesATruncatedFrameWithItsTrueLength) {
  if constexpr (TypeParam::kReceives) {
    const std::vector<Bytes> frames{make_frame(200, 1), make_frame(60, 2), make_frame(300, 3)};
    this->rig().feed(frames);
    FrameBatch batch(8, 64);
    std::size_t next = 0;
    while (next < frames.size()) {
      batch.clear();
      const ReceiveResult r = this->link().receive(batch);
      ASSERT_FALSE(r.error) << r.error.message();
      if (r.frames == 0) {
        ASSERT_TRUE(wait_for(this->link(), std::chrono::seconds(20))) << "at frame " << next;
        continue;
      }
      for (const FrameView& f : batch.frames()) {
        if (!is_suite_frame(f)) continue;
        ASSERT_LT(next, frames.size());
        const Bytes& full = frames[next++];
        ASSERT_EQ(f.size(), std::min<std::size_t>(full.size(), 64));
        EXPECT_EQ(f.truncated(), full.size() > 64);
        if (f.truncated()) {
          EXPECT_EQ(f.true_bytes, full.size());
        }
        EXPECT_TRUE(std::ranges::equal(f.bytes, std::span(full).first(f.size())));
      }
    }
  } else {
    SUCCEED() << "nothing arrives at this link";
  }
}

TYPED_TEST_P(LinkConformance, ARoomThatHoldsNoHeaderGetsNothingAndTheFrameWaits) {
  if constexpr (TypeParam::kReceives) {
    const std::vector<Bytes> frames{make_frame(60, 1), make_frame(200, 2), make_frame(14, 3)};
    this->rig().feed(frames);
    for (const std::size_t room : {0U, 1U, 6U, 13U}) {
      ASSERT_TRUE(wait_for(this->link(), std::chrono::seconds(20))) << room;
      FrameBatch none(8, room);
      const ReceiveResult r = this->link().receive(none);
      EXPECT_EQ(r.frames, 0U) << room;
      EXPECT_EQ(none.size(), 0U) << room;
      EXPECT_EQ(r.lost, 0U) << room;
      EXPECT_FALSE(r.error) << room << ": " << r.error.message();
    }
    FrameBatch batch(8, kEthernetHeaderBytes);
    for (std::size_t next = 0; next < frames.size();) {
      batch.clear();
      const ReceiveResult r = this->link().receive(batch);
      ASSERT_FALSE(r.error) << r.error.message();
      if (r.frames == 0) {
        ASSERT_TRUE(wait_for(this->link(), std::chrono::seconds(20))) << "at frame " << next;
        continue;
      }
      ASSERT_EQ(batch.size(), 1U);
      if (!is_suite_frame(batch[0])) continue;
      const Bytes& full = frames[next++];
      EXPECT_EQ(to_bytes(batch[0]), Bytes(full.begin(), full.begin() + kEthernetHeaderBytes));
      EXPECT_EQ(batch[0].true_bytes, full.size() > kEthernetHeaderBytes ? full.size() : 0U);
    }
  } else {
    SUCCEED() << "nothing arrives at this link";
  }
}

TYPED_TEST_P(LinkConformance, AFrameThatDoesNotFitBehindOthersWaitsForTheNextBatch) {
  if constexpr (TypeParam::kReceives) {
    const std::vector<Bytes> frames{make_frame(1000, 1), make_frame(1000, 2), make_frame(1000, 3)};
    this->rig().feed(frames);
    FrameBatch batch(8, 1700);
    std::vector<Bytes> got;
    while (got.size() < frames.size()) {
      batch.clear();
      const ReceiveResult r = this->link().receive(batch);
      ASSERT_FALSE(r.error) << r.error.message();
      if (r.frames == 0) {
        ASSERT_TRUE(wait_for(this->link(), std::chrono::seconds(20))) << "at frame " << got.size();
      }
      for (const FrameView& f : batch.frames()) {
        EXPECT_FALSE(f.truncated());
        if (is_suite_frame(f)) got.push_back(to_bytes(f));
      }
    }
    EXPECT_TRUE(same_frames(frames, got));
  } else {
    SUCCEED() << "nothing arrives at this link";
  }
}

TYPED_TEST_P(LinkConformance, DoesNotReceiveItsOwnFrames) {
  if constexpr (TypeParam::kSends && TypeParam::kReceives && TypeParam::kLive) {
    const std::vector<Bytes> own{make_frame(60, 1), make_frame(61, 2)};
    ASSERT_TRUE(same_frames(own, this->send_all(own)));
    const std::vector<Bytes> others{make_frame(70, 3)};
    this->rig().feed(others);
    EXPECT_TRUE(same_frames(others, collect(this->link(), 1)));
  } else {
    SUCCEED() << "this link does not do both";
  }
}

TYPED_TEST_P(LinkConformance, WithNothingThereReceiveBringsNoFramesAndNoError) {
  if constexpr (!TypeParam::kReceives || TypeParam::kLive) {
    FrameBatch batch;
    ReceiveResult r;
    int others = 0;  // frames of the kernel, which may come at any time
    while ((r = this->link().receive(batch)).frames > 0 && ++others < 1000) batch.clear();
    EXPECT_EQ(r.frames, 0U);
    EXPECT_EQ(r.lost, 0U);
    EXPECT_FALSE(r.error) << r.error.message();
  } else {
    SUCCEED() << "there is always something, or the end";
  }
}

TYPED_TEST_P(LinkConformance, AWaiterWakesWhenAFrameArrives) {
  if constexpr (TypeParam::kReceives && TypeParam::kLive) {
    // Several rounds: a doorbell that is not rearmed, or rung only once, shows in the second.
    for (std::uint64_t round = 0; round < 5; ++round) {
      const std::vector<Bytes> frames{make_frame(60, round)};
      std::jthread feeder([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        this->rig().feed(frames);
      });
      ASSERT_TRUE(same_frames(frames, collect(this->link(), 1))) << "round " << round;
    }
  } else {
    SUCCEED() << "nothing arrives later at this link";
  }
}

TYPED_TEST_P(LinkConformance, AWaiterWakesWhenTheLinkEnds) {
  if constexpr (TypeParam::kReceives && TypeParam::kLive && TypeParam::kEnds) {
    (void)this->link();
    std::jthread ender([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      this->rig().end();
    });
    FrameBatch batch;
    ReceiveResult got;
    while (!(got = this->link().receive(batch)).error) {
      ASSERT_TRUE(got.frames != 0 || wait_for(this->link(), std::chrono::seconds(20)));
      batch.clear();
    }
    EXPECT_EQ(got.error, Errc::link_ended);
  } else {
    SUCCEED() << "nobody waits at this link, or it does not end by itself";
  }
}

TYPED_TEST_P(LinkConformance, PrepareWaitSeesWhatArrivedBeforeIt) {
  if constexpr (TypeParam::kReceives) {
    const std::vector<Bytes> frames{make_frame(60, 1)};
    this->rig().feed(frames);
    EXPECT_TRUE(wait_for(this->link(), std::chrono::seconds(20)));
    EXPECT_TRUE(same_frames(frames, collect(this->link(), 1)));
  } else {
    SUCCEED() << "nothing arrives at this link";
  }
}

TYPED_TEST_P(LinkConformance, RefusesFramesThatAreTooShortOrTooLongAndSaysWhich) {
  if constexpr (TypeParam::kSends) {
    const Bytes good = make_frame(60, 1);
    const Bytes header = make_frame(60, 2);
    const Bytes too_long = make_frame(this->link().max_frame_bytes() + 1, 3);
    const FrameView thirteen(header.data(), 13);

    std::vector<FrameView> batch{{good.data(), good.size()}, thirteen, {good.data(), good.size()}};
    SendResult r = this->link().send(batch);
    EXPECT_EQ(r.taken, 1U);
    EXPECT_EQ(r.error, Errc::frame_too_short);

    batch[1] = FrameView(too_long.data(), too_long.size());
    r = this->link().send(batch);
    EXPECT_EQ(r.taken, 1U);
    EXPECT_EQ(r.error, Errc::frame_too_long);

    r = this->link().send({});
    EXPECT_EQ(r.taken, 0U);
    EXPECT_FALSE(r.error) << r.error.message();

    std::vector<Bytes> heard;
    this->listen_until(heard, 2);
    EXPECT_TRUE(same_frames({good, good}, heard));
  } else {
    SUCCEED() << "this link sends nothing";
  }
}

TYPED_TEST_P(LinkConformance, CarriesVlanTaggedFramesUnchanged) {
  std::vector<Bytes> frames;
  for (const unsigned tags : {1U, 2U}) {
    for (const std::size_t size : {std::size_t{64}, this->rig().largest()}) {
      frames.push_back(make_frame(size, frames.size(), tags));
    }
  }
  if constexpr (TypeParam::kReceives) {
    this->rig().feed(frames);
    EXPECT_TRUE(same_frames(frames, collect(this->link(), frames.size())));
  }
  if constexpr (TypeParam::kSends) {
    EXPECT_TRUE(same_frames(frames, this->send_all(frames)));
  }
}

TYPED_TEST_P(LinkConformance, AnEndedLinkSaysSoForEver) {
  if constexpr (TypeParam::kEnds) {
    if constexpr (!TypeParam::kLive && TypeParam::kReceives) this->rig().feed({make_frame(60, 1)});
    (void)this->link();
    this->rig().end();
    FrameBatch batch;
    const Bytes frame = make_frame(60, 2);
    const FrameView view(frame.data(), frame.size());
    if constexpr (TypeParam::kReceives) {
      while (true) {  // what was queued before the end may still come
        batch.clear();
        const ReceiveResult r = this->link().receive(batch);
        if (r.error || (r.frames == 0 && !wait_for(this->link(), std::chrono::seconds(20)))) break;
      }
      for (int i = 0; i < 3; ++i) {
        batch.clear();
        const ReceiveResult r = this->link().receive(batch);
        EXPECT_EQ(r.frames, 0U);
        EXPECT_EQ(r.error, Errc::link_ended);
        EXPECT_TRUE(wait_for(this->link(), std::chrono::seconds(20))) << "a waiter would hang";
      }
    }
    if constexpr (TypeParam::kSends) {
      for (int i = 0; i < 3; ++i) {
        const SendResult r = this->link().send({&view, 1});
        EXPECT_EQ(r.taken, 0U);
        EXPECT_EQ(r.error, Errc::link_ended);
      }
    }
  } else {
    SUCCEED() << "this link does not end by itself";
  }
}

TYPED_TEST_P(LinkConformance, NobodyInheritsItsDescriptorsAndNoneIsLeftWhenItHasGone) {
  const auto open_link = [this] {
    if constexpr (!TypeParam::kLive && TypeParam::kReceives) this->rig().feed({make_frame(60, 1)});
    static_cast<void>(this->link().descriptor());
  };
  open_link();
  this->drop_rig();  // what is made once for the process is there now
  const Descriptors before;
  this->SetUp();
  open_link();
  EXPECT_EQ(Descriptors().inherited, before.inherited);
  this->drop_rig();
  EXPECT_EQ(Descriptors().all, before.all);
}

REGISTER_TYPED_TEST_SUITE_P(
    LinkConformance, ReceivesEverySizeInOrderAndUnchanged, SendsEverySizeInOrderAndUnchanged,
    TakesABatchLargerThanItsQueueKeepingTheOrder, ReceiveAppendsToWhatTheBatchHolds,
    AFullBatchStopsTheReceiveAndLosesNothing,
    ARoomThatIsTooSmallGivesATruncatedFrameWithItsTrueLength,
    ARoomThatHoldsNoHeaderGetsNothingAndTheFrameWaits,
    AFrameThatDoesNotFitBehindOthersWaitsForTheNextBatch, DoesNotReceiveItsOwnFrames,
    WithNothingThereReceiveBringsNoFramesAndNoError, AWaiterWakesWhenAFrameArrives,
    AWaiterWakesWhenTheLinkEnds, PrepareWaitSeesWhatArrivedBeforeIt,
    RefusesFramesThatAreTooShortOrTooLongAndSaysWhich, CarriesVlanTaggedFramesUnchanged,
    AnEndedLinkSaysSoForEver, NobodyInheritsItsDescriptorsAndNoneIsLeftWhenItHasGone);

}  // namespace shmif::test
