// A process killed after any instruction of append, takeover, attach, detach and create.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <thread>

#include "bus/board/board.hpp"
#include "bus/board/board_layout.hpp"
#include "tests/process/step_rig.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

class StepKill : public Steps {
 protected:
  /// Kills a victim at every step. `verify(ended)`: what must hold then; `ended`: it was through.
  void kill_at_every_step(std::uint64_t stride, const Body& body, const Advance& advance,
                          const std::function<void(bool ended)>& verify) {
    at_every_step(stride, body, advance, [&](Tracee& victim, bool ended) {
      victim.kill();
      verify(ended);
    });
  }
};

/// What must hold after a sender was killed.
void expect_others_go_on(StepRig& rig, std::uint64_t round, bool ended) {
  SenderLedger& ledger = rig.victim_ledger();
  const std::uint32_t end = ledger.attempted;
  if (ended) ledger.returned = end;  // its send had returned: these may not be missing
  ledger.close_life();
  ASSERT_TRUE(is_clean(rig.bus().audit()));
  ASSERT_TRUE(rig.newcomer_hears_whole_frames());
  const unsigned slot = rig.victim().slot;
  // Who comes first is a matter of luck, so each gets its turn.
  if (round % 4 == 1) {
    auto repaired = Bus::open(rig.bus().path(), Access::read_write).value().repair();
    ASSERT_TRUE(repaired) << repaired.error().message;
    ASSERT_FALSE(repaired->ring_rebuilt);
  }
  Port again({.name = "victim", .name_patience = std::chrono::seconds(10)});
  if (round % 4 == 2) {
    ASSERT_TRUE(rig.take_over_name(slot, again));
  }
  const std::uint64_t from_living = rig.raw().header().takeovers_living;
  ASSERT_TRUE(rig.traffic(2));
  ASSERT_EQ(rig.raw().header().takeovers_living, from_living) << "waited for one that is dead";
  ASSERT_TRUE(rig.witnesses_agree());
  ASSERT_TRUE(rig.no_claims());
  if (round % 4 != 2) {
    ASSERT_TRUE(rig.only_survivors_live());
    ASSERT_TRUE(rig.take_over_name(slot, again));
  }
}

TEST_F(StepKill, ASenderKilledAtAnyInstructionOfItsSendHasSentThatBatchWholeOrNotAtAll) {
  StepRig rig;
  std::uint64_t round = 0;
  kill_at_every_step(
      stride_or(20), [&] { return rig.send_once(); },
      [&](Tracee&) { return rig.witnesses_sleep(); },
      [&](bool ended) { expect_others_go_on(rig, round++, ended); });
  EXPECT_TRUE(rig.finish());
  rig.first_send().print("first send after a kill", "ms");
}

TEST_F(StepKill, ASenderKilledAtAnyInstructionOfATakeoverIsTakenOverFromInItsTurn) {
  StepRig rig;
  std::uint64_t round = 0;
  kill_at_every_step(
      stride_or(20), [&] { return rig.send_once(); },
      [&](Tracee& victim) {
        rig.let_a_dead_process_hold_the_lock();
        return rig.witnesses_sleep() && go_to_cooldown(victim);
      },
      [&](bool ended) { expect_others_go_on(rig, round++, ended); });
  EXPECT_GT(rig.raw().header().takeovers_dead, round / 2);
  EXPECT_TRUE(rig.finish());
  rig.first_send().print("first send after a kill", "ms");
}

/// What must hold after a process was killed that attached or detached.
void expect_slot_is_free(StepRig& rig, std::uint64_t round) {
  ASSERT_TRUE(is_clean(rig.bus().audit()));
  ASSERT_TRUE(rig.only_survivors_live());
  Port again({.name = "victim", .name_patience = std::chrono::seconds(10)});
  if (round % 2 == 0) {
    ASSERT_TRUE(rig.take_over_name(rig.victim().slot, again));
  }
  ASSERT_TRUE(rig.traffic(1));
  ASSERT_TRUE(rig.witnesses_agree());
  ASSERT_TRUE(rig.no_claims());
  if (round % 2 == 1) {
    ASSERT_TRUE(rig.take_over_name(rig.victim().slot, again));
  }
}

TEST_F(StepKill, APortKilledAtAnyInstructionOfAttachLeavesItsSlotAndNameToTheNext) {
  StepRig rig;
  std::uint64_t round = 0;
  kill_at_every_step(
      stride_or(20),
      [&] {
        rig.attach_and_leave();
        Port port({.name = "victim"});
        Tracee::begin();
        const bool fine = port.attach(rig.bus().path()) && !port.up();
        Tracee::end();
        return fine ? 0 : 1;
      },
      [](Tracee&) { return true; }, [&](bool) { expect_slot_is_free(rig, round++); });
  EXPECT_TRUE(rig.finish());
}

TEST_F(StepKill, APortKilledAtAnyInstructionOfDetachLeavesItsSlotAndNameToTheNext) {
  StepRig rig;
  std::uint64_t round = 0;
  kill_at_every_step(
      stride_or(5),
      [&] {
        rig.attach_and_leave();
        Port port = port_on(rig.bus().path(), {.name = "victim"});
        Tracee::begin();
        const bool fine = !port.down() && !port.detach();
        Tracee::end();
        return fine ? 0 : 1;
      },
      [](Tracee&) { return true; }, [&](bool) { expect_slot_is_free(rig, round++); });
  EXPECT_TRUE(rig.finish());
}

/// The names in a directory.
std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    names.push_back(entry.path().filename());
  }
  return names;
}

TEST_F(StepKill, ABusWhoseCreatorWasKilledAtAnyInstructionIsCompleteOrHasNoName) {
  const TempDir dir;
  const std::string path = dir.file("bus");
  std::uint64_t complete = 0;
  kill_at_every_step(
      stride_or(20),
      [&] {
        Bus::create(dir.file("warm-up"), small_ring()).value();
        Bus::destroy(dir.file("warm-up"), false).value();
        Tracee::begin();
        const bool made = bool(Bus::create(path, small_ring()));
        Tracee::end();
        return made ? 0 : 1;
      },
      [](Tracee&) { return true; },
      [&](bool ended) {
        const std::vector<std::string> names = names_in(dir.path());
        if (names.empty()) {
          ASSERT_FALSE(ended);
          ASSERT_TRUE(Bus::create(path, small_ring()));
        } else {
          ASSERT_EQ(names, std::vector<std::string>{"bus"});
          ++complete;
        }
        ASSERT_TRUE(is_clean(Bus::open(path).value().audit()));
        Port port = port_on(path);
        NumberedBatch frames(100);
        ASSERT_FALSE(port.send(frames.make(1, 0, 1)).error);
        std::filesystem::remove(path);
      });
  EXPECT_GT(complete, 0U);
}

TEST_F(StepKill, AnEmptyFileWhoseFillerWasKilledAtAnyInstructionIsAWholeBusOrIsRefused) {
  const TempDir dir;
  const std::string path = dir.file("bus");
  const auto fill = [](const std::string& file) {
    return Bus::create_if_missing(file, small_ring(), false, false);
  };
  std::uint64_t refused = 0;
  kill_at_every_step(
      stride_or(60),
      [&] {
        for (const std::string& file : {dir.file("warm-up"), path}) std::ofstream(file).close();
        fill(dir.file("warm-up")).value();
        std::filesystem::remove(dir.file("warm-up"));
        Tracee::begin();
        const bool made = bool(fill(path));
        Tracee::end();
        return made ? 0 : 1;
      },
      [](Tracee&) { return true; },
      [&](bool ended) {
        if (std::filesystem::file_size(path) == 0) {
          ASSERT_FALSE(ended);
          ASSERT_TRUE(fill(path)) << "a file that is still empty is as good as before";
        }
        const auto opened = Bus::open(path);
        if (opened) {
          ASSERT_TRUE(is_clean(opened->audit()));
        } else {
          ASSERT_FALSE(ended);
          ++refused;
          const std::error_code code = opened.error().code;
          ASSERT_TRUE(code == Errc::not_ready || code == Errc::not_a_bus) << opened.error().message;
        }
        std::filesystem::remove(path);
      });
  EXPECT_GT(refused, 0U);
}

// A sender stopped before any instruction of its send, for as long as it takes the others to go
// several times round the ring; then it goes on, or dies.

constexpr unsigned kLaps = 3;

class StepStop : public Steps {
 protected:
  /// What the others do meanwhile. `stopped`: how many of them may hold the others up, once each.
  void let_others_go_on(std::uint64_t stopped) {
    const std::uint64_t before = rig_.raw().header().takeovers_living;
    ASSERT_TRUE(rig_.traffic(kLaps));
    const std::uint64_t taken = rig_.raw().header().takeovers_living - before;
    ASSERT_LE(taken, stopped) << "the others were held up more than once";
    held_up_ += taken;
    ASSERT_TRUE(is_clean(rig_.bus().audit()));
  }

  /// Lets a stopped sender go on to its end, or kills it.
  void end(Tracee& victim, unsigned sender, bool kill) {
    SenderLedger& ledger = rig_.victim_ledger(sender);
    if (kill) {
      victim.kill();
      ledger.close_life();
      return;
    }
    ASSERT_EQ(victim.finish(), 0);
    ASSERT_FALSE(rig_.victim(sender).failed);
    ASSERT_EQ(ledger.returned, ledger.attempted);
    ASSERT_TRUE(is_clean(rig_.bus().audit()));
    ASSERT_TRUE(rig_.newcomer_hears_whole_frames());
  }

  /// What must hold when nobody is stopped any more.
  void expect_all_is_well() {
    ASSERT_TRUE(is_clean(rig_.bus().audit()));
    ASSERT_TRUE(rig_.traffic(1));
    ASSERT_TRUE(rig_.witnesses_agree());
    ASSERT_TRUE(rig_.no_claims());
    ASSERT_TRUE(rig_.only_survivors_live());
  }

  void stop_at_every_step(std::uint64_t stride, const Advance& advance, bool kill) {
    at_every_step(
        stride, [&] { return rig_.send_once(); }, advance,
        [&](Tracee& victim, bool) {
          let_others_go_on(1);
          if (!HasFatalFailure()) end(victim, StepRig::kVictim, kill);
          if (!HasFatalFailure()) expect_all_is_well();
        });
    EXPECT_TRUE(rig_.finish());
    print_figures();
  }

  void print_figures() {
    std::printf("held up %llu times\n", static_cast<unsigned long long>(held_up_));
    rig_.first_send().print("first send of another", "ms");
    rig_.cpu_share().print("CPU time of who was held up", "% of the time");
    EXPECT_GT(held_up_, 0U) << "nobody was stopped with the lock";
    EXPECT_LT(rig_.cpu_share().max(), 50);
    EXPECT_LT(rig_.first_send().max(), 10'000);
  }

  StepRig rig_;
  std::uint64_t held_up_ = 0;
};

TEST_F(StepStop, ASenderStoppedAtAnyInstructionOfItsSendHoldsUpTheOthersOnceAndThenSendsItWhole) {
  stop_at_every_step(stride_or(60), [&](Tracee&) { return rig_.witnesses_sleep(); }, false);
}

TEST_F(StepStop, ASenderStoppedAtAnyInstructionOfATakeoverHoldsUpTheOthersOnceAndThenSendsItWhole) {
  stop_at_every_step(
      stride_or(120),
      [&](Tracee& victim) {
        rig_.let_a_dead_process_hold_the_lock();
        return rig_.witnesses_sleep() && go_to_cooldown(victim);
      },
      false);
}

TEST_F(StepStop, ASenderStoppedAtAnyInstructionAndKilledAfterTheTakeoverHasSentItWholeOrNotAtAll) {
  stop_at_every_step(stride_or(120), [&](Tracee&) { return rig_.witnesses_sleep(); }, true);
}

/// The order in which two stopped holders and the others go on.
struct Order {
  unsigned
      others;  ///< come by before the first goes on (0), between the two (1), or after both (2)
  bool second_first;
  bool kill;  ///< who would go on first dies instead
};

class StepStopTwo : public StepStop {
 protected:
  /// The moments of a send with the lock at which `suits()`.
  std::vector<Moment> moments_with_lock(const std::function<bool()>& suits) {
    return record([&] { return rig_.send_once(); }, [&](Tracee&) { return rig_.witnesses_sleep(); },
                  [&](Tracee& model, bool) { end(model, StepRig::kVictim, false); },
                  [&] { return !bus::lock_word::is_free(rig_.raw().header().lock) && suits(); });
  }
  bool has_claim() {
    return bus::load_seq_cst(rig_.raw().slot(rig_.victim().slot).claim_owner) != 0;
  }

  void stop_two(const Moment& a, const Moment& b, const Order& order) {
    Tracee first([&] { return rig_.send_once(StepRig::kVictim); });
    Tracee second([&] { return rig_.send_once(StepRig::kSecondVictim); });
    ASSERT_TRUE(first.run_to_begin() && second.run_to_begin() && rig_.witnesses_sleep());
    first.run_to(a);
    second.run_to(b);  // takes the lock over from the first
    struct {
      Tracee* victim;
      unsigned sender;
    } turns[] = {{&first, StepRig::kVictim}, {&second, StepRig::kSecondVictim}};
    if (order.second_first) std::swap(turns[0], turns[1]);
    for (unsigned turn = 0; turn < 2; ++turn) {
      if (order.others == turn) let_others_go_on(1);
      if (HasFatalFailure()) return;
      end(*turns[turn].victim, turns[turn].sender, turn == 0 && order.kill);
      if (HasFatalFailure()) return;
    }
    expect_all_is_well();
  }
};

TEST_F(StepStopTwo, HoldersOfTheLockStoppedAtOnceHoldUpTheOthersOnceEach) {
  const std::uint64_t pairs = from_environment("SHMIF_PAIRS", 40);
  const std::vector<Moment> moments = moments_with_lock([] { return true; });
  ASSERT_FALSE(moments.empty());
  for (std::uint64_t i = 0; i < pairs && !HasFatalFailure(); ++i) {
    const std::uint64_t a = random_() % moments.size(), b = random_() % moments.size();
    SCOPED_TRACE("before instructions " + std::to_string(a) + " and " + std::to_string(b));
    stop_two(moments[a], moments[b],
             {.others = static_cast<unsigned>(random_() % 3),
              .second_first = random_() % 2 != 0,
              .kill = random_() % 4 == 0});
  }
  EXPECT_TRUE(rig_.finish());
  print_figures();
}

TEST_F(StepStopTwo, AHolderThatLostTheLockBeforeItsClaimDoesNotWriteIntoThatOfTheNext) {
  const std::uint64_t pairs = from_environment("SHMIF_PAIRS", 20);
  const std::vector<Moment> before = moments_with_lock([&] { return !has_claim(); });
  const std::vector<Moment> within = moments_with_lock([&] { return has_claim(); });
  ASSERT_FALSE(before.empty() || within.empty());
  for (std::uint64_t i = 0; i < pairs && !HasFatalFailure(); ++i) {
    const std::uint64_t a = random_() % before.size(), b = random_() % within.size();
    SCOPED_TRACE("before instructions " + std::to_string(a) + " and " + std::to_string(b));
    stop_two(before[a], within[b], {.others = 2, .second_first = false, .kill = false});
  }
  EXPECT_TRUE(rig_.finish());
}

// A reader stopped before any instruction of its receive, until the senders have gone round the
// ring: whatever it then delivers is whole, and it counts each frame exactly once (I6).

enum class Take : std::uint8_t { copied, in_place };

/// A frame all of whose payload repeats the last byte of its source address.
struct Marked {
  Marked(std::size_t payload, std::uint16_t gso, unsigned mark)
      : bytes(build(kShape, payload, mark)), offload(header_for(kShape, gso)) {
    std::fill_n(bytes.begin(), 6, std::byte{0xff});
    bytes[11] = static_cast<std::byte>(mark);
    std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(kShape.payload()), bytes.end(),
              bytes[11]);
    if (gso == 0) offload = {};
  }
  FrameView view() const {
    FrameView v(bytes.data(), bytes.size());
    v.offload = offload;
    return v;
  }
  static bool is_whole(std::span<const std::byte> frame) {
    return frame.size() > kShape.payload() &&
           std::ranges::all_of(frame.subspan(kShape.payload()),
                               [&](std::byte b) { return b == frame[11]; });
  }

  static constexpr Shape kShape{};
  Bytes bytes;
  Offload offload;
};

class StepLap : public Steps {
 protected:
  /// What is received: three frames of `payload` bytes, or super-frames to be cut into segments of
  /// `gso`.
  void lap_at_every_step(std::uint64_t stride, const BusOptions& options, std::size_t payload,
                         std::uint16_t gso, Take take) {
    const TempBus bus(options);
    Port steady = port_on(bus.path(), {.name = "steady"});
    unsigned mark = 0;
    const auto send = [&](std::size_t bytes, std::uint16_t segments) {
      const Marked frame(bytes, segments, ++mark);
      const FrameView view = frame.view();
      return steady.send({&view, 1}).taken == 1;
    };
    // Of lengths that differ, so that what comes round the ring does not begin where the old did.
    const auto go_round = [&] {
      std::uint64_t left = bus.info().ring_bytes + payload;
      while (left > 0) {
        const std::size_t bytes = 1300 + std::size_t{8} * (mark % 7);
        if (!send(bytes, 0)) return false;
        left -= std::min<std::uint64_t>(left, bytes);
      }
      return true;
    };
    at_every_step(
        stride, [&] { return read_all(bus, Marked(payload, gso, 1), take); },
        [&](Tracee&) { return send(payload, gso) && send(payload, gso) && send(payload, gso); },
        [&](Tracee& victim, bool) {
          ASSERT_TRUE(go_round());
          ASSERT_EQ(victim.finish(), kFine);
        });
    EXPECT_GT(*overruns_, 0U) << "nobody was lapped";
  }

 private:
  enum Exit : std::uint8_t { kFine, kTorn, kMiscounted };
  static constexpr std::size_t kMaxFrames = 64;

  /// The first batch between the marks, and then the rest. One frame was received before, so that
  /// what is resolved at the first call only is not part of the steps.
  int read_all(const TempBus& bus, const Marked& first, Take take) const {
    const std::uint64_t before = bus.info().frames;
    Port port = port_on(bus.path(), {.name = "reader"});
    FrameBatch batch(kMaxFrames, 1U << 18U);
    {
      Port other = port_on(bus.path(), {.name = "other"});
      const FrameView view = first.view();
      if (other.send({&view, 1}).error || !receives_whole_ones(port, batch, take, false))
        return kTorn;
    }
    if (!receives_whole_ones(port, batch, take, true)) return kTorn;
    for (std::uint64_t seen = 0; seen != passed(port.counters());) {
      seen = passed(port.counters());
      if (!receives_whole_ones(port, batch, Take::copied, false)) return kTorn;
    }
    const PortCounters counts = port.counters();
    *overruns_ += counts.overruns;
    const bool each_once = passed(counts) == bus.info().frames - before && counts.corrupt == 0;
    return each_once ? kFine : kMiscounted;
  }
  /// Lent frames are judged while they are lent; those that release() then says are torn may be.
  /// `marked`: the test stops it on the way.
  static bool receives_whole_ones(Port& port, FrameBatch& batch, Take take, bool marked) {
    std::array<bool, kMaxFrames> whole{};
    const auto judge = [&] {
      for (std::size_t i = 0; i < batch.size(); ++i) whole.at(i) = Marked::is_whole(batch[i].bytes);
    };
    batch.clear();
    std::size_t torn = 0;
    if (marked) Tracee::begin();
    const bool lent = take == Take::in_place;
    const ReceiveResult got = lent ? port.receive_in_place(batch) : port.receive(batch);
    if (lent) {
      judge();
      torn = port.release();
    }
    if (marked) Tracee::end();
    if (!lent) judge();
    return !got.error &&
           std::all_of(whole.begin() + torn, whole.begin() + batch.size(), std::identity());
  }

  const Shared<std::atomic<std::uint64_t>> overruns_;
};

TEST_F(StepLap, FramesThatAreCopiedAreWhole) {
  lap_at_every_step(stride_or(5), small_ring(), 300, 0, Take::copied);
}

TEST_F(StepLap, FramesThatAreLentAreWholeOrSaidToBeTorn) {
  lap_at_every_step(stride_or(60), small_ring(), 300, 0, Take::in_place);
}

TEST_F(StepLap, ASuperFrameThatIsCutUpIsWhole) {
  lap_at_every_step(stride_or(8), {.ring_bytes = 1U << 20U}, 100, 64, Take::copied);
}

// A process killed after any instruction of a request for a change, of its answer, and of a change
// of the partitions.

constexpr std::chrono::milliseconds kForEver{20000};

bus::Board board_at(const std::string& path) {
  return bus::Board::open(path, Access::read_write).value();
}

std::optional<bus::BoardPort> port_named(const bus::Board& board, const std::string& name) {
  for (bus::BoardPort& port : board.ports()) {
    if (port.name == name) return port;
  }
  return std::nullopt;
}

/// Takes one request, notes it and answers it, as the owner of a port does.
void serve_once(bus::Board& board, const bus::BoardPort& self) {
  std::optional<bus::BoardChange> taken;
  while (!(taken = board.take(self.slot, self.incarnation)))
    std::this_thread::sleep_for(std::chrono::microseconds(50));  // leaves the CPU to the victim
  board.add({.name = self.name, .text = taken->text});
  board.answer(taken->number, {.done = true, .text = "done: " + taken->text});
}

/// A process that owns a port and serves requests until it is killed.
class Server {
 public:
  Server(const TempBus& bus, const std::string& name)
      : child_([&bus, name] {
          static std::optional<Port> port;
          port = port_on(bus.path(), {.name = name});
          static std::optional<std::jthread> thread;
          thread.emplace([&bus, name] {
            bus::Board board = board_at(bus.path());
            const bus::BoardPort self = *port_named(board, name);
            for (;;) serve_once(board, self);
          });
          return true;
        }) {}
  bool works() const { return child_.works(); }

 private:
  StayingChild child_;
};

class BoardKill : public Steps {
 protected:
  /// The next request works, whatever was left behind.
  void expect_next_works(const TempBus& bus) {
    bus::Board board = board_at(bus.path());
    const auto port = port_named(board, "server");
    ASSERT_TRUE(port);
    const auto answer = board.ask(*port, "next", kForEver);
    ASSERT_TRUE(answer) << answer.error().message;
    ASSERT_EQ(answer->text, "done: next");
  }
};

TEST_F(BoardKill, ARequesterKilledAtAnyInstructionLeavesTheNextRequestToWork) {
  const TempBus bus;
  const Server server(bus, "server");
  ASSERT_TRUE(server.works());
  after_every_count(
      stride_or(600),
      [&] {
        bus::Board board = board_at(bus.path());
        const auto port = port_named(board, "server");
        if (!port || !board.ask(*port, "first", kForEver)) return 1;
        Tracee::begin();
        const auto answer = board.ask(*port, "change", kForEver);
        Tracee::end();
        return answer && answer->text == "done: change" ? 0 : 1;
      },
      [](Tracee&) { return true; },
      [&](Tracee& victim, bool) {
        victim.kill();
        expect_next_works(bus);
      });
}

TEST_F(BoardKill, AWriterOfPartitionsKilledAtAnyInstructionLeavesAWholeTextOrNone) {
  const TempBus bus;
  bus::Board board = board_at(bus.path());
  const auto set = [](bus::Board& to, const std::string& text) {
    return bool(to.change_standing([&](const std::string&) { return text; }, kForEver));
  };
  const std::string before = "partition a,b,c / d,e,f";
  const std::string after = "partition a / b";
  ASSERT_TRUE(set(board, before));
  after_every_count(
      stride_or(40),
      [&] {
        bus::Board own = board_at(bus.path());
        if (!set(own, before)) return 1;
        Tracee::begin();
        const bool done = set(own, after);
        Tracee::end();
        return done ? 0 : 1;
      },
      [](Tracee&) { return true; },
      [&](Tracee& victim, bool ended) {
        victim.kill();
        const std::string found = board.standing();
        ASSERT_TRUE(found == after || (!ended && (found == before || found.empty()))) << found;
        ASSERT_TRUE(set(board, before)) << "the next writer";
        ASSERT_EQ(board.standing(), before);
      });
}

TEST_F(BoardKill, AnOwnerKilledAtAnyInstructionOfItsAnswerKeepsNobodyWaiting) {
  const TempBus bus;
  const Server server(bus, "server");
  ASSERT_TRUE(server.works());
  const RawBus raw(bus.path());
  const auto& request = reinterpret_cast<const bus::BoardMemory*>(
                            reinterpret_cast<const std::byte*>(&raw.header()) + bus::kBoardOffset)
                            ->request;
  std::optional<Child> requester;
  const auto ask_the_victim = [&] {
    requester.emplace([&]() -> int {
      bus::Board board = board_at(bus.path());
      const auto port = port_named(board, "victim");
      if (!port) return 1;
      const auto answer = board.ask(*port, "change", kForEver);
      if (answer) return answer->text == "done: change" ? 0 : 2;
      return answer.error().code == std::errc::no_such_process ? 0 : 3;
    });
  };
  at_every_step(
      stride_or(40),
      [&] {
        const Port port = port_on(bus.path(), {.name = "victim"});
        bus::Board board = board_at(bus.path());
        const bus::BoardPort self = *port_named(board, "victim");
        std::optional<bus::BoardChange> taken;
        Tracee::begin();
        while (!taken) taken = board.take(self.slot, self.incarnation);
        board.add({.name = self.name, .text = taken->text});
        board.answer(taken->number, {.done = true, .text = "done: " + taken->text});
        Tracee::end();
        return 0;
      },
      [&](Tracee&) {
        ask_the_victim();
        // Until the request is posted: the number of steps before it would be a matter of luck.
        return eventually([&] {
          return bus::request_word::stage(bus::load_seq_cst(request.word)) ==
                 bus::request_word::kPosted;
        });
      },
      [&](Tracee& victim, bool) {
        victim.kill();
        ASSERT_TRUE(requester);
        ASSERT_EQ(requester->wait(), 0);
        requester.reset();
        expect_next_works(bus);
      });
}

}  // namespace
}  // namespace shmif::test
