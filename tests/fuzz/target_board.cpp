#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>

#include "bus/atomics.hpp"
#include "bus/board/board.hpp"
#include "bus/board/board_layout.hpp"
#include "shmif/bus.hpp"
#include "shmif/control/change.hpp"
#include "shmif/control/change_text.hpp"
#include "shmif/control/partition.hpp"
#include "shmif/faults.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"

namespace shmif::fuzz {
namespace {

constexpr std::uint64_t kMaxBoardAccesses = 500'000;

/// The board of the image as a hostile neighbour has it.
std::byte* board_bytes() {
  static std::byte* const base = [] {
    void* const all = mmap(nullptr, bus::kRingOffset, PROT_READ | PROT_WRITE, MAP_SHARED,
                           BusImage::get().fd(), 0);
    require(all != MAP_FAILED, "no memory for the board");
    return static_cast<std::byte*>(all);
  }();
  return base + bus::kBoardOffset;
}

bus::BoardMemory& board_memory() {
  return *reinterpret_cast<bus::BoardMemory*>(board_bytes());
}

void scribble_board(Input& in) {
  const std::uint8_t how = in.byte();
  bus::BoardMemory& memory = board_memory();
  if (how < 64) {  // the fields on which the rules rest
    std::uint64_t* const words[] = {&memory.request.word, &memory.request.answered,
                                    &memory.request.answer_check, &memory.request.changes,
                                    &memory.request.standing_check};
    *words[how % std::size(words)] = in.word(how / 8U % 8 + 1);
    return;
  }
  const std::size_t at = how < 128   ? in.below(sizeof(bus::BoardRequest))
                         : how < 192 ? offsetof(bus::BoardMemory, lines) + in.below(1024)
                                     : in.below(bus::kBoardBytes);
  const std::size_t count = std::min<std::size_t>(how % 32 + 1, bus::kBoardBytes - at);
  for (std::size_t i = 0; i < count; ++i) board_bytes()[at + i] = static_cast<std::byte>(in.byte());
}

/// A request as a requester writes it, with any text.
void post(Input& in, const bus::BoardPort& port) {
  bus::BoardRequest& r = board_memory().request;
  const auto text = in.take(in.below(200));
  r.slot = port.slot + (in.byte() % 8 == 0 ? 1U : 0U);
  r.incarnation = port.incarnation + (in.byte() % 8 == 0 ? 1U : 0U);
  r.text_bytes = static_cast<std::uint32_t>(text.size());
  std::copy(text.begin(), text.end(), r.text);
  r.word = bus::request_word::make(in.word(2), bus::request_word::kPosted);
}

/// What an owner does with the text of a request.
void apply(const std::string& text, const bus::Board& board, const bus::BoardPort& self,
           Input& in) {
  const auto change = parse_change(text);
  if (!change) {
    require(!change.error().message.empty(), "refused without a reason");
    return;
  }
  const auto again = parse_change(to_text(*change));
  require(again && again->kind == change->kind && again->groups == change->groups &&
              again->value == change->value,
          "a change that does not come back");
  if (change->kind == Change::Kind::fault) static_cast<void>(parse_line_faults(change->value));
  Partition partition(change->groups, self.name, [&board](unsigned slot, std::uint32_t which) {
    return board.name_of(slot, which);
  });
  for (int i = 0; i < 4; ++i)
    static_cast<void>(partition.ignores(in.byte() * 2U, static_cast<std::uint32_t>(in.word(4))));
}

void look_at_all(const bus::Board& board) {
  for (const bus::BoardPort& each : board.ports())
    require(each.line.size() <= bus::kLineTextBytes, "a line that is too long");
  require(board.standing().size() <= bus::kStandingBytes, "partitions that are too long");
  const bus::BoardNotes notes = board.notes();
  require(notes.end - notes.begin <= bus::kJournalEntries, "more entries than fit");
  for (std::uint64_t i = notes.begin; i != notes.end; ++i) {
    if (const auto note = board.note(i))
      require(note->text.size() <= bus::kJournalTextBytes, "an entry that is too long");
  }
}

}  // namespace

void board(Bytes bytes) {
  using std::chrono::milliseconds;
  BusImage& image = BusImage::get();
  image.reset();
  std::memset(board_bytes(), 0, bus::kBoardBytes);
  Input in(bytes);
  const std::uint8_t options = in.byte();
  bus::Board board = bus::Board::open(image.path(), Access::read_write).value();
  const auto ports = board.ports();
  require(ports.size() == 2, "not the two ports of the image");
  const bus::BoardPort self = ports[options & 1U];
  ChangeLog log = ChangeLog::open(image.path(), ChangeLog::From::oldest).value();
  const bool is_ambushed = (options & 2U) != 0;
  std::unique_ptr<Ambush> ambush;
  if (is_ambushed) ambush = std::make_unique<Ambush>(in, scribble_board);
  while (!in.empty()) {
    const AccessLimit limit(kMaxBoardAccesses);
    switch (in.byte() % 12) {
      case 0:
      case 1: scribble_board(in); break;
      case 2: post(in, self); break;
      case 3:
      case 4: {
        const bus::BoardRequest before = board_memory().request;
        const auto taken = board.take(self.slot, self.incarnation);
        if (!taken) break;
        require(
            is_ambushed || (before.slot == self.slot && before.incarnation == self.incarnation &&
                            bus::request_word::stage(before.word) == bus::request_word::kPosted),
            "a request for another port was taken");
        require(taken->text.size() <= bus::kRequestTextBytes, "a request that is too long");
        require(is_ambushed || !board.take(self.slot, self.incarnation), "taken twice");
        apply(taken->text, board, self, in);
        board.answer(taken->number, {.done = in.byte() % 2 == 0, .text = taken->text});
        break;
      }
      case 5: static_cast<void>(board.ask(self, "link down", milliseconds(1))); break;
      case 6:
        board.add({.frame = in.word(8), .name = "web", .text = std::string(in.byte(), 'x')});
        break;
      case 7: {
        bus::BoardPort shown = self;
        shown.takes_changes = true;
        shown.line = std::string(in.byte(), 'y');
        board.show(shown);
        break;
      }
      case 8:
        static_cast<void>(board.change_standing(
            [&in](const std::string& before) {
              return before.substr(0, in.byte()) + "\npartition a / b";
            },
            milliseconds(1)));
        break;
      case 9: apply(board.standing(), board, self, in); break;
      case 10: require(log.take().size() <= bus::kJournalEntries, "more changes than fit"); break;
      default: look_at_all(board); break;
    }
  }
  ambush.reset();
  // Who comes after all that: the board works again.
  const AccessLimit limit(kMaxBoardAccesses);
  const std::uint64_t number = board.notes().end;
  board.add({.text = "after"});
  const auto note = board.note(number);
  require(note && note->text == "after", "the journal does not work any more");
  require(
      board.change_standing([](const std::string&) { return "partition a / b"; }, milliseconds(1))
              .has_value() &&
          board.standing() == "partition a / b",
      "partitions cannot be written any more");
}

}  // namespace shmif::fuzz
