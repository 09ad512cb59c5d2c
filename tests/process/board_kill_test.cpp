// A process killed after any instruction of a request for a change, of its answer, and of a change
// of the partitions.

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>
#include <thread>

#include "bus/board/board.hpp"
#include "bus/board/board_layout.hpp"
#include "tests/process/steps.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

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
