#pragma once
// What the tests that kill and stop take from the environment, and the figures they print.

#include <poll.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bus/atomics.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {

/// A number from the environment, for runs that are longer than those of every day.
inline std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

/// The seed of this run: SHMIF_SEED, else a fresh one. Printed, so that a run can be repeated.
inline std::uint64_t announced_seed() {
  static const std::uint64_t seed = from_environment("SHMIF_SEED", std::random_device()());
  std::printf("SHMIF_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

inline double milliseconds(std::chrono::nanoseconds t) {
  return static_cast<double>(t.count()) / 1e6;
}

/// Figures that a test prints and does not judge.
class Figures {
 public:
  void add(double value) { values_.push_back(value); }
  std::size_t count() const { return values_.size(); }
  double max() const { return values_.empty() ? 0 : *std::ranges::max_element(values_); }
  void print(const char* what, const char* unit) {
    std::ranges::sort(values_);
    const auto at = [&](double share) {
      return values_.empty() ? 0.0
                             : values_[static_cast<std::size_t>(
                                   share * static_cast<double>(values_.size() - 1))];
    };
    std::printf("%s: %zu, min %.3f p50 %.3f p99 %.3f max %.3f %s\n", what, values_.size(), at(0),
                at(0.5), at(0.99), at(1), unit);
  }

 private:
  std::vector<double> values_;
};

// A signal that hits a sender in the middle of a burst. The sender's own timer sends it, because
// another process would seldom hit so short a time.

/// Nanoseconds of the monotonic clock, which all processes share.
inline std::uint64_t now_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(t.tv_nsec);
}

/// Lies in memory that a test shares with a sender. The sender makes batches, and sends them in a
/// burst, by burst(). When the test has called set(), a timer in the sender's process sends it the
/// signal at a random moment of its next burst.
class Fuse {
 public:
  void set(int signal, std::mt19937_64& random) {
    signal_ = signal;
    fuse_ns_ = 1 + random() % std::clamp<std::uint64_t>(burst_ns_, 1000, 10'000'000);
  }
  template <class Send>
  void burst(Send send) {
    const std::uint64_t began = now_ns();
    light();
    send();
    burst_ns_ = now_ns() - began;
  }
  bool has_burst() const { return burst_ns_ != 0; }  ///< since the start, or since forget()
  std::uint64_t due_ns() const { return due_ns_; }   ///< when the signal is, or was, due
  void forget() {
    fuse_ns_ = 0;
    burst_ns_ = 0;
  }

 private:
  void light() {
    const std::uint64_t fuse = fuse_ns_.exchange(0);
    if (fuse == 0) return;
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = signal_;
    timer_t timer{};
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) throw std::runtime_error("no timer");
    due_ns_ = now_ns() + fuse;
    const itimerspec once{.it_interval = {}, .it_value = {0, static_cast<long>(fuse)}};
    timer_settime(timer, 0, &once, nullptr);
  }

  std::atomic<std::uint64_t> fuse_ns_{0};
  std::atomic<int> signal_{0};
  std::atomic<std::uint64_t> due_ns_{0};
  std::atomic<std::uint64_t> burst_ns_{0};  ///< how long the last burst took; 0: none yet
};

// Witnesses: surviving readers that check everything they hear, while other processes are killed
// and stopped. And the ledger, by which they know what may be missing.
//
// Every sender numbers its frames without gaps. A victim notes in the ledger, in memory shared with
// the test, how far it is about to send and how far its sends had returned. When it is dead, the
// test notes the difference as *open*: that one batch may be in the stream or not, whole or not at
// all. Every other number must be there, once, in order, unless the witness itself was overrun.

/// What one sender, through all its lives, has sent. Zero-initialised.
struct SenderLedger {
  static constexpr std::uint32_t kMax = 1U << 14U;
  struct Open {
    std::uint32_t from, to;
  };
  std::atomic<std::uint32_t> attempted{0};   ///< by the victim, before it sends up to here
  std::atomic<std::uint32_t> returned{0};    ///< by the victim, when send() returned
  std::atomic<std::uint32_t> life_begin{0};  ///< by the test
  std::atomic<std::uint32_t> open_count{0};
  std::array<Open, kMax> open{};  ///< by the test, before the sender's next life

  /// Notes what the sender left open. Its next life begins behind that.
  void close_life() {
    const std::uint32_t from = returned, to = attempted;
    if (from != to) may_miss(from, to);
    returned = to;
    life_begin = to;
  }
  void may_miss(std::uint32_t from, std::uint32_t to) {
    const std::uint32_t n = open_count;
    if (n == kMax) throw std::runtime_error("the ledger is full");
    open.at(n) = {from, to};
    open_count = n + 1;
  }
};

inline constexpr unsigned kSenders = 8;  ///< numbers of senders that keep a ledger
inline constexpr unsigned kRecorded =
    200;  ///< sender of frames that come from a file, over and over
inline constexpr unsigned kFarewell = 201;  ///< sender of the last frame of all
struct Ledger {
  std::array<SenderLedger, kSenders> senders;
};

/// Where a witness says what it has seen.
struct WitnessPage {
  std::atomic<bool> ready{false};
  std::atomic<bool> done{false};
  std::atomic<unsigned> slot{0};
  std::array<std::atomic<std::uint32_t>, kSenders> next{};  ///< number expected of each sender
  /// Frames of each sender below this number may have been lost in an overrun. Senders that wait
  /// for this witness do not wait for them.
  std::array<std::atomic<std::uint32_t>, kSenders> waived{};
  std::array<std::atomic<std::uint64_t>, kSenders> heard{};
  std::atomic<std::uint64_t> all{0};
  std::atomic<std::uint64_t> recorded{0};
  std::atomic<std::uint64_t> foreign{0};  ///< what guests say by themselves
  std::atomic<std::uint64_t> torn{0};
  std::atomic<std::uint64_t> out_of_order{0};  ///< or twice
  std::atomic<std::uint64_t> missing{0};       ///< not open, and not lost in an overrun
  std::atomic<std::uint64_t> overruns{0};
  std::atomic<std::uint64_t> lost{0};
  std::atomic<std::uint64_t> passed{0};  ///< at the end, by its counters
  std::atomic<std::uint64_t> corrupt{0};
};

enum class WaitBy : std::uint8_t { futex, descriptor };

/// Waits as WaitBy says, so long that a bell that nobody rang is missed.
inline void wait_for_frames(Port& port, WaitBy by) {
  constexpr std::chrono::nanoseconds kLong = std::chrono::seconds(60);
  if (by == WaitBy::futex) {
    port.wait(kLong);
    return;
  }
  const WaitHint hint = port.prepare_wait();
  if (!hint.ready) {
    pollfd p{.fd = port.descriptor(), .events = POLLIN, .revents = 0};
    poll(&p, 1, static_cast<int>(std::min(hint.at_most, kLong) / std::chrono::milliseconds(1)) + 1);
  }
  port.finish_wait();
}

/// Sends the last frame of all, which witnesses that are done stay for.
inline void say_farewell(const std::string& path) {
  Port port = port_on(path, {.name = "farewell"});
  NumberedBatch frames(100);
  if (port.send(frames.make(kFarewell, 0, 1)).error) throw std::runtime_error("cannot send");
}

/// The body of a witness process; runs until `done`, and then until it has heard the farewell.
/// Should that not come, it ends half a minute later, with a count that is short.
class Witness {
 public:
  Witness(const std::string& path, const Ledger& ledger, WitnessPage& page, WaitBy by)
      : ledger_(ledger),
        page_(page),
        by_(by),
        port_(port_on(path, {.name = by == WaitBy::futex ? "by-futex" : "by-descriptor",
                             .promiscuous = true})) {
    page_.slot = port_.slot();
    page_.ready = true;
  }

  int run() {
    constexpr std::chrono::seconds kLongest{30};
    std::optional<std::chrono::steady_clock::time_point> deadline;
    while (!farewell_) {
      const auto now = std::chrono::steady_clock::now();
      if (page_.done && !deadline) deadline = now + kLongest;
      if (deadline && now > *deadline) break;
      batch_.clear();
      const ReceiveResult got = port_.receive(batch_);
      if (got.error) return 1;
      note_loss(got.lost);
      for (const FrameView& frame : batch_.frames()) {
        find_gap(frame.number);
        check(frame);
      }
      if (got.frames == 0) wait_for_frames(port_, by_);
    }
    page_.passed = passed(port_.counters());
    page_.corrupt = port_.counters().corrupt;
    return 0;
  }

 private:
  void note_loss(std::uint64_t lost) {
    if (lost == 0) return;
    ++page_.overruns;
    page_.lost += lost;
    for (unsigned sender = 0; sender < kSenders; ++sender)
      page_.waived.at(sender) = ledger_.senders.at(sender).attempted.load();
  }

  /// An overrun may lie anywhere in a batch; the numbers that the bus gave the frames tell where.
  /// The witness excuses no more missing frames than receive() said were lost.
  void find_gap(std::uint64_t number) {
    const std::uint64_t gap = number - std::exchange(next_number_, number + 1).value_or(number);
    if (gap == 0) return;
    in_gaps_ += gap;
    if (in_gaps_ <= page_.lost) lost_some_.fill(true);
  }

  void check(const FrameView& frame) {
    ++page_.all;
    if (frame.bytes[6] != std::byte{0x02}) {
      ++page_.foreign;
      return;
    }
    const auto n = check_numbered(frame);
    if (n && n->sender == kRecorded) {
      ++page_.recorded;
    } else if (n && n->sender == kFarewell) {
      farewell_ = true;
    } else if (!n || n->sender >= kSenders) {
      ++page_.torn;
    } else {
      follow(n->sender, n->sequence);
    }
  }

  void follow(unsigned sender, std::uint32_t sequence) {
    std::uint32_t expected = page_.next.at(sender);
    ++page_.heard.at(sender);
    if (sequence < expected) {
      ++page_.out_of_order;
      return;
    }
    skip_open(sender, sequence, expected);
    if (sequence != expected && !lost_some_.at(sender)) page_.missing += sequence - expected;
    lost_some_.at(sender) = false;
    page_.next.at(sender) = sequence + 1;
  }

  /// Moves `expected` towards `sequence` over batches that may be missing.
  void skip_open(unsigned sender, std::uint32_t sequence, std::uint32_t& expected) {
    const SenderLedger& s = ledger_.senders.at(sender);
    std::uint32_t& at = open_at_.at(sender);
    for (; at < s.open_count && s.open.at(at).from < sequence; ++at) {
      if (s.open.at(at).from == expected) expected = s.open.at(at).to;
    }
  }

  const Ledger& ledger_;
  WitnessPage& page_;
  WaitBy by_;
  Port port_;
  FrameBatch batch_{256};
  std::array<std::uint32_t, kSenders> open_at_{};
  std::array<bool, kSenders> lost_some_{};  ///< since the last frame of that sender
  std::optional<std::uint64_t> next_number_;
  std::uint64_t in_gaps_ = 0;
  bool farewell_ = false;
};

/// Waits as eventually() does, but looks often: for what takes microseconds.
template <class Condition>
bool soon(Condition done, std::chrono::seconds patience = std::chrono::seconds(30)) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (unsigned i = 0; !done(); ++i) {
    if (i < 100) {
      sched_yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
    if (i % 256 == 255 && std::chrono::steady_clock::now() > deadline) return false;
  }
  return true;
}

/// Whether a witness heard all that `sender` sent, but for batches that may be missing. After
/// close_life(), as long as the sender is dead or silent.
inline bool heard_all(const WitnessPage& page, const Ledger& ledger, unsigned sender) {
  const SenderLedger& s = ledger.senders.at(sender);
  std::uint32_t next = page.next.at(sender);
  const std::uint32_t end = s.returned;
  for (std::uint32_t i = 0; i < s.open_count && next < end; ++i) {
    if (s.open.at(i).from == next) next = s.open.at(i).to;
  }
  return next == end;
}

/// Passes when each of `frames` is accounted for by a witness that has ended.
inline testing::AssertionResult all_passed(const WitnessPage& page, std::uint64_t frames) {
  if (page.passed == frames) return testing::AssertionSuccess();
  return testing::AssertionFailure() << page.passed << " of " << frames << " frames passed";
}

/// Passes when a witness heard every frame whole, once and in order.
inline testing::AssertionResult saw_nothing_wrong(const WitnessPage& page) {
  if (page.torn + page.out_of_order + page.missing + page.corrupt == 0) {
    return testing::AssertionSuccess();
  }
  return testing::AssertionFailure()
         << "torn " << page.torn << ", out of order or twice " << page.out_of_order << ", missing "
         << page.missing << ", corrupt " << page.corrupt;
}

}  // namespace shmif::test
