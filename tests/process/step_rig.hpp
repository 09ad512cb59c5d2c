#pragma once
// A bus with two sleeping witnesses and a sender, on which a victim is moved along by single steps,
// and what must hold whenever it is killed or stopped.

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <vector>

#include "bus/file/liveness.hpp"
#include "tests/process/witness.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/tracee.hpp"

namespace shmif::test {

/// What the victim tells before it dies.
struct VictimPage {
  std::atomic<unsigned> slot{0};
  std::atomic<bool> failed{false};
};

class StepRig {
 public:
  static constexpr unsigned kSteady = 0;  ///< sender numbers
  static constexpr unsigned kVictim = 1;
  static constexpr unsigned kSecondVictim = 2;
  static constexpr std::uint32_t kVictimBatch = 3;

  StepRig() : steady_(port_on_bus()), frames_(steady_->max_frame_bytes()) {
    raw_ = std::make_unique<RawBus>(bus_.path());
  }
  StepRig(const StepRig&) = delete;
  StepRig& operator=(const StepRig&) = delete;

  const TempBus& bus() const { return bus_; }
  RawBus& raw() { return *raw_; }
  SenderLedger& victim_ledger(unsigned sender = kVictim) { return ledger_->senders.at(sender); }
  VictimPage& victim(unsigned sender = kVictim) { return victims_->at(sender); }
  Figures& first_send() { return first_send_; }

  /// The body of a victim that sends one batch between the marks. One was sent before, so that what
  /// is resolved and allocated at the first call only is not part of the steps.
  int send_once(unsigned sender = kVictim) {
    Port port = port_on(bus_.path(), {.name = sender == kVictim ? "victim" : "second-victim"});
    victim(sender).slot = port.slot();
    NumberedBatch frames(kLargest);
    frames.fix_size(kLargest);  // the same way through the code each time
    send_numbered(port, frames, sender, 1, false);
    return send_numbered(port, frames, sender, kVictimBatch, true);
  }

  /// So that what is resolved and allocated at the first call only is not part of the steps.
  void attach_and_leave() {
    Port port = port_on(bus_.path(), {.name = "victim"});
    victim().slot = port.slot();
    if (port.down()) throw std::runtime_error("it cannot go down");
    if (port.detach()) throw std::runtime_error("it cannot leave");
  }

  /// Makes the lock that of a dead process, which left a claim where the next batch would go.
  void let_a_dead_process_hold_the_lock() {
    constexpr unsigned kDeadSlot = 5;
    const std::uint64_t end = raw_->header().last;
    raw_->claim(kDeadSlot, end, end, end + 2048 + bus::kTailBytes);
    raw_->lock_as(kDeadSlot);
  }

  /// Waits until both witnesses sleep, so that there is somebody to ring.
  bool witnesses_sleep() {
    return soon([&] {
      return std::ranges::all_of(pages_, [&](const Shared<WitnessPage>& page) {
        const unsigned slot = page->slot;
        return (bus::load_seq_cst(raw_->header().sleepers[slot / 64]) >> (slot % 64) & 1U) != 0;
      });
    });
  }

  /// Sends for `laps` laps of the ring, no faster than the witnesses read. The first send is timed.
  testing::AssertionResult traffic(unsigned laps) {
    const std::uint64_t goal = raw_->header().last + laps * raw_->header().ring_bytes;
    for (bool first = true; raw_->header().last < goal; first = false) {
      const auto began = std::chrono::steady_clock::now();
      const double cpu_began = cpu_ms();
      const SendResult sent = steady_->send(frames_.make(kSteady, sequence_, 8));
      const std::chrono::nanoseconds took = std::chrono::steady_clock::now() - began;
      if (sent.error || sent.taken != 8) {
        return testing::AssertionFailure() << "cannot send: " << sent.error.message();
      }
      if (first) {
        first_send_.add(milliseconds(took));
        if (took > std::chrono::milliseconds(50)) {
          cpu_share_.add(100 * (cpu_ms() - cpu_began) / milliseconds(took));
        }
      }
      sequence_ += 8;
      if (auto heard = witnesses_heard(); !heard) return heard;
    }
    return testing::AssertionSuccess();
  }
  Figures& cpu_share() { return cpu_share_; }

  /// That the witnesses heard all of the steady sender and of the victim (whose life is over), and
  /// agree on it.
  testing::AssertionResult witnesses_agree() {
    for (const Shared<WitnessPage>& page : pages_) {
      if (auto fine = saw_nothing_wrong(*page); !fine) return fine;
      if (page->lost != 0) return testing::AssertionFailure() << "a witness was overrun";
      for (const unsigned sender : {kVictim, kSecondVictim}) {
        if (!heard_all(*page, *ledger_, sender)) {
          return testing::AssertionFailure()
                 << "heard a victim up to " << page->next.at(sender)
                 << ", its sends had returned up to " << ledger_->senders.at(sender).returned;
        }
        if (page->heard.at(sender) != pages_[0]->heard.at(sender)) {
          return testing::AssertionFailure() << "the witnesses heard different things";
        }
      }
    }
    return testing::AssertionSuccess();
  }
  std::uint64_t heard_of(unsigned sender) const { return pages_[0]->heard.at(sender); }

  /// That who comes now and begins with the oldest record finds all frames whole and in order.
  testing::AssertionResult newcomer_hears_whole_frames() {
    Port port = port_on(bus_.path(), {.name = "newcomer", .start = Start::oldest});
    std::array<std::int64_t, kSenders> latest{};
    latest.fill(-1);
    FrameBatch batch(64);
    for (;;) {
      batch.clear();
      if (port.receive(batch).error) return testing::AssertionFailure() << "the chain is broken";
      if (batch.empty()) break;
      for (const FrameView& frame : batch.frames()) {
        const auto n = check_numbered(frame);
        if (!n || n->sender >= kSenders) {
          return testing::AssertionFailure() << "frame " << frame.number << " is torn";
        }
        if (n->sequence <= latest.at(n->sender)) {
          return testing::AssertionFailure() << "frame " << frame.number << " is out of order";
        }
        latest.at(n->sender) = n->sequence;
      }
    }
    if (port.counters().corrupt == 0) return testing::AssertionSuccess();
    return testing::AssertionFailure() << "a newcomer met corruption";
  }

  testing::AssertionResult no_claims() {
    for (unsigned i = 0; i < bus::kSlots; ++i) {
      if (bus::load_seq_cst(raw_->slot(i).claim_owner) != 0) {
        return testing::AssertionFailure() << "slot " << i << " still has a claim";
      }
    }
    return testing::AssertionSuccess();
  }
  /// That nobody but the witnesses and the steady sender is alive on the bus; soon, for whoever
  /// looks into the victim's /proc at that moment keeps its memory, and so its lock.
  testing::AssertionResult only_survivors_live() {
    unsigned alive = 0;
    const auto look = [&] {
      alive = 0;
      for (unsigned i = 0; i < bus::kSlots; ++i) alive += bus::is_alive(raw_->fd(), i) ? 1U : 0U;
      return alive == 3;
    };
    if (soon(look)) return testing::AssertionSuccess();
    return testing::AssertionFailure() << alive << " ports are alive";
  }
  /// A new port of the victim's name gets its slot.
  testing::AssertionResult take_over_name(std::optional<unsigned> slot, Port& again) {
    const auto attached = again.attach(bus_.path());
    if (!attached) return testing::AssertionFailure() << attached.error().message;
    if (slot && again.slot() != *slot) {
      return testing::AssertionFailure() << "the slot was not reused";
    }
    return testing::AssertionSuccess();
  }

  /// Ends the witnesses. Result: whether they heard everything that passed.
  testing::AssertionResult finish() {
    for (const Shared<WitnessPage>& page : pages_) page->done = true;
    say_farewell(bus_.path());
    const std::uint64_t frames = bus_.info().frames;
    for (Child& witness : witnesses_) {
      if (witness.wait() != 0) return testing::AssertionFailure() << "a witness failed";
    }
    for (const Shared<WitnessPage>& page : pages_) {
      if (auto fine = all_passed(*page, frames); !fine) return fine;
    }
    return is_clean(bus_.audit());
  }

  static constexpr std::size_t kLargest = 300;

 private:
  /// Forks the witnesses first: their processes then have nothing of the test's ports.
  Port port_on_bus() {
    for (unsigned i = 0; i < pages_.size(); ++i) {
      witnesses_.emplace_back([this, i] {
        return Witness(bus_.path(), *ledger_, *pages_.at(i),
                       i == 0 ? WaitBy::futex : WaitBy::descriptor)
            .run();
      });
      if (!soon([&] { return pages_.at(i)->ready.load(); })) {
        throw std::runtime_error("no witness");
      }
    }
    return port_on(bus_.path(), {.name = "steady"});
  }

  int send_numbered(Port& port, NumberedBatch& frames, unsigned sender, std::uint32_t count,
                    bool marked) {
    SenderLedger& ledger = victim_ledger(sender);
    const std::uint32_t first = ledger.attempted;
    const auto batch = frames.make(sender, first, count);
    ledger.attempted = first + count;
    if (marked) Tracee::begin();
    const SendResult sent = port.send(batch);
    if (marked) Tracee::end();
    victim(sender).failed = bool(sent.error);
    const auto taken = static_cast<std::uint32_t>(sent.taken);
    if (taken != count) ledger.may_miss(first + taken, first + count);
    ledger.returned = first + count;
    return 0;
  }

  testing::AssertionResult witnesses_heard() {
    const bool heard = soon([&] {
      return std::ranges::all_of(pages_, [&](const Shared<WitnessPage>& page) {
        return page->next.at(kSteady) == sequence_;
      });
    });
    if (heard) return testing::AssertionSuccess();
    return testing::AssertionFailure() << "a witness did not hear frame " << sequence_ - 1;
  }
  static double cpu_ms() {
    rusage usage{};
    getrusage(RUSAGE_THREAD, &usage);
    const auto ms = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_usec) / 1e3;
    };
    return ms(usage.ru_utime) + ms(usage.ru_stime);
  }

  TempBus bus_{small_ring()};
  Shared<Ledger> ledger_;
  Shared<std::array<VictimPage, kSenders>> victims_;
  std::array<Shared<WitnessPage>, 2> pages_;
  std::vector<Child> witnesses_;
  std::optional<Port> steady_;
  NumberedBatch frames_;
  std::unique_ptr<RawBus> raw_;
  std::uint32_t sequence_ = 0;
  Figures first_send_;
  Figures cpu_share_;
};

// Walks through a piece of code by single steps, and does something to its process at each.

/// Every how many instructions the victim is met: SHMIF_STRIDE, else `of_every_day`.
inline std::uint64_t stride_or(std::uint64_t of_every_day) {
  return std::max<std::uint64_t>(from_environment("SHMIF_STRIDE", of_every_day), 1);
}

class Steps : public ::testing::Test {
 protected:
  using Body = std::function<int()>;             ///< what the child runs, with its marks
  using Advance = std::function<bool(Tracee&)>;  ///< from begin() to where the steps are counted
  using Visit = std::function<void(Tracee&, bool ended)>;  ///< `ended`: it has met its end()

  void SetUp() override {
    if (kSanitized) GTEST_SKIP() << "single steps of the shipped code: not under sanitizers";
    if (!can_trace()) GTEST_SKIP() << "ptrace is forbidden here";
    random_.seed(announced_seed());
  }

  /// Records one undisturbed run, which ends with `visit(child, true)`. Result: its moments at
  /// which `suits()`.
  std::vector<Moment> record(
      const Body& body, const Advance& advance, const Visit& visit,
      const std::function<bool()>& suits = [] { return true; }) {
    Tracee model(body);
    if (!model.run_to_begin() || !advance(model)) return {};
    std::vector<Moment> moments = model.record(suits);
    visit(model, true);
    return moments;
  }

  /// Records five runs. Result: the one of middle length. How far a send walks to make room
  /// depends on the records that others left, and few children meet the moments of an unusual walk.
  std::vector<Moment> usual_run(const Body& body, const Advance& advance, const Visit& visit) {
    std::array<std::vector<Moment>, 5> runs;
    for (std::vector<Moment>& run : runs) {
      run = record(body, advance, visit);
      if (HasFatalFailure()) return {};
    }
    std::ranges::sort(runs, {}, &std::vector<Moment>::size);
    return runs[2];
  }

  /// Brings a fresh child to a moment of a recorded run. On a busy machine a child often takes
  /// another way, because what depends on time has passed already; so ten try. Result: whether one
  /// met it.
  bool meets(const Moment& moment, const Body& body, const Advance& advance, const Visit& visit) {
    bool met = false;
    for (int attempt = 0; attempt < 10 && !met; ++attempt) {
      Tracee victim(body);
      const bool ready = victim.run_to_begin() && advance(victim);
      EXPECT_TRUE(ready);
      if (!ready) return false;
      met = victim.run_to(moment);
      visit(victim, !met);
      if (HasFatalFailure()) return false;
    }
    return met;
  }

  /// Brings a fresh child to the nth moment of a recorded run, for n = offset, offset + stride ...
  /// with an offset of chance.
  void at_every_step(std::uint64_t stride, const Body& body, const Advance& advance,
                     const Visit& visit) {
    std::vector<Moment> moments = usual_run(body, advance, visit);
    ASSERT_FALSE(moments.empty());
    std::uint64_t visits = 0, missed = 0;
    for (std::uint64_t n = random_() % stride; n < moments.size(); n += stride, ++visits) {
      SCOPED_TRACE("before instruction " + std::to_string(n));
      bool met = meets(moments[n], body, advance, visit);
      if (HasFatalFailure()) return;
      if (!met) {
        // The way that was usual when the walk was recorded need not be so any more.
        moments = usual_run(body, advance, visit);
        ASSERT_FALSE(moments.empty());
        met = n < moments.size() && meets(moments[n], body, advance, visit);
        if (HasFatalFailure()) return;
      }
      missed += met ? 0 : 1;
    }
    std::printf("%llu visits, at every %llu. of %zu instructions; %llu were not met again\n",
                static_cast<unsigned long long>(visits), static_cast<unsigned long long>(stride),
                moments.size(), static_cast<unsigned long long>(missed));
    EXPECT_LT(missed, visits / 4 + 2);
  }

  /// Stops fresh children after n steps, for n = offset, offset + stride ... with an offset of
  /// chance, until three in a row have met their end() before. For short pieces of code whose way
  /// is a matter of luck: no moment has to be met again, but each child makes its way step by step.
  void after_every_count(std::uint64_t stride, const Body& body, const Advance& advance,
                         const Visit& visit) {
    constexpr int kEndsInARow = 3;
    std::uint64_t visits = 0, steps = random_() % stride;
    for (int ends = 0; ends < kEndsInARow; steps += stride, ++visits) {
      SCOPED_TRACE("after " + std::to_string(steps) + " steps");
      Tracee victim(body);
      ASSERT_TRUE(victim.run_to_begin() && advance(victim));
      const bool ended = !victim.step(steps);
      ends = ended ? ends + 1 : 0;
      visit(victim, ended);
      if (HasFatalFailure()) return;
    }
    std::printf("%llu visits, at every %llu. of %llu instructions\n",
                static_cast<unsigned long long>(visits), static_cast<unsigned long long>(stride),
                static_cast<unsigned long long>(steps));
    EXPECT_GT(visits, 5U);
  }

  std::mt19937_64 random_;
};

/// For Advance: to the end of the first cooldown, so that the spinning before it is not stepped
/// through.
inline bool go_to_cooldown(Tracee& victim) {
  for (;;) {
    const Tracee::SystemCall call = victim.run_to_system_call();
    if (!call.met) return false;
    if (call.entered && (call.number == SYS_clock_nanosleep || call.number == SYS_nanosleep)) {
      return true;
    }
  }
}

}  // namespace shmif::test
