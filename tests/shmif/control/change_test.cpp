// Changes asked for by one process and made by another, through the public interface.

#include "shmif/control/change.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/wall_clock.hpp"
#include "bus/atomics.hpp"
#include "bus/board/board.hpp"
#include "shmif/control/change_desk.hpp"
#include "shmif/control/change_text.hpp"
#include "shmif/control/partition.hpp"
#include "shmif/shmif.h"
#include "tests/bus/board/raw_board.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/one_frame.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds kLong{20000};

/// A port whose owner sleeps on the desk's descriptor, as a program does.
class DeskRig {
 public:
  DeskRig(const std::string& path, const std::string& name)
      : port_(port_on(path, {.name = name})), desk_(ChangeDesk::open(port_).value()) {
    thread_ = std::jthread([this](const std::stop_token& stop) { serve(stop); });
  }
  DeskRig(const DeskRig&) = delete;
  DeskRig& operator=(const DeskRig&) = delete;
  ~DeskRig() {
    thread_.request_stop();
    thread_.join();
  }

  Port& port() { return port_; }
  unsigned served() const { return served_; }

 private:
  void serve(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      pollfd entry{desk_.descriptor(), POLLIN, 0};
      if (::poll(&entry, 1, 50) <= 0) continue;
      while (const auto request = desk_.take()) {
        ++served_;
        const auto change = parse_change(request->text);
        if (!change || change->kind == Change::Kind::move) {
          desk_.refuse(*request, "this port stays");
          continue;
        }
        const bool several =
            change->kind == Change::Kind::partition || change->kind == Change::Kind::heal;
        desk_.show(change->kind == Change::Kind::heal ? std::string() : request->text,
                   change->kind == Change::Kind::partition);
        desk_.accept(*request, several ? std::string() : request->text, "now: " + request->text);
      }
    }
  }

  Port port_;
  ChangeDesk desk_;
  std::atomic<unsigned> served_{0};
  std::jthread thread_;
};

LineState line_of(const TempBus& bus, const std::string& name) {
  for (LineState& line : line_states(Bus::open(bus.path()).value())) {
    if (line.port == name) return line;
  }
  ADD_FAILURE() << "no line " << name;
  return {};
}

TEST(Changes, AChangeIsMadeNotedAndShown) {
  const TempBus bus;
  DeskRig web(bus.path(), "web");
  EXPECT_TRUE(line_of(bus, "web").takes_changes);
  EXPECT_EQ(line_of(bus, "web").text, "");
  ASSERT_FALSE(send_one(web.port()));
  const auto said = request_change(bus.path(), "web", " link  down", kLong);
  ASSERT_TRUE(said) << said.error().message;
  EXPECT_EQ(*said, "now: link down");
  EXPECT_EQ(line_of(bus, "web").text, "link down");
  const std::vector<BusChange> log = changes(Bus::open(bus.path()).value());
  ASSERT_EQ(log.size(), 1U);
  EXPECT_EQ(log[0].number, 0U);
  EXPECT_EQ(log[0].port, "web");
  EXPECT_EQ(log[0].text, "link down");
  EXPECT_EQ(log[0].before_frame, 1U);
  EXPECT_EQ(log[0].slot, web.port().slot());
  EXPECT_NE(log[0].time_ns, 0U);
}

TEST(Changes, ARefusalHasTheReasonOfTheOwnerAndLeavesNoEntry) {
  const TempBus bus;
  const DeskRig web(bus.path(), "web");
  const auto said = request_change(bus.path(), "web", "move /dev/shm/x", kLong);
  ASSERT_FALSE(said);
  EXPECT_EQ(said.error().code, std::errc::operation_canceled);
  EXPECT_NE(said.error().message.find("this port stays"), std::string::npos);
  EXPECT_TRUE(changes(Bus::open(bus.path()).value()).empty());
}

TEST(Changes, WhoCannotBeAskedIsNamedWithTheRemedy) {
  const TempBus bus;
  const DeskRig web(bus.path(), "web");
  const Port plain = port_on(bus.path(), {.name = "plain"});
  const auto error = [&](const std::string& port, const std::string& change) {
    const auto said = request_change(bus.path(), port, change, kLong);
    EXPECT_FALSE(said) << change;
    return said ? Error(Errc::bad_argument, "") : said.error();
  };
  EXPECT_EQ(error("nobody", "link down").code, std::errc::no_such_device);
  EXPECT_NE(error("nobody", "link down").message.find("plain"), std::string::npos)
      << "it lists those that are there";
  EXPECT_EQ(error("plain", "link down").code, std::errc::operation_not_supported);
  EXPECT_NE(error("plain", "link down").message.find("ChangeDesk"), std::string::npos);
  EXPECT_EQ(error("web", "explode").code, Errc::bad_argument);
  EXPECT_EQ(error("", "link down").code, Errc::bad_argument);
  EXPECT_EQ(error("", "partition web / nobody").code, std::errc::no_such_device);
  EXPECT_EQ(error("", "partition web / plain").code, std::errc::operation_not_supported);
  EXPECT_EQ(web.served(), 0U) << "nothing is changed if one of the names is wrong";
  EXPECT_FALSE(request_change(bus.file("none"), "web", "link down"));
  std::vector<Port> more;
  for (int i = 0; i < 12; ++i)
    more.push_back(port_on(bus.path(), {.name = "p" + std::to_string(i)}));
  EXPECT_NE(error("nobody", "link down").message.find("p9 and 2 more"), std::string::npos);
}

TEST(Changes, APartitionAsksEachNamedPortAndStandsInTheJournalOnce) {
  const TempBus bus;
  DeskRig a(bus.path(), "a"), b(bus.path(), "b"), c(bus.path(), "c"), free(bus.path(), "free");
  auto said = request_change(bus.path(), "", "partition a,b / c", kLong);
  ASSERT_TRUE(said) << said.error().message;
  EXPECT_TRUE(line_of(bus, "a").partitioned && line_of(bus, "b").partitioned &&
              line_of(bus, "c").partitioned);
  EXPECT_EQ(free.served(), 0U);
  said = request_change(bus.path(), "", "heal", kLong);
  ASSERT_TRUE(said) << said.error().message;
  EXPECT_FALSE(line_of(bus, "a").partitioned || line_of(bus, "c").partitioned);
  EXPECT_EQ(free.served(), 0U);
  const std::vector<BusChange> log = changes(Bus::open(bus.path()).value());
  ASSERT_EQ(log.size(), 2U);
  EXPECT_EQ(log[0].text, "partition a,b / c");
  EXPECT_EQ(log[0].port, "");
  EXPECT_EQ(log[1].text, "heal");
  said = request_change(bus.path(), "", "heal", kLong);
  ASSERT_TRUE(said);
  EXPECT_NE(said->find("no port"), std::string::npos) << *said;
}

TEST(Changes, APartitionHoldsForPortsThatComeLaterUntilItIsHealed) {
  const TempBus bus;
  const DeskRig a(bus.path(), "a"), b(bus.path(), "b"), c(bus.path(), "c");
  const auto held_for = [&](const std::string& name) {
    const Port port = port_on(bus.path(), {.name = name});
    return ChangeDesk::open(port).value().standing_partition();
  };
  const auto change = [&](const std::string& text) {
    const auto said = request_change(bus.path(), "", text, kLong);
    EXPECT_TRUE(said) << said.error().message;
  };
  {
    const DeskRig new_one(bus.path(), "new1"), new_two(bus.path(), "new2");
    EXPECT_EQ(held_for("new3"), "");
    change("partition a / new1,b");
    change("partition c / new2");
    change("partition a / c");  // the first partition holds for b and new1 still
  }
  EXPECT_EQ(held_for("new1"), "partition a / new1,b");
  EXPECT_EQ(held_for("new2"), "partition c / new2");
  EXPECT_EQ(held_for("new3"), "");
  {
    const DeskRig new_one(bus.path(), "new1");
    change("partition new1 / b");
  }
  EXPECT_EQ(held_for("new1"), "partition new1 / b");
  change("heal");
  EXPECT_EQ(held_for("new1"), "");
  EXPECT_EQ(held_for("new2"), "");
}

TEST(Changes, APartitionIsOverThoughAllItsPortsAreGoneOrOneDoesNotAnswer) {
  const TempBus bus;
  const auto held = [&] {
    const Port port = port_on(bus.path(), {.name = "a"});
    return ChangeDesk::open(port).value().standing_partition();
  };
  const auto part = [&] {
    const DeskRig a(bus.path(), "a"), b(bus.path(), "b");
    ASSERT_TRUE(request_change(bus.path(), "", "partition a / b", kLong));
  };
  part();
  EXPECT_EQ(held(), "partition a / b");
  const auto said = request_change(bus.path(), "", "heal", kLong);
  ASSERT_TRUE(said);
  EXPECT_NE(said->find("no port that is attached was in it"), std::string::npos) << *said;
  EXPECT_EQ(changes(Bus::open(bus.path()).value()).back().text, "heal");
  part();
  {
    const Port silent = port_on(bus.path(), {.name = "b"});
    ChangeDesk desk = ChangeDesk::open(silent).value();
    desk.show("partition a / b", true);
    EXPECT_FALSE(request_change(bus.path(), "", "heal", 20ms));
  }
  EXPECT_EQ(held(), "");
}

/// Nobody has made the change, so it does not hold for those who come.
TEST(Changes, APartitionThatNobodyMadeDoesNotHold) {
  const TempBus bus;
  const DeskRig a(bus.path(), "a"), b(bus.path(), "b");
  ASSERT_TRUE(request_change(bus.path(), "", "partition a / b", kLong));
  std::string held;
  {
    const Port first = port_on(bus.path(), {.name = "first"});
    const ChangeDesk silent = ChangeDesk::open(first).value();
    const Port second = port_on(bus.path(), {.name = "second"});
    const ChangeDesk mute = ChangeDesk::open(second).value();
    EXPECT_FALSE(request_change(bus.path(), "", "partition first / second", 20ms));
    held = silent.standing_partition();
  }
  EXPECT_EQ(held, "");
  const Port again = port_on(bus.path(), {.name = "first"});
  EXPECT_EQ(ChangeDesk::open(again).value().standing_partition(), "");
}

TEST(Changes, AnswersOfOthersCannotControlATerminal) {
  const TempBus bus;
  const DeskRig web(bus.path(), "web");
  const auto said = request_change(bus.path(), "web", "fault \x1b[31mred", kLong);
  ASSERT_TRUE(said);
  EXPECT_EQ(said->find('\x1b'), std::string::npos);
}

TEST(Changes, ADeskNeedsAPortOnABusOfOurFormat) {
  const TempBus bus;
  EXPECT_EQ(ChangeDesk::open(Port()).error().code, Errc::not_linked);
  const std::string other = bus.file("netbsd");
  Bus::create(other, {.format = BusFormat::netbsd}).value();
  const Port port = port_on(other);
  EXPECT_EQ(ChangeDesk::open(port).error().code, std::errc::operation_not_supported);
  EXPECT_TRUE(changes(Bus::open(other).value()).empty());
  EXPECT_TRUE(line_states(Bus::open(other).value()).empty());
  EXPECT_EQ(ChangeLog::open(other, ChangeLog::From::oldest).error().code,
            std::errc::operation_not_supported);
}

TEST(Changes, ADeskIsRefusedWhenAnotherBusTookThePath) {
  const TempBus bus;
  const Port port = port_on(bus.path(), {.name = "web"});
  const Bus old = Bus::open(bus.path()).value();
  std::filesystem::rename(bus.path(), bus.file("old"));
  Bus::create(bus.path(), {}).value();
  const Port other = port_on(bus.path(), {.name = "web"});  // the same name, in the same slot
  const auto desk = ChangeDesk::open(port);
  ASSERT_FALSE(desk);
  EXPECT_EQ(desk.error().code, Errc::copied_file);
  ChangeDesk::open(other).value().note("link down");
  EXPECT_TRUE(changes(old).empty()) << "that was on the other bus";
  EXPECT_TRUE(line_states(old).empty());
}

TEST(Changes, TheLogIsFollowedInOrderAndTellsWhatItMissed) {
  const TempBus bus;
  const Port port = port_on(bus.path(), {.name = "web"});
  ChangeDesk desk = ChangeDesk::open(port).value();
  desk.note("first");
  ChangeLog all = ChangeLog::open(bus.path(), ChangeLog::From::oldest).value();
  ChangeLog fresh = ChangeLog::open(bus.path(), ChangeLog::From::now).value();
  EXPECT_TRUE(all.has_more());
  EXPECT_FALSE(fresh.has_more());
  desk.note("second");
  ASSERT_EQ(all.take().size(), 2U);
  const auto news = fresh.take();
  ASSERT_EQ(news.size(), 1U);
  EXPECT_EQ(news[0].text, "second");
  EXPECT_FALSE(all.has_more());
  for (int i = 0; i < 100; ++i) desk.note(std::to_string(i));
  const auto last = all.take();
  ASSERT_EQ(last.size(), 96U);
  EXPECT_EQ(last.back().text, "99");
  EXPECT_EQ(all.missed(), 4U);
}

TEST(Changes, OfSeveralPartitionsTheNewestHoldsForAPortAndThoseThatHoldForNobodyAreGone) {
  const TempBus bus;
  const DeskRig b(bus.path(), "b"), c(bus.path(), "c");
  const auto change = [&](const std::string& text) {
    const DeskRig a(bus.path(), "a");
    const auto said = request_change(bus.path(), "", text, kLong);
    EXPECT_TRUE(said) << said.error().message;
  };
  const auto standing = [&] {
    return bus::Board::open(bus.path(), Access::read_only).value().standing();
  };
  const auto held_for_a = [&] {
    const Port port = port_on(bus.path(), {.name = "a"});
    return ChangeDesk::open(port).value().standing_partition();
  };
  change("partition a / b");
  change("partition a / c");
  EXPECT_EQ(standing(), "partition a / c\npartition a / b") << "the older one holds for b still";
  EXPECT_EQ(held_for_a(), "partition a / c");
  change("partition a / b / c");
  EXPECT_EQ(standing(), "partition a / b / c");
  EXPECT_EQ(held_for_a(), "partition a / b / c");
}

TEST(Changes, APartitionOfOnePortStandsInTheJournalWithThatPortAndDoesNotHoldForLaterOnes) {
  const TempBus bus;
  DeskRig a(bus.path(), "a"), b(bus.path(), "b");
  ASSERT_FALSE(send_one(b.port()));
  ASSERT_TRUE(request_change(bus.path(), "a", "partition a / b", kLong));
  EXPECT_FALSE(line_of(bus, "b").partitioned);
  ASSERT_TRUE(request_change(bus.path(), "a", "heal", kLong));
  const std::vector<BusChange> log = changes(Bus::open(bus.path()).value());
  ASSERT_EQ(log.size(), 2U);
  for (const BusChange& each : log) {
    EXPECT_EQ(each.port, "a");
    EXPECT_EQ(each.slot, a.port().slot());
    EXPECT_EQ(each.before_frame, 1U);
  }
  EXPECT_EQ(log[0].text, "partition a / b");
  EXPECT_EQ(log[1].text, "heal");
  const Port again = port_on(bus.path(), {.name = "c"});
  EXPECT_EQ(ChangeDesk::open(again).value().standing_partition(), "");
}

TEST(Changes, AnEntryThatIsNeverCompletedIsLeftOutAfterASecondAndCountedAsMissed) {
  const TempBus bus;
  const Port port = port_on(bus.path(), {.name = "web"});
  ChangeDesk desk = ChangeDesk::open(port).value();
  ChangeLog log = ChangeLog::open(bus.path(), ChangeLog::From::oldest).value();
  const bus::RawBoard raw(bus.path());
  desk.note("first");
  ++raw.memory().request.changes;  // a process drew number 1, and was killed
  desk.note("third");
  EXPECT_EQ(log.take().size(), 1U);
  EXPECT_TRUE(log.has_more());
  EXPECT_EQ(log.missed(), 0U) << "it may still come";
  std::vector<BusChange> rest;
  EXPECT_TRUE(eventually([&] { return !(rest = log.take()).empty(); }));
  ASSERT_EQ(rest.size(), 1U);
  EXPECT_EQ(rest[0].text, "third");
  EXPECT_EQ(rest[0].number, 2U);
  EXPECT_EQ(log.missed(), 1U);
  EXPECT_FALSE(log.has_more());
}

TEST(Changes, NobodyIsWokenByTrafficAndNoFrameIsAskedFor) {
  const TempBus bus;
  Port sender = port_on(bus.path());
  const Port port = port_on(bus.path(), {.name = "web"});
  const ChangeDesk desk = ChangeDesk::open(port).value();
  for (int i = 0; i < 100; ++i) ASSERT_FALSE(send_one(sender));
  pollfd entry{desk.descriptor(), POLLIN, 0};
  EXPECT_EQ(::poll(&entry, 1, 0), 0);
}

TEST(Changes, APartitionReachesThePortsBehindOneThatIsSilentAndTheJournalNamesThem) {
  const TempBus file;
  const DeskRig a(file.path(), "a");
  const DeskRig b(file.path(), "b");
  Port silent = port_on(file.path(), {.name = "c"});
  const ChangeDesk desk = ChangeDesk::open(silent).value();  // nobody serves it
  Port mute = port_on(file.path(), {.name = "d"});
  const ChangeDesk mute_desk = ChangeDesk::open(mute).value();
  // The ports behind the silent ones must answer in this time on a busy machine, too.
  const auto said = request_change(file.path(), "", "partition a / c / d / b", 2s);
  ASSERT_FALSE(said);
  EXPECT_EQ(said.error().code, Errc::timed_out);
  EXPECT_TRUE(said.error().message.starts_with("cannot change port \"c\" of " + file.path()))
      << said.error().message;
  EXPECT_TRUE(said.error().message.ends_with("; also failed: d; done: a, b"))
      << said.error().message;
  EXPECT_TRUE(line_of(file, "b").partitioned);
  const std::vector<BusChange> noted = changes(Bus::open(file.path()).value());
  ASSERT_EQ(noted.size(), 2U);
  EXPECT_EQ(noted[0].port, "a");
  EXPECT_EQ(noted[1].port, "b");
  for (const BusChange& each : noted) EXPECT_EQ(each.text, "partition a / c / d / b");

  const auto healed = request_change(file.path(), "", "heal", 2s);
  EXPECT_TRUE(healed) << "the silent ports are in no partition: " << healed.error().message;
  EXPECT_FALSE(line_of(file, "b").partitioned);
}

TEST(Changes, ACountThatANeighbourKeepsWritingNeverMakesMoreEntriesThanThereAre) {
  const TempBus file;
  const Bus bus = Bus::open(file.path()).value();
  auto log = ChangeLog::open(file.path(), ChangeLog::From::oldest).value();
  const bus::RawBoard raw(file.path());
  const std::jthread neighbour([&](const std::stop_token& stop) {
    for (std::uint64_t n = 0; !stop.stop_requested(); ++n) {
      bus::store_relaxed(raw.memory().request.changes, n % 3 == 0   ? 0
                                                       : n % 3 == 1 ? ~std::uint64_t{0}
                                                                    : std::uint64_t{1} << 62U);
    }
  });
  for (int i = 0; i < 20000; ++i) {
    EXPECT_LE(log.take().size(), bus::kJournalEntries);
    if (i % 100 == 0) {
      EXPECT_LE(changes(bus).size(), bus::kJournalEntries);
    }
  }
}

TEST(Changes, FramesBeforeTheNumberOfAChangeAreOlderThanItsTime) {
  const TempBus bus;
  DeskRig web(bus.path(), "web");
  const DeskRig user(bus.path(), "user");
  std::vector<std::uint64_t> sent;  // when each frame was about to be sent
  sent.reserve(1U << 20U);
  std::jthread sender([&](const std::stop_token& stop) {
    Port port = port_on(bus.path(), {.name = "sender"});
    while (!stop.stop_requested() && sent.size() < sent.capacity()) {
      sent.push_back(base::wall_clock_ns());
      static_cast<void>(send_one(port));
      std::this_thread::sleep_for(10us);
    }
  });
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(request_change(bus.path(), "", "partition web / user", kLong));
    EXPECT_TRUE(request_change(bus.path(), "", "heal", kLong));
    EXPECT_TRUE(request_change(bus.path(), "web", i % 2 == 0 ? "link down" : "link up", kLong));
  }
  sender.request_stop();
  sender.join();
  const std::vector<BusChange> log = changes(Bus::open(bus.path()).value());
  EXPECT_EQ(log.size(), 30U);
  for (const BusChange& each : log) {
    ASSERT_LE(each.before_frame, sent.size());
    if (each.before_frame > 0) {
      EXPECT_LE(sent[each.before_frame - 1], each.time_ns) << each.text;
    }
  }
}

TEST(Changes, APortRefusesARequestForAnotherName) {
  const TempBus bus;
  const DeskRig web(bus.path(), "web");
  const DeskRig user(bus.path(), "user");
  RawBus raw(bus.path());
  std::swap(raw.slot(0).name, raw.slot(1).name);  // as any writer can
  const auto said = request_change(bus.path(), "web", "link down", kLong);
  ASSERT_FALSE(said);
  EXPECT_NE(said.error().message.find("this is port \"user\""), std::string::npos)
      << said.error().message;
  EXPECT_EQ(web.served() + user.served(), 0U);
  EXPECT_TRUE(changes(Bus::open(bus.path()).value()).empty());
}

TEST(Changes, WhoAsksAsSoonAsThePortShowsThatItTakesThemIsAnswered) {
  const TempBus bus;
  for (int round = 0; round < 150; ++round) {
    std::optional<std::string> answered;
    std::jthread asker([&, board = bus::Board::open(bus.path(), Access::read_write).value()](
                           const std::stop_token& stop) mutable {
      while (!stop.stop_requested()) {
        for (const bus::BoardPort& each : board.ports()) {
          if (!each.takes_changes) continue;
          const auto answer = board.ask(each, "fault loss=1%", kLong);
          answered = answer ? answer->text : answer.error().message;
          return;
        }
      }
    });
    const Port port = port_on(bus.path(), {.name = "web"});
    ChangeDesk desk = ChangeDesk::open(port).value();
    pollfd entry{desk.descriptor(), POLLIN, 0};
    ASSERT_EQ(::poll(&entry, 1, 5000), 1) << round;
    while (const auto request = desk.take()) desk.accept(*request, {}, "done");
    asker.join();
    ASSERT_EQ(answered, "done") << round;
  }
}

TEST(Changes, WhoSaidThatItMovesAndDidNotHasNotMoved) {
  const TempBus bus;
  const std::string other = bus.path() + "-other";
  Bus::create(other, {}).value();
  for (const bool stays : {true, false}) {
    std::optional<Port> port = port_on(bus.path(), {.name = "web"});
    std::optional<ChangeDesk> desk = ChangeDesk::open(*port).value();
    std::jthread server([&] {
      pollfd entry{desk->descriptor(), POLLIN, 0};
      static_cast<void>(::poll(&entry, 1, 20000));
      while (const auto request = desk->take()) desk->accept(*request, {}, "it moves");
      if (stays) return;
      desk.reset();
      port.reset();
    });
    std::optional<Port> of_its_name;
    if (!stays) of_its_name = port_on(other, {.name = "web"});
    const auto said = request_change(bus.path(), "web", "move " + other, 300ms);
    server.join();
    ASSERT_FALSE(said) << stays << ": " << *said;
    EXPECT_EQ(said.error().code, std::errc::timed_out);
    EXPECT_NE(said.error().message.find(stays ? "is still here" : "takes no changes on " + other),
              std::string::npos)
        << said.error().message;
  }
}

}  // namespace
}  // namespace shmif::test

// The texts of changes.

namespace shmif {
namespace {

using Kind = Change::Kind;

TEST(ChangeText, EveryFormIsReadAndWrittenAgain) {
  for (const std::string text :
       {"fault loss=5%,seed=7", "fault none", "link up", "link down", "partition a,b / c,d",
        "partition a / b / c", "heal", "move /dev/shm/bus 1"}) {
    const auto change = parse_change(text);
    ASSERT_TRUE(change) << text << ": " << change.error().message;
    EXPECT_EQ(to_text(*change), text);
  }
}

TEST(ChangeText, BlanksAroundItsPartsDoNotMatter) {
  EXPECT_EQ(to_text(*parse_change("  link \t down ")), "link down");
  EXPECT_EQ(to_text(*parse_change("partition  a , b/c,d ")), "partition a,b / c,d");
  EXPECT_EQ(parse_change("fault  in:loss=1% ; out:loss=2% ")->value, "in:loss=1% ; out:loss=2%");
}

TEST(ChangeText, WhatIsNoChangeIsRefusedWithWhatIsPossible) {
  const std::pair<const char*, const char*> bad[] = {{"", "fault SPEC"},
                                                     {"explode", "\"explode\" is no change"},
                                                     {"Link down", "is no change"},
                                                     {"\x1b[31mred", "?[31mred"},
                                                     {"fault", "or none"},
                                                     {"link", "up or down"},
                                                     {"link sideways", "up or down"},
                                                     {"partition", "empty name"},
                                                     {"partition a,b", "two groups"},
                                                     {"partition a,,b / c", "empty name"},
                                                     {"partition a / ", "empty name"},
                                                     {"partition a / b,a", "named twice"},
                                                     {"partition a b / c", "is not a port name"},
                                                     {"heal all", "leave the rest out"},
                                                     {"move", "absolute path"},
                                                     {"move bus1", "absolute path"}};
  for (const auto& [text, says] : bad) {
    const auto change = parse_change(text);
    ASSERT_FALSE(change) << text;
    EXPECT_EQ(change.error().code, Errc::bad_argument);
    EXPECT_NE(change.error().message.find(says), std::string::npos) << change.error().message;
  }
}

}  // namespace
}  // namespace shmif

// Changes asked for through the C facade, and made by the owner of a port.

namespace shmif::test {
namespace {

constexpr int kLongMs = 20000;

/// Makes every change except a move, in a thread of its own.
class WillingPort {
 public:
  WillingPort(const std::string& path, const std::string& name)
      : port_(port_on(path, {.name = name})), desk_(ChangeDesk::open(port_).value()) {
    desk_.show_counts({.dropped_in = 11, .dropped_out = 12, .waiting = 13});
    thread_ = std::jthread([this](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        pollfd entry{desk_.descriptor(), POLLIN, 0};
        if (::poll(&entry, 1, 50) > 0) serve();
      }
    });
  }
  WillingPort(const WillingPort&) = delete;
  WillingPort& operator=(const WillingPort&) = delete;
  ~WillingPort() {
    thread_.request_stop();
    thread_.join();
  }

 private:
  void serve() {
    while (const auto request = desk_.take()) {
      if (request->text.starts_with("move")) {
        desk_.refuse(*request, "this port stays");
        continue;
      }
      desk_.show(request->text, request->text.starts_with("partition"));
      desk_.accept(*request, request->text, "now: " + request->text);
    }
  }

  Port port_;
  ChangeDesk desk_;
  std::jthread thread_;
};

shmif_port_info row_of(const std::string& path) {
  shmif_port_info row{};
  row.size = sizeof row;
  EXPECT_EQ(shmif_list_ports(path.c_str(), &row, 1), 1);
  return row;
}

TEST(CChanges, AreMadeAnsweredAndShown) {
  const TempBus bus;
  const WillingPort web(bus.path(), "web");
  const char* const path = bus.path().c_str();
  std::array<char, 64> text{};
  ASSERT_EQ(shmif_change(path, "web", "fault loss=5%", kLongMs, text.data(), text.size()), 0);
  EXPECT_STREQ(text.data(), "now: fault loss=5%");
  EXPECT_EQ(shmif_line(path, "web", text.data(), text.size()), 13);
  EXPECT_STREQ(text.data(), "fault loss=5%");
  EXPECT_EQ(shmif_line(path, "web", text.data(), 6), 13);
  EXPECT_STREQ(text.data(), "fault");

  shmif_port_info row = row_of(bus.path());
  EXPECT_TRUE((row.flags & SHMIF_PORT_TAKES_CHANGES) != 0);
  EXPECT_TRUE((row.flags & SHMIF_PORT_PARTITIONED) == 0);
  EXPECT_TRUE((row.flags & SHMIF_PORT_LINE_COUNTED) != 0);
  EXPECT_EQ(row.line_dropped_in, 11U);
  EXPECT_EQ(row.line_dropped_out, 12U);
  EXPECT_EQ(row.line_waiting, 13U);
  ASSERT_EQ(shmif_change(path, nullptr, "partition web / user", kLongMs, nullptr, 0), -ENODEV);
  ASSERT_EQ(shmif_change(path, "web", "partition web / user", kLongMs, nullptr, 0), 0);
  EXPECT_TRUE((row_of(bus.path()).flags & SHMIF_PORT_PARTITIONED) != 0);
}

TEST(CChanges, ACarrierThatIsNotKnownIsNotTold) {
  const TempBus bus;
  Port port = port_on(bus.path());
  ASSERT_FALSE(port.set_carrier_unknown());
  EXPECT_EQ(row_of(bus.path()).flags & (SHMIF_PORT_CARRIER | SHMIF_PORT_CARRIER_KNOWN), 0U);
}

TEST(CChanges, APortThatDoesNotAnswerInTimeIsReported) {
  const TempBus bus;
  Port port = port_on(bus.path(), {.name = "web"});
  const ChangeDesk desk = ChangeDesk::open(port).value();
  EXPECT_EQ(shmif_change(bus.path().c_str(), "web", "link down", 10, nullptr, 0), -ETIMEDOUT);
  EXPECT_NE(std::strstr(shmif_message(), "web"), nullptr) << shmif_message();
}

}  // namespace
}  // namespace shmif::test

// Which senders a port of a partition ignores.

namespace shmif {
namespace {

using Names = std::map<std::pair<unsigned, std::uint32_t>, std::string>;

/// Counts its look-ups.
struct Table {
  Names names;
  unsigned looks = 0;
  Partition::NameOf name_of() {
    return [this](unsigned slot, std::uint32_t incarnation) {
      ++looks;
      const auto found = names.find({slot, incarnation});
      return found == names.end() ? std::string() : found->second;
    };
  }
};

TEST(Partition, IgnoresThePortsOfOtherGroupsAndNoOthers) {
  Table table{{{{0, 1}, "a"}, {{1, 1}, "b"}, {{2, 1}, "c"}, {{3, 1}, "free"}}};
  Partition of_a({{"a", "b"}, {"c"}}, "a", table.name_of());
  EXPECT_TRUE(of_a.is_active());
  EXPECT_FALSE(of_a.ignores(1, 1));
  EXPECT_TRUE(of_a.ignores(2, 1));
  EXPECT_FALSE(of_a.ignores(3, 1)) << "it is in no group";
  Partition of_c({{"a", "b"}, {"c"}}, "c", table.name_of());
  EXPECT_TRUE(of_c.ignores(0, 1));
  EXPECT_TRUE(of_c.ignores(1, 1));
  Partition of_free({{"a", "b"}, {"c"}}, "free", table.name_of());
  EXPECT_FALSE(of_free.is_active());
  EXPECT_FALSE(of_free.ignores(2, 1));
  EXPECT_FALSE(Partition().ignores(0, 1));
}

TEST(Partition, LooksUpEachSenderOnceAndAgainWhenTheSlotHasAnotherPort) {
  Table table{{{{2, 1}, "c"}, {{2, 2}, "b"}, {{2, 3}, "c"}}};
  Partition of_a({{"a", "b"}, {"c"}}, "a", table.name_of());
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(of_a.ignores(2, 1));
  EXPECT_EQ(table.looks, 1U);
  EXPECT_FALSE(of_a.ignores(2, 2)) << "another port has the slot";
  EXPECT_TRUE(of_a.ignores(2, 3)) << "c came again";
  EXPECT_EQ(table.looks, 3U);
}

TEST(Partition, ASenderWithoutANameIsHeardAndLookedUpAgain) {
  Table table;
  Partition of_a({{"a"}, {"c"}}, "a", table.name_of());
  EXPECT_FALSE(of_a.ignores(2, 1));
  table.names[{2, 1}] = "c";
  EXPECT_TRUE(of_a.ignores(2, 1));
  EXPECT_FALSE(of_a.ignores(256, 1)) << "no such slot";
  EXPECT_FALSE(of_a.ignores(0xffff, 1));
}

}  // namespace
}  // namespace shmif
