#pragma once
// A crowd on one bus: senders and witnesses that survive, and victims that send, read, attach and
// detach until something happens to them. For tests that kill and stop at random.

#include <time.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <vector>

#include "tests/process/witness.hpp"
#include "tests/support/raw_bus.hpp"

namespace shmif::test {

/// CPU time of the calling thread.
inline std::uint64_t cpu_ns() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(t.tv_nsec);
}

/// What a surviving sender tells, and is asked.
struct SurvivorPage {
  std::atomic<bool> ready{false};
  std::atomic<std::uint64_t> asked_ns{0};     ///< since when a return is waited for; 0: not asked
  std::atomic<std::uint64_t> returned_ns{0};  ///< when the first send after that returned
  std::atomic<bool> slept{false};             ///< whether that send had to sleep for the lock
  std::atomic<std::uint64_t> longest_ns{0};   ///< the longest send since somebody set this to 0
  std::atomic<std::uint64_t> longest_cpu_ns{0};  ///< its CPU time
};
struct CrowdVictimPage {
  std::atomic<bool> attached{false};
  std::atomic<unsigned> slot{0};
  Fuse fuse;  ///< used by senders only
};
struct CrowdPages {
  Ledger ledger;
  std::array<WitnessPage, 2> witnesses;
  std::array<SurvivorPage, 2> survivors;
  std::array<CrowdVictimPage, kSenders> victims;
  std::atomic<bool> hurry{false};         ///< survivors send without a pause
  std::atomic<bool> victims_done{false};  ///< for those that nothing happened to
  std::atomic<bool> done{false};
};

class Crowd {
 public:
  static constexpr unsigned kSurvivors = 2;  ///< senders 0 and 1
  static constexpr unsigned kVictims = 2;    ///< senders 2 and 3
  static constexpr std::size_t kLargest = 1514;
  static constexpr std::size_t kLargestOfSome = 560;  ///< most of their frames share records
  static constexpr std::uint32_t kBatch = 10;

  explicit Crowd(std::uint64_t ring_bytes)
      : bus_({.ring_bytes = ring_bytes}),
        // Together the senders keep within half a ring of the slowest witness.
        window_(static_cast<std::uint32_t>(ring_bytes / 2 / (kSurvivors + kVictims) /
                                           (kLargest + bus::kRecordHeaderBytes))) {
    for (unsigned i = 0; i < 2; ++i) {
      children_.emplace_back([this, i] {
        return Witness(bus_.path(), pages_->ledger, pages_->witnesses.at(i),
                       i == 0 ? WaitBy::futex : WaitBy::descriptor)
            .run();
      });
      wait_until_ready(pages_->witnesses.at(i).ready);
    }
    for (unsigned i = 0; i < kSurvivors; ++i) {
      children_.emplace_back([this, i] { return survive(i); });
      wait_until_ready(pages_->survivors.at(i).ready);
    }
    raw_ = std::make_unique<RawBus>(bus_.path());
  }
  Crowd(const Crowd&) = delete;
  Crowd& operator=(const Crowd&) = delete;

  const TempBus& bus() const { return bus_; }
  RawBus& raw() { return *raw_; }
  CrowdPages& pages() { return *pages_; }
  SenderLedger& ledger(unsigned victim) { return pages_->ledger.senders.at(kSurvivors + victim); }
  CrowdVictimPage& victim(unsigned victim) { return pages_->victims.at(victim); }
  /// Before each life of a victim.
  void forget(unsigned victim) {
    CrowdVictimPage& page = pages_->victims.at(victim);
    page.attached = false;
    page.fuse.forget();
  }

  // Bodies of victims. Each runs until something happens to it, or done.

  /// Makes batches, and then sends them in a burst: so it is often met in the middle of one.
  int send_flat_out(unsigned victim) {
    const unsigned sender = kSurvivors + victim;
    SenderLedger& ledger = pages_->ledger.senders.at(sender);
    Port port = port_on(bus_.path(), {.name = "sender" + std::to_string(victim)});
    std::vector<NumberedBatch> made(std::max(1U, window_ / kBatch),
                                    NumberedBatch(largest_of(sender)));
    announce(victim, port);
    while (!pages_->victims_done) {
      std::vector<std::span<const FrameView>> ready;
      std::uint32_t next = ledger.attempted;
      for (NumberedBatch& batch : made) {
        ready.push_back(batch.make(sender, next, kBatch));
        next += kBatch;
      }
      while (ahead_of_witnesses(sender) > kBatch && !pages_->victims_done) sched_yield();
      bool failed = false;
      victim_of(victim).fuse.burst([&] {
        for (const auto& batch : ready) {
          ledger.attempted = ledger.attempted + kBatch;
          const SendResult sent = port.send(batch);
          if ((failed = sent.error || sent.taken != kBatch)) return;
          ledger.returned = ledger.attempted.load();
        }
      });
      if (failed) return 1;
    }
    return 0;
  }
  int read_for_ever(unsigned victim, WaitBy by) {
    Port port = port_on(bus_.path(), {.name = "reader" + std::to_string(victim)});
    FrameBatch batch(64);
    announce(victim, port);
    while (!pages_->victims_done) {
      batch.clear();
      if (port.receive(batch).error) return 1;
      for (const FrameView& frame : batch.frames()) {
        if (frame.bytes[6] == std::byte{0x02} && !check_numbered(frame)) return 1;
      }
      if (batch.empty()) wait_for_frames(port, by);
    }
    return 0;
  }
  int attach_and_detach(unsigned victim) {
    while (!pages_->victims_done) {
      Port port = port_on(bus_.path(), {.name = "guest" + std::to_string(victim)});
      announce(victim, port);
      victim_of(victim).attached = false;
      if (port.down()) throw std::runtime_error("it cannot go down");
      if (port.detach()) throw std::runtime_error("it cannot leave");
    }
    return 0;
  }

  /// Passes when no survivor has ended and no witness has heard anything wrong.
  testing::AssertionResult all_is_well() {
    for (const Child& child : children_) {
      if (::kill(child.pid(), 0) != 0 || waitpid(child.pid(), nullptr, WNOHANG) != 0) {
        return testing::AssertionFailure() << "a survivor has ended";
      }
    }
    for (const WitnessPage& page : pages_->witnesses) {
      if (auto fine = saw_nothing_wrong(page); !fine) return fine;
    }
    return is_clean(bus_.audit());
  }

  /// Ends everybody, after which each must have heard everything.
  testing::AssertionResult finish() {
    if (auto fine = all_is_well(); !fine) return fine;
    pages_->done = true;
    for (unsigned i = 2; i < children_.size(); ++i) {
      if (children_[i].wait() != 0) return testing::AssertionFailure() << "a sender failed";
    }
    for (WitnessPage& page : pages_->witnesses) page.done = true;
    say_farewell(bus_.path());
    const std::uint64_t frames = bus_.info().frames;
    for (unsigned i = 0; i < 2; ++i) {
      const WitnessPage& page = pages_->witnesses.at(i);
      if (children_[i].wait() != 0) return testing::AssertionFailure() << "a witness failed";
      if (auto fine = all_passed(page, frames); !fine) return fine;
      if (auto fine = saw_nothing_wrong(page); !fine) return fine;
      for (unsigned sender = 0; sender < kSurvivors + kVictims; ++sender) {
        if (page.lost == 0 && !heard_all(page, pages_->ledger, sender)) {
          return testing::AssertionFailure() << "the end of sender " << sender << " is missing";
        }
      }
    }
    return is_clean(bus_.audit());
  }

 private:
  static void wait_until_ready(const std::atomic<bool>& ready) {
    if (!soon([&] { return ready.load(); })) throw std::runtime_error("a survivor did not start");
  }
  CrowdVictimPage& victim_of(unsigned victim) { return pages_->victims.at(victim); }
  void announce(unsigned victim, const Port& port) {
    victim_of(victim).slot = port.slot();
    victim_of(victim).attached = true;
  }

  /// How many frames of a sender the slowest witness has yet to hear. Frames that it may have lost
  /// in an overrun do not count. Otherwise a sender whose last frames they were would wait for
  /// ever.
  std::uint32_t ahead_of_witnesses(unsigned sender) const {
    const SenderLedger& ledger = pages_->ledger.senders.at(sender);
    const std::uint32_t sent = ledger.attempted, begin = ledger.life_begin;
    std::uint32_t ahead = 0;
    for (const WitnessPage& page : pages_->witnesses) {
      const std::uint32_t next =
          std::max({page.next.at(sender).load(), page.waived.at(sender).load(), begin});
      ahead = std::max(ahead, next < sent ? sent - next : 0);
    }
    return ahead;
  }

  static constexpr std::size_t largest_of(unsigned sender) {
    return sender % 2 == 0 ? kLargest : kLargestOfSome;
  }

  int survive(unsigned index) {
    SurvivorPage& page = pages_->survivors.at(index);
    SenderLedger& ledger = pages_->ledger.senders.at(index);
    Port port = port_on(bus_.path(), {.name = "survivor" + std::to_string(index)});
    NumberedBatch frames(largest_of(index));
    page.ready = true;
    while (!pages_->done) {
      // In a hurry, in small batches and however slow the witnesses are: it is measured.
      const bool hurry = pages_->hurry;
      const std::uint32_t count = hurry ? 1 : kBatch;
      while (!pages_->hurry && !pages_->done && ahead_of_witnesses(index) > window_) sched_yield();
      const std::uint32_t first = ledger.attempted;
      const auto batch = frames.make(index, first, count);
      ledger.attempted = first + count;
      const std::uint64_t sleeps = port.counters().lock_sleeps;
      const std::uint64_t began = now_ns(), cpu_began = cpu_ns();
      const SendResult sent = port.send(batch);
      const std::uint64_t ended = now_ns();
      if (sent.error || sent.taken != count) return 1;
      ledger.returned = first + count;
      note(page, began, ended, cpu_ns() - cpu_began, port.counters().lock_sleeps != sleeps);
      std::this_thread::sleep_for(std::chrono::microseconds(hurry ? 1 : 200));
    }
    return 0;
  }
  static void note(SurvivorPage& page, std::uint64_t began, std::uint64_t ended, std::uint64_t cpu,
                   bool slept) {
    const std::uint64_t asked = page.asked_ns;
    if (asked != 0 && asked < ended && page.returned_ns == 0) {
      page.slept = slept;
      page.returned_ns = ended;
    }
    if (ended - began > page.longest_ns) {
      page.longest_cpu_ns = cpu;
      page.longest_ns = ended - began;
    }
  }

  TempBus bus_;
  std::uint32_t window_;
  Shared<CrowdPages> pages_;
  std::vector<Child> children_;  ///< witnesses, then survivors
  std::unique_ptr<RawBus> raw_;
};

}  // namespace shmif::test
