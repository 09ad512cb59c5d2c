// The board: requests, answers, the journal and the lines, from both sides and with hostile bytes.

#include "bus/board/board.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <random>
#include <regex>
#include <sstream>
#include <string>
#include <thread>

#include "base/unique_fd.hpp"
#include "bus/atomics.hpp"
#include "bus/board/board_layout.hpp"
#include "shmif/port.hpp"
#include "tests/bus/board/raw_board.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/paths.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::bus {
namespace {

using namespace std::chrono_literals;
using test::Child;
using test::Shared;
using test::TempBus;

constexpr auto kLong = std::chrono::milliseconds(20000);

Board board_at(const std::string& path) {
  return Board::open(path, Access::read_write).value();
}

/// The port of this name, as requesters find it.
BoardPort find(const Board& board, const std::string& name) {
  for (BoardPort& port : board.ports()) {
    if (port.name == name) return port;
  }
  ADD_FAILURE() << "no port " << name;
  return {};
}

/// A process that owns a port and answers each request with its text.
class EchoingOwner {
 public:
  explicit EchoingOwner(const std::string& path, const std::string& name)
      : child_([&, path, name]() -> int {
          const Port port = test::port_on(path, {.name = name});
          Board board = board_at(path);
          BoardPort self = find(board, name);
          self.takes_changes = true;
          board.show(self);
          *ready_ = true;
          for (;; ++*looks_) {
            if (auto taken = board.take(self.slot, self.incarnation)) {
              ++*applied_;
              board.answer(taken->number, {.done = true, .text = name + ": " + taken->text});
            } else {
              std::this_thread::sleep_for(200us);
            }
          }
        }) {
    EXPECT_TRUE(test::eventually([&] { return ready_->load(); }));
  }
  Child& process() { return child_; }
  unsigned applied() const { return *applied_; }
  /// Waits until it has looked for a request, from the beginning to the end.
  testing::AssertionResult looks_again() const {
    const unsigned before = *looks_;
    if (test::eventually([&] { return *looks_ - before >= 2; })) return testing::AssertionSuccess();
    return testing::AssertionFailure() << "it does not run";
  }

 private:
  Shared<std::atomic<bool>> ready_;
  Shared<std::atomic<unsigned>> applied_;
  Shared<std::atomic<unsigned>> looks_;
  Child child_;
};

TEST(Board, ManyRequestersAtOnceEachGetTheAnswerToTheirOwnRequest) {
  const TempBus bus;
  EchoingOwner a(bus.path(), "a"), b(bus.path(), "b");
  std::vector<Child> requesters;
  constexpr int kRequesters = 6;
  constexpr int kEach = 15;
  for (int r = 0; r < kRequesters; ++r) {
    requesters.emplace_back([&, r]() -> int {
      Board board = board_at(bus.path());
      for (int i = 0; i < kEach; ++i) {
        const std::string to = i % 2 == 0 ? "a" : "b";
        const std::string text = std::to_string(r) + '.' + std::to_string(i);
        const auto answer = board.ask(find(board, to), text, kLong);
        if (!answer || answer->text != to + ": " + text) return 1;
      }
      return 0;
    });
  }
  for (Child& each : requesters) EXPECT_EQ(each.wait(), 0);
  EXPECT_EQ(a.applied() + b.applied(), static_cast<unsigned>(kRequesters * kEach));
}

TEST(Board, ARequestToAStoppedProcessIsWithdrawnAndNotAppliedLater) {
  const TempBus bus;
  EchoingOwner owner(bus.path(), "a");
  Board board = board_at(bus.path());
  const BoardPort port = find(board, "a");
  owner.process().stop();
  EXPECT_EQ(board.ask(port, std::string(1537, 'x'), kLong).error().code, Errc::bad_argument);
  const auto answer = board.ask(port, "link down", 50ms);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::timed_out);
  EXPECT_NE(answer.error().message.find("withdrawn"), std::string::npos) << answer.error().message;
  owner.process().resume();
  ASSERT_TRUE(owner.looks_again());
  EXPECT_EQ(owner.applied(), 0U) << "the withdrawn request was applied";
  const auto next = board.ask(port, "link up", kLong);
  ASSERT_TRUE(next) << next.error().message;
  EXPECT_EQ(next->text, "a: link up");
  EXPECT_EQ(owner.applied(), 1U);
}

TEST(Board, ARequesterSeesThatTheOwnerWasKilled) {
  const TempBus bus;
  EchoingOwner owner(bus.path(), "a");
  Board board = board_at(bus.path());
  const BoardPort port = find(board, "a");
  owner.process().stop();
  std::jthread killer([&] {
    std::this_thread::sleep_for(30ms);
    owner.process().kill_and_wait();
  });
  const auto answer = board.ask(port, "link down", kLong);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, std::errc::no_such_process) << answer.error().message;
}

TEST(Board, AKilledRequesterLeavesTheLockToTheNext) {
  const TempBus bus;
  EchoingOwner owner(bus.path(), "a"), still(bus.path(), "still");
  Board board = board_at(bus.path());
  const BoardPort port = find(board, "a");
  const BoardPort silent = find(board, "still");
  still.process().stop();
  const RawBoard raw(bus.path());
  {
    Child requester([&]() -> int {
      static_cast<void>(board_at(bus.path()).ask(silent, "link down", kLong));
      return 0;
    });
    ASSERT_TRUE(test::eventually([&] {
      return request_word::stage(load_seq_cst(raw.memory().request.word)) == request_word::kPosted;
    }));
    const auto busy = board.ask(port, "link down", 30ms);
    ASSERT_FALSE(busy);
    EXPECT_EQ(busy.error().code, Errc::timed_out);
    EXPECT_NE(busy.error().message.find("another change"), std::string::npos);
    const auto kept =
        board.change_standing([](const std::string&) { return "partition a / still"; }, 30ms);
    ASSERT_FALSE(kept) << "a request is under way";
    EXPECT_EQ(kept.error().code, Errc::timed_out);
    EXPECT_EQ(board.standing(), "");
    requester.kill_and_wait();
  }
  const auto answer = board.ask(port, "link up", kLong);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->text, "a: link up");
}

TEST(Board, AnAnswerThatDoesNotFitItsChecksumIsNotTaken) {
  const TempBus bus;
  const Port port = test::port_on(bus.path(), {.name = "a"});
  Board board = board_at(bus.path());
  const RawBoard raw(bus.path());
  BoardRequest& r = raw.memory().request;
  std::jthread forger([&] {
    const std::uint64_t number = request_word::number(load_seq_cst(r.word)) + 1;
    std::memcpy(r.answer, "fine", 4);
    r.answer_bytes = 4;
    r.result = kResultDone;
    store_seq_cst(r.answered, number);
  });
  forger.join();
  const auto answer = board.ask(find(board, "a"), "link down", 30ms);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::timed_out);
}

TEST(Board, ARequestForAnEarlierPortOfTheSlotIsNotTaken) {
  const TempBus bus;
  const Port port = test::port_on(bus.path(), {.name = "a"});
  Board board = board_at(bus.path());
  const RawBoard raw(bus.path());
  const BoardPort self = find(board, "a");
  raw.memory().request.slot = self.slot;
  raw.memory().request.incarnation = self.incarnation - 1;
  raw.memory().request.word = request_word::make(7, request_word::kPosted);
  EXPECT_FALSE(board.take(self.slot, self.incarnation));
  raw.memory().request.incarnation = self.incarnation;
  EXPECT_TRUE(board.take(self.slot, self.incarnation));
  EXPECT_FALSE(board.take(self.slot, self.incarnation)) << "taken twice";
}

TEST(Board, ALineIsShownOnlyForTheIncarnationThatWroteIt) {
  const TempBus bus;
  const std::string longest(kLineTextBytes, 'x');
  {
    const Port port = test::port_on(bus.path(), {.name = "a"});
    Board board = board_at(bus.path());
    BoardPort self = find(board, "a");
    EXPECT_FALSE(self.takes_changes);
    self.takes_changes = self.partitioned = true;
    self.line = longest;
    board.show(self);
    EXPECT_EQ(find(board, "a").line, longest);
    EXPECT_TRUE(find(board, "a").takes_changes);
    EXPECT_TRUE(find(board, "a").partitioned);
    self.line = longest + "\xc3\xa4";  // longer than the room, and ends in one character
    board.show(self);
    EXPECT_EQ(find(board, "a").line, longest.substr(3) + "...");
  }
  const Port port = test::port_on(bus.path(), {.name = "a"});
  const BoardPort again = find(board_at(bus.path()), "a");
  EXPECT_EQ(again.line, "");
  EXPECT_FALSE(again.takes_changes);
  EXPECT_FALSE(again.partitioned);
}

TEST(Board, FramesOfALineAreKnownOnceItsOwnerCountsThem) {
  const TempBus bus;
  const Port port = test::port_on(bus.path(), {.name = "a"});
  Board board = board_at(bus.path());
  BoardPort self = find(board, "a");
  self.takes_changes = true;
  self.line = std::string(kLineTextBytes, 'x');
  board.show(self);
  EXPECT_EQ(find(board, "a").counts, std::nullopt);
  const BoardPort::Counts counts{
      .dropped_in = 1ULL << 40U, .dropped_out = 7, .waiting = 0xffffffff};
  self.counts = counts;
  board.show(self);
  EXPECT_EQ(find(board, "a").counts, counts);
  EXPECT_EQ(find(board, "a").line, self.line);
  EXPECT_TRUE(find(board, "a").takes_changes);
  // What an older owner writes: a text of up to 104 bytes, and no counts.
  RawBoard raw(bus.path());
  raw.memory().lines[self.slot].flags = kLineTakesChanges;
  raw.memory().lines[self.slot].text_bytes = 104;
  EXPECT_EQ(find(board, "a").counts, std::nullopt);
  EXPECT_EQ(find(board, "a").line, "");
  EXPECT_TRUE(find(board, "a").takes_changes);
}

TEST(Board, ARequestToAPortWhoseSlotAnotherHasFailsAtOnce) {
  const TempBus bus;
  Board board = board_at(bus.path());
  std::optional<Port> port = test::port_on(bus.path(), {.name = "a"});
  const BoardPort gone = find(board, "a");
  port.reset();
  const Port next = test::port_on(bus.path(), {.name = "b"});
  ASSERT_EQ(find(board, "b").slot, gone.slot);
  EXPECT_FALSE(board.lives(gone.slot, gone.incarnation));
  EXPECT_TRUE(board.lives(gone.slot, find(board, "b").incarnation));
  const auto answer = board.ask(gone, "link down", kLong);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, std::errc::no_such_process) << answer.error().message;
}

TEST(Board, APortThatTookTheRequestInTimeMayAnswerInTwiceTheTime) {
  const TempBus bus;
  const Port port = test::port_on(bus.path(), {.name = "a"});
  Board board = board_at(bus.path());
  const BoardPort self = find(board, "a");
  for (const bool answers : {true, false}) {
    std::jthread owner([&] {
      Board own = board_at(bus.path());
      std::optional<BoardChange> taken;
      ASSERT_TRUE(
          test::eventually([&] { return bool(taken = own.take(self.slot, self.incarnation)); }));
      std::this_thread::sleep_for(1500ms);
      if (answers) own.answer(taken->number, {.done = true, .text = "late"});
    });
    const auto answer = board.ask(self, "link down", answers ? 1000ms : 100ms);
    ASSERT_EQ(bool(answer), answers) << (answers ? answer.error().message : answer->text);
    if (answers) {
      EXPECT_EQ(answer->text, "late");
    } else {
      EXPECT_EQ(answer.error().code, Errc::timed_out);
      EXPECT_NE(answer.error().message.find("not answered within 200 ms"), std::string::npos)
          << answer.error().message;
    }
  }
}

/// Owners without a futex in their event loop watch the times of the file.
TEST(Board, ARequestChangesTheTimesOfTheFile) {
  const TempBus bus;
  const Port port = test::port_on(bus.path(), {.name = "a"});
  Board board = board_at(bus.path());
  const auto before = std::filesystem::last_write_time(bus.path()) - 1h;
  std::filesystem::last_write_time(bus.path(), before);
  EXPECT_FALSE(board.ask(find(board, "a"), "link down", 20ms));
  EXPECT_GT(std::filesystem::last_write_time(bus.path()), before);
}

TEST(Board, AnOwnerThatWasKilledWhileItWroteItsLineHidesNoLaterLine) {
  const TempBus bus;
  const Port port = test::port_on(bus.path(), {.name = "a"});
  Board board = board_at(bus.path());
  const RawBoard raw(bus.path());
  BoardPort self = find(board, "a");
  raw.memory().lines[self.slot].sequence = 7;
  EXPECT_EQ(find(board, "a").line, "");
  for (const std::string line : {"link down", "fault loss=5%"}) {
    self.line = line;
    board.show(self);
    EXPECT_EQ(find(board, "a").line, line);
    EXPECT_GT(raw.memory().lines[self.slot].sequence, 7U) << "B6: by it, readers see a change";
  }
}

TEST(Board, TheJournalKeepsTheLastEntriesAndNoneThatIsTorn) {
  const TempBus bus;
  Board board = board_at(bus.path());
  constexpr std::uint64_t kAll = kJournalEntries + 30;
  for (std::uint64_t i = 0; i < kAll; ++i) {
    board.add({.time_ns = i,
               .frame = 10 * i,
               .slot = 3,
               .incarnation = 9,
               .name = "web",
               .text = "change " + std::to_string(i)});
  }
  const BoardNotes notes = board.notes();
  EXPECT_EQ(notes.end, kAll);
  EXPECT_EQ(notes.begin, kAll - kJournalEntries);
  EXPECT_FALSE(board.note(notes.begin - 1)) << "it was overwritten";
  EXPECT_FALSE(board.note(kAll)) << "there is none yet";
  for (std::uint64_t i = notes.begin; i < kAll; ++i) {
    const auto note = board.note(i);
    ASSERT_TRUE(note) << i;
    EXPECT_EQ(note->text, "change " + std::to_string(i));
    EXPECT_EQ(note->frame, 10 * i);
    EXPECT_EQ(note->name, "web");
    EXPECT_EQ(note->slot, 3U);
  }
  const RawBoard raw(bus.path());
  JournalEntry& entry = raw.memory().journal[(kAll - 1) % kJournalEntries];
  entry.text[0] = 'x';
  EXPECT_FALSE(board.note(kAll - 1)) << "its checksum does not fit";
  entry.text[0] = 'c';
  EXPECT_TRUE(board.note(kAll - 1));
  store_seq_cst(entry.marker, std::uint64_t{0});
  EXPECT_FALSE(board.note(kAll - 1)) << "somebody is writing it";
}

TEST(Board, AnEntryThatIsWrittenOverByALateWriterIsNotTakenForAnother) {
  const TempBus bus;
  Board board = board_at(bus.path());
  const RawBoard raw(bus.path());
  board.add({.text = "early"});
  JournalEntry& entry = raw.memory().journal[0];
  const JournalEntry early = entry;
  for (std::uint64_t i = 1; i <= kJournalEntries; ++i) board.add({.text = "later"});
  ASSERT_EQ(board.note(kJournalEntries)->text, "later");
  // The writer of entry 0 was stopped when it had drawn its number, and goes on now.
  const std::uint64_t marker = entry.marker;
  entry = early;
  entry.marker = marker;
  EXPECT_FALSE(board.note(kJournalEntries)) << "the text is that of an earlier change";
}

TEST(Board, ThePartitionsThatHoldAreThoseThatWereWrittenLast) {
  const TempBus bus;
  Board board = board_at(bus.path());
  EXPECT_EQ(board.standing(), "");
  const auto set = [&](const std::string& text) {
    return board.change_standing([&](const std::string&) { return text; }, kLong);
  };
  ASSERT_TRUE(set("partition a / b"));
  EXPECT_EQ(board_at(bus.path()).standing(), "partition a / b");
  ASSERT_TRUE(board.change_standing([](const std::string& before) { return before + "!"; }, kLong));
  EXPECT_EQ(board.standing(), "partition a / b!");
  const std::string longest(Board::max_standing(), 'x');
  ASSERT_TRUE(set(longest));
  const auto too_long = set(longest + 'x');
  ASSERT_FALSE(too_long);
  EXPECT_EQ(too_long.error().code, Errc::bad_argument);
  EXPECT_NE(too_long.error().message.find("heal"), std::string::npos) << too_long.error().message;
  EXPECT_EQ(board.standing(), longest) << "they stay as they were";
  const RawBoard raw(bus.path());
  raw.memory().request.standing[7] = 'y';
  EXPECT_EQ(board.standing(), "") << "the checksum does not fit";
  raw.memory().request.standing[7] = 'x';
  ++raw.memory().request.standing_sequence;  // its writer was killed
  EXPECT_EQ(board.standing(), "");
  ASSERT_TRUE(set("partition a / c"));
  EXPECT_EQ(board.standing(), "partition a / c");
}

TEST(Board, WhateverItsBytesSayEveryCallReturns) {
  const TempBus bus;
  const Port port = test::port_on(bus.path(), {.name = "a"});
  Board board = board_at(bus.path());
  const RawBoard raw(bus.path());
  const BoardPort self = find(board, "a");
  std::mt19937_64 random(4711);
  const int rounds = test::kSanitized ? 200 : 1500;
  for (int i = 0; i < rounds; ++i) {
    // Half of the time whole garbage, else a few bytes of it in what the calls wrote themselves.
    if (i % 2 == 0) {
      for (std::size_t at = 0; at + 8 <= kBoardBytes; at += 8) {
        const std::uint64_t word = random();
        std::memcpy(raw.bytes() + at, &word, sizeof word);
      }
    } else {
      for (int n = 0; n < 64; ++n)
        raw.bytes()[random() % kBoardBytes] = static_cast<unsigned char>(random());
    }
    if (i % 3 == 0) {
      raw.memory().request.slot = self.slot;
      raw.memory().request.incarnation = self.incarnation;
      raw.memory().request.word = request_word::make(random() >> 2U, request_word::kPosted);
    }
    for (const BoardPort& each : board.ports()) EXPECT_LE(each.line.size(), kLineTextBytes);
    if (const auto taken = board.take(self.slot, self.incarnation)) {
      EXPECT_LE(taken->text.size(), kRequestTextBytes);
      board.answer(taken->number, {.done = i % 5 == 0, .text = taken->text});
    }
    EXPECT_LE(board.standing().size(), kStandingBytes);
    const BoardNotes notes = board.notes();
    EXPECT_LE(notes.end - notes.begin, kJournalEntries);
    for (std::uint64_t n = notes.begin; n != notes.end; ++n) {
      if (const auto note = board.note(n)) {
        EXPECT_LE(note->text.size(), kJournalTextBytes);
      }
    }
    board.add({.text = "x"});
    board.show(self);
    if (i % 100 == 0) {
      EXPECT_FALSE(board.ask(self, "link down", 2ms));
    }
  }
}

// docs/bus-format.md describes the board as bus/board/board_layout.hpp declares it.

struct BoardField {
  std::size_t offset, bytes;
  bool operator==(const BoardField&) const = default;
};
using BoardFields = std::map<std::string, BoardField>;

std::string read_file(const std::string& name) {
  std::ifstream in(test::in_source(name));
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

/// The rows of the table below a heading of the page: the field, and in `marks` who writes it.
BoardFields documented(const std::string& type, std::map<std::string, std::string>& marks) {
  const std::string page = read_file("docs/bus-format.md");
  const auto begin = page.find("### " + type + "\n");
  EXPECT_NE(begin, std::string::npos) << type;
  const auto end = page.find("\n##", begin + 4);
  const std::string part = page.substr(begin, end - begin);
  const std::regex row(R"(\n\| (\d+) \| (\d+) \| `(\w+)` \| ([^|]*)\| ([A-Z]?) ?\|)");
  BoardFields fields;
  for (std::sregex_iterator at(part.begin(), part.end(), row), none; at != none; ++at) {
    const std::smatch& cells = *at;
    fields[cells[3]] = {std::stoul(cells[1]), std::stoul(cells[2])};
    marks[cells[3]] = cells[5];
    const bool reserved = cells[3].str().starts_with("reserved");
    EXPECT_EQ(cells[5].str().empty(), reserved) << cells[3] << ": who writes it?";
    EXPECT_EQ(cells[4].str().find_first_not_of(' ') == std::string::npos, reserved) << cells[3];
  }
  return fields;
}

/// The comments of the struct: `name;  //  offset (A) ...`.
std::map<std::string, std::pair<std::size_t, std::string>> commented(const std::string& type) {
  const std::string text = read_file("bus/board/board_layout.hpp");
  const auto begin = text.find("struct alignas(kLineBytes) " + type + " {");
  EXPECT_NE(begin, std::string::npos) << type;
  const std::string body = text.substr(begin, text.find("\n};", begin) - begin);
  const std::regex member(R"((\w+)(?:\[[^\]]*\])?;\s*//\s*(\d+)(?: \(([A-Z])\))?)");
  std::map<std::string, std::pair<std::size_t, std::string>> fields;
  for (std::sregex_iterator at(body.begin(), body.end(), member), none; at != none; ++at)
    fields[(*at)[1]] = {std::stoul((*at)[2]), (*at)[3]};
  return fields;
}

void expect_same(const std::string& type, const BoardFields& real) {
  SCOPED_TRACE(type);
  std::map<std::string, std::string> marks;
  EXPECT_EQ(documented(type, marks), real);
  const auto comments = commented(type);
  EXPECT_EQ(comments.size(), real.size());
  for (const auto& [name, field] : real) {
    ASSERT_TRUE(comments.contains(name)) << name;
    EXPECT_EQ(comments.at(name).first, field.offset) << name;
    EXPECT_EQ(comments.at(name).second, marks[name]) << name;
  }
}

#define FIELD(type, name)                                     \
  {                                                           \
    #name, BoardField {                                       \
      offsetof(type, name), sizeof std::declval<type&>().name \
    }                                                         \
  }

TEST(BoardDocument, NamesEveryFieldOfARequest) {
  expect_same("BoardRequest",
              {FIELD(BoardRequest, word),           FIELD(BoardRequest, slot),
               FIELD(BoardRequest, incarnation),    FIELD(BoardRequest, text_bytes),
               FIELD(BoardRequest, reserved0),      FIELD(BoardRequest, name),
               FIELD(BoardRequest, reserved1),      FIELD(BoardRequest, text),
               FIELD(BoardRequest, answered),       FIELD(BoardRequest, answer_bell),
               FIELD(BoardRequest, result),         FIELD(BoardRequest, answer_bytes),
               FIELD(BoardRequest, reserved2),      FIELD(BoardRequest, answer_check),
               FIELD(BoardRequest, reserved3),      FIELD(BoardRequest, answer),
               FIELD(BoardRequest, changes),        FIELD(BoardRequest, standing_sequence),
               FIELD(BoardRequest, standing_bytes), FIELD(BoardRequest, standing_check),
               FIELD(BoardRequest, reserved4),      FIELD(BoardRequest, standing)});
}

TEST(BoardDocument, NamesEveryFieldOfAnEntryOfTheJournal) {
  expect_same("JournalEntry", {FIELD(JournalEntry, marker), FIELD(JournalEntry, check),
                               FIELD(JournalEntry, time_ns), FIELD(JournalEntry, frame),
                               FIELD(JournalEntry, slot), FIELD(JournalEntry, incarnation),
                               FIELD(JournalEntry, text_bytes), FIELD(JournalEntry, reserved0),
                               FIELD(JournalEntry, name), FIELD(JournalEntry, text)});
}

TEST(BoardDocument, NamesEveryFieldOfALine) {
  expect_same(
      "LineRecord",
      {FIELD(LineRecord, bell), FIELD(LineRecord, sequence), FIELD(LineRecord, incarnation),
       FIELD(LineRecord, flags), FIELD(LineRecord, text_bytes), FIELD(LineRecord, waiting),
       FIELD(LineRecord, text), FIELD(LineRecord, dropped_in), FIELD(LineRecord, dropped_out)});
}

#undef FIELD

TEST(BoardDocument, SaysWhereThePartsAre) {
  const std::string page = read_file("docs/bus-format.md");
  const auto says = [&](std::size_t number) {
    return page.find(std::to_string(number)) != std::string::npos;
  };
  EXPECT_EQ(kBoardOffset + offsetof(BoardMemory, journal), 139264U);
  EXPECT_EQ(kBoardOffset + offsetof(BoardMemory, lines), 163840U);
  EXPECT_TRUE(says(kBoardOffset) && says(kBoardBytes));
  EXPECT_TRUE(says(139264) && says(163840));
  EXPECT_EQ(kRequestLockOffset, std::uint64_t{1} << 41U);
  EXPECT_NE(page.find("2^41"), std::string::npos);
}

}  // namespace
}  // namespace shmif::bus
