#include "shmif/control/change.hpp"

#include <algorithm>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "base/text.hpp"
#include "base/wall_clock.hpp"
#include "bus/board/board.hpp"
#include "shmif/control/change_text.hpp"
#include "shmif/control/partition.hpp"

namespace shmif {
namespace {

constexpr std::string_view kBlanks = " \t";

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

Error bad_change(const std::string& why) {
  return {Errc::bad_argument, why};
}

Result<Change> parse_groups(std::string_view text) {
  Change change{.kind = Change::Kind::partition};
  std::set<std::string, std::less<>> seen;
  for (const std::string_view part : base::split(text, '/')) {
    Change::Group group;
    for (const std::string_view each : base::split(part, ',')) {
      const std::string name(trimmed(each));
      if (name.empty())
        return bad_change(
            "a group of the partition has an empty name (write the names of ports with commas, and "
            "a slash between groups: a,b / c,d)");
      if (name.find_first_of(kBlanks) != std::string::npos)
        return bad_change("\"" + base::printable(name) +
                          "\" is not a port name (write commas between names, and a slash "
                          "between groups: a,b / c,d)");
      if (!seen.insert(name).second)
        return bad_change("port \"" + base::printable(name) +
                          "\" is named twice in the partition (name it in one group)");
      group.push_back(name);
    }
    change.groups.push_back(std::move(group));
  }
  if (change.groups.size() < 2)
    return bad_change(
        "a partition needs two groups or more (write a slash between them: a,b / c,d)");
  return change;
}

BusChange change_of(std::uint64_t number, bus::BoardNote note) {
  return {.number = number,
          .time_ns = note.time_ns,
          .before_frame = note.frame,
          .slot = note.slot,
          .incarnation = note.incarnation,
          .port = std::move(note.name),
          .text = std::move(note.text)};
}

/// The board of a bus that is open; empty if its path leads to another file now, or if it has none.
std::optional<bus::Board> board_of(const Bus& bus) {
  const BusInfo info = bus.info();
  if (!info.has_port_table()) return std::nullopt;
  auto board = bus::Board::open(info.path, Access::read_only);
  if (!board || board->device() != info.device || board->inode() != info.inode) return std::nullopt;
  return *std::move(board);
}

/// "attached: a, b"
std::string attached_text(const std::vector<bus::BoardPort>& ports) {
  constexpr std::size_t kShown = 12;
  std::string names;
  for (std::size_t i = 0; i < ports.size() && i < kShown; ++i)
    names += (i > 0 ? ", " : "") + ports[i].name;
  if (ports.size() > kShown) names += " and " + std::to_string(ports.size() - kShown) + " more";
  return "attached: " + (names.empty() ? "none" : names);
}

std::string cannot_change(const std::string& port, const std::string& path) {
  return "cannot change port \"" + port + "\" of " + path + ": ";
}

/// A port that takes changes. One that was attached only now takes them a moment later.
Result<bus::BoardPort> find_port(const bus::Board& board, const std::string& name,
                                 const std::string& path) {
  constexpr unsigned kLooks = 50;
  constexpr std::chrono::milliseconds kPause{5};
  std::vector<bus::BoardPort> ports = board.ports();
  const auto find = [&] { return std::ranges::find(ports, name, &bus::BoardPort::name); };
  auto found = find();
  for (unsigned i = 0; i < kLooks && found != ports.end() && !found->takes_changes; ++i) {
    std::this_thread::sleep_for(kPause);
    ports = board.ports();
    found = find();
  }
  if (found == ports.end()) {
    return Error(std::make_error_code(std::errc::no_such_device),
                 cannot_change(name, path) + "no such port (" + attached_text(ports) + ")");
  }
  if (!found->takes_changes) {
    return Error(std::make_error_code(std::errc::operation_not_supported),
                 cannot_change(name, path) +
                     "its program takes no changes (hosts of 'shmifctl exec' do, and 'shmifctl "
                     "tap', 'bridge' and 'gateway'; a program of your own needs a ChangeDesk)");
  }
  return *found;
}

Result<std::string> ask_port(bus::Board& board, const bus::BoardPort& port, const std::string& text,
                             const std::string& path, std::chrono::milliseconds at_most) {
  auto answer = board.ask(port, text, at_most);
  if (!answer) return std::move(answer).error();
  std::string said = base::printable(answer->text);
  if (answer->done) return said;
  return Error(std::make_error_code(std::errc::operation_canceled),
               cannot_change(port.name, path) + (said.empty() ? "it refused" : said));
}

/// Waits until a port that moves has left its old bus and takes changes on the new one. It has said
/// before that it moves: without its old port, it could not. Where nobody may look, nothing is
/// waited for.
Result<void> wait_for_move(const bus::BoardPort& port, const std::string& from,
                           const std::string& to, std::chrono::milliseconds at_most) {
  constexpr std::chrono::milliseconds kLook{2};
  const auto has = [&](const std::string& path, bool otherwise, auto matches) {
    const auto board = bus::Board::open(path, Access::read_only);
    return board ? std::ranges::any_of(board->ports(), matches) : otherwise;
  };
  const auto stays = [&](const bus::BoardPort& each) {
    return each.slot == port.slot && each.incarnation == port.incarnation;
  };
  const auto arrives = [&](const bus::BoardPort& each) {
    return each.name == port.name && each.takes_changes;
  };
  const auto until = std::chrono::steady_clock::now() + at_most;
  for (;;) {
    const bool is_there = has(from, false, stays);
    if (!is_there && has(to, true, arrives)) return {};
    if (std::chrono::steady_clock::now() >= until) {
      return Error(std::make_error_code(std::errc::timed_out),
                   cannot_change(port.name, from) + "it said that it moves, and after " +
                       std::to_string(at_most.count()) + " ms it " +
                       (is_there ? "is still here" : "takes no changes on " + to) +
                       " (is the process stopped?)");
    }
    std::this_thread::sleep_for(kLook);
  }
}

/// The ports that a change of several ports is for.
Result<std::vector<bus::BoardPort>> ports_of(const Change& change, const bus::Board& board,
                                             const std::string& path) {
  std::vector<bus::BoardPort> asked;
  if (change.kind == Change::Kind::heal) {
    std::ranges::copy_if(board.ports(), std::back_inserter(asked), [](const bus::BoardPort& each) {
      return each.takes_changes && each.partitioned;
    });
    return asked;
  }
  for (const Change::Group& group : change.groups) {
    for (const std::string& name : group) {
      auto port = find_port(board, name, path);
      if (!port) return std::move(port).error();
      asked.push_back(*std::move(port));
    }
  }
  return asked;
}

/// The entry of the journal for a change that is in effect now. `bus` was opened before the change,
/// because that takes longer than many frames.
bus::BoardNote note_of(const bus::BoardPort& port, const std::string& text,
                       const Result<Bus>& bus) {
  const std::uint64_t frame = bus ? bus->info().frames : 0;  // first: each frame before it is older
  return {.time_ns = base::wall_clock_ns(),
          .frame = frame,
          .slot = port.slot,
          .incarnation = port.incarnation,
          .name = port.name,
          .text = text};
}

/// The partitions that hold with one more, or without any: an older one holds for the ports that no
/// newer one names.
std::string with_partition(const std::string& standing, const Change& more) {
  std::string all = to_text(more);
  std::set<std::string> named;
  for (const Change::Group& group : more.groups) named.insert(group.begin(), group.end());
  for (const std::string_view line : base::split(standing, '\n')) {
    const auto older = parse_change(line);
    if (!older || older->kind != Change::Kind::partition) continue;
    bool holds = false;
    for (const Change::Group& group : older->groups) {
      for (const std::string& name : group) holds |= named.insert(name).second;
    }
    if (holds) all += '\n' + to_text(*older);
  }
  return all;
}

/// Says on the board which partitions hold. Result: those that held before.
Result<std::string> note_standing(bus::Board& board, const Change& change,
                                  std::chrono::milliseconds at_most) {
  std::string held;
  const auto done = board.change_standing(
      [&](const std::string& before) {
        held = before;
        return change.kind == Change::Kind::heal ? "" : with_partition(before, change);
      },
      at_most);
  if (!done) return done.error();
  return held;
}

/// Asks the ports one after another, also those behind one that fails. `done`: gets those that have
/// made the change. Errors: that of the first port that failed; the message names the others.
Result<void> ask_several(bus::Board& board, const Change& change, const std::string& path,
                         std::chrono::milliseconds at_most, std::vector<bus::BoardPort>& done) {
  const auto asked = ports_of(change, board, path);
  if (!asked) return asked.error();
  std::optional<Error> first;
  std::string others;
  for (const bus::BoardPort& port : *asked) {
    auto said = ask_port(board, port, to_text(change), path, at_most);
    if (said) {
      done.push_back(port);
    } else if (!first) {
      first = std::move(said).error();
    } else {
      others += (others.empty() ? "; also failed: " : ", ") + port.name;
    }
  }
  if (first) return Error(first->code, first->message + others);
  return {};
}

Result<std::string> change_several(bus::Board& board, const Change& change, const std::string& path,
                                   std::chrono::milliseconds at_most) {
  if (const auto known = ports_of(change, board, path); !known) return known.error();
  const Result<Bus> bus = Bus::open(path);
  const auto held = note_standing(board, change, at_most);
  if (!held) return held.error();
  std::vector<bus::BoardPort> ports;
  const auto asked = ask_several(board, change, path, at_most, ports);
  std::string names;
  for (const bus::BoardPort& each : ports) names += (names.empty() ? "" : ", ") + each.name;
  const std::string text = to_text(change);
  const bool is_heal = change.kind == Change::Kind::heal;
  if (!asked) {
    if (!is_heal && ports.empty()) {  // nothing was changed
      static_cast<void>(board.change_standing([&](const std::string&) { return *held; }, at_most));
    }
    // It holds for some only, so each of these has its own entry.
    for (const bus::BoardPort& each : ports) board.add(note_of(each, text, bus));
    return Error(asked.error().code,
                 asked.error().message + (names.empty() ? "" : "; done: " + names));
  }
  if (ports.empty() && held->empty())
    return std::string("no port of ") + path + " is in a partition";
  board.add(note_of({.slot = bus::BoardNote::kSeveralPorts}, text, bus));
  if (is_heal) {
    return ports.empty()
               ? "the partition is over; no port that is attached was in it"
               : "the partition is over for " + base::counted(ports.size(), "port") + ": " + names;
  }
  return base::counted(ports.size(), "port") + " in " +
         base::counted(change.groups.size(), "group") +
         " hear only their own group: " + text.substr(text.find(' ') + 1);
}

}  // namespace

Result<Change> parse_change(std::string_view text) {
  const std::string_view whole = trimmed(text);
  const std::size_t end = std::min(whole.find_first_of(kBlanks), whole.size());
  const std::string_view verb = whole.substr(0, end);
  const std::string_view rest = trimmed(whole.substr(end));
  if (verb == "fault") {
    if (rest.empty()) return bad_change("\"fault\" needs faults, such as loss=5%, or none");
    return Change{.kind = Change::Kind::fault, .value = std::string(rest)};
  }
  if (verb == "link") {
    if (rest != "up" && rest != "down") return bad_change("\"link\" needs up or down");
    return Change{.kind = Change::Kind::link, .up = rest == "up"};
  }
  if (verb == "partition") return parse_groups(rest);
  if (verb == "heal") {
    if (!rest.empty()) return bad_change("\"heal\" ends the whole partition (leave the rest out)");
    return Change{.kind = Change::Kind::heal};
  }
  if (verb == "move") {
    if (!rest.starts_with('/')) return bad_change("\"move\" needs the absolute path of a bus");
    return Change{.kind = Change::Kind::move, .value = std::string(rest)};
  }
  return bad_change(
      "\"" + base::printable(whole) +
      "\" is no change (fault SPEC, link up, link down, partition a,b / c,d, heal, or "
      "move PATH)");
}

std::string to_text(const Change& change) {
  switch (change.kind) {
    case Change::Kind::fault: return "fault " + change.value;
    case Change::Kind::link: return change.up ? "link up" : "link down";
    case Change::Kind::heal: return "heal";
    case Change::Kind::move: return "move " + change.value;
    case Change::Kind::partition: break;
  }
  std::string text = "partition ";
  for (std::size_t i = 0; i < change.groups.size(); ++i) {
    if (i > 0) text += " / ";
    for (std::size_t j = 0; j < change.groups[i].size(); ++j)
      text += (j > 0 ? "," : "") + change.groups[i][j];
  }
  return text;
}

Result<std::string> request_change(const std::string& bus_path, const std::string& port,
                                   const std::string& change, std::chrono::milliseconds at_most) {
  const auto wanted = parse_change(change);
  if (!wanted) {
    return Error(wanted.error().code, (port.empty() ? "cannot change " + bus_path + ": "
                                                    : cannot_change(port, bus_path)) +
                                          wanted.error().message);
  }
  const bool of_several =
      wanted->kind == Change::Kind::partition || wanted->kind == Change::Kind::heal;
  if (port.empty() && !of_several) {
    return Error(Errc::bad_argument,
                 "cannot change " + bus_path + ": \"" + change + "\" is for one port (name it)");
  }
  auto board = bus::Board::open(bus_path, Access::read_write);
  if (!board) return std::move(board).error();
  if (port.empty()) return change_several(*board, *wanted, bus_path, at_most);
  const auto found = find_port(*board, port, bus_path);
  if (!found) return found.error();
  if (!of_several) {
    auto said = ask_port(*board, *found, to_text(*wanted), bus_path, at_most);
    if (said && wanted->kind == Change::Kind::move) {
      if (const auto moved = wait_for_move(*found, bus_path, wanted->value, at_most); !moved)
        return moved.error();
    }
    return said;
  }
  const Result<Bus> bus = Bus::open(bus_path);
  auto said = ask_port(*board, *found, to_text(*wanted), bus_path, at_most);
  if (said) board->add(note_of(*found, to_text(*wanted), bus));
  return said;
}

std::vector<BusChange> changes(const Bus& bus) {
  std::vector<BusChange> all;
  const auto board = board_of(bus);
  if (!board) return all;
  const bus::BoardNotes notes = board->notes();
  all.reserve(notes.end - notes.begin);
  for (std::uint64_t i = notes.begin; i != notes.end; ++i) {
    if (auto note = board->note(i)) all.push_back(change_of(i, *std::move(note)));
  }
  return all;
}

std::vector<LineState> line_states(const Bus& bus) {
  std::vector<LineState> all;
  const auto board = board_of(bus);
  if (!board) return all;
  auto ports = board->ports();
  all.reserve(ports.size());
  for (bus::BoardPort& each : ports) {
    LineState& state = all.emplace_back(LineState{.slot = each.slot,
                                                  .incarnation = each.incarnation,
                                                  .port = std::move(each.name),
                                                  .takes_changes = each.takes_changes,
                                                  .partitioned = each.partitioned,
                                                  .text = std::move(each.line)});
    if (each.counts) {
      state.counts = LineCounts{.dropped_in = each.counts->dropped_in,
                                .dropped_out = each.counts->dropped_out,
                                .waiting = each.counts->waiting};
    }
  }
  return all;
}

struct ChangeLog::Impl {
  using Clock = std::chrono::steady_clock;
  bus::Board board;
  std::uint64_t next = 0;
  std::uint64_t missed = 0;
  std::optional<Clock::time_point> waits_since;  // for entry `next`, which is not complete
};

ChangeLog::ChangeLog(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
ChangeLog::ChangeLog(ChangeLog&&) noexcept = default;
ChangeLog& ChangeLog::operator=(ChangeLog&&) noexcept = default;
ChangeLog::~ChangeLog() = default;

Result<ChangeLog> ChangeLog::open(const std::string& bus_path, From from) {
  auto board = bus::Board::open(bus_path, Access::read_only);
  if (!board) return std::move(board).error();
  auto impl = std::make_unique<Impl>(Impl{*std::move(board), 0, 0, std::nullopt});
  const bus::BoardNotes notes = impl->board.notes();
  impl->next = from == From::now ? notes.end : notes.begin;
  return ChangeLog(std::move(impl));
}

bool ChangeLog::has_more() const noexcept {
  return impl_->board.notes().end != impl_->next;
}

std::vector<BusChange> ChangeLog::take() {
  std::vector<BusChange> all;
  Impl& log = *impl_;
  const bus::BoardNotes notes = log.board.notes();
  // A repaired or overwritten count can also be smaller than before.
  if (notes.end < log.next) log.next = notes.end;
  if (log.next < notes.begin) {
    log.missed += notes.begin - log.next;
    log.next = notes.begin;
  }
  all.reserve(notes.end - log.next);
  constexpr std::chrono::seconds kPatience{1};
  for (; log.next != notes.end; ++log.next) {
    auto note = log.board.note(log.next);
    if (!note) {
      const auto now = Impl::Clock::now();
      if (!log.waits_since) log.waits_since = now;
      if (now - *log.waits_since < kPatience) return all;
      ++log.missed;
    }
    log.waits_since.reset();
    if (note) all.push_back(change_of(log.next, *std::move(note)));
  }
  return all;
}

std::uint64_t ChangeLog::missed() const noexcept {
  return impl_->missed;
}

Partition::Partition(const std::vector<Change::Group>& groups, const std::string& self,
                     NameOf name_of)
    : name_of_(std::move(name_of)) {
  const auto has_self = [&](const Change::Group& group) {
    return std::ranges::find(group, self) != group.end();
  };
  if (std::ranges::none_of(groups, has_self)) return;
  for (const Change::Group& group : groups) {
    if (!has_self(group)) ignored_.insert(ignored_.end(), group.begin(), group.end());
  }
  std::ranges::sort(ignored_);
}

bool Partition::ignores(unsigned slot, std::uint32_t incarnation) {
  if (ignored_.empty() || slot >= kSlots) return false;
  Sender& sender = senders_[slot];
  if (sender.known == Known::nothing || sender.incarnation != incarnation) {
    const std::string name = name_of_(slot, incarnation);
    if (name.empty()) return false;
    sender.incarnation = incarnation;
    sender.known = std::ranges::binary_search(ignored_, name) ? Known::ignored : Known::heard;
  }
  return sender.known == Known::ignored;
}

}  // namespace shmif
