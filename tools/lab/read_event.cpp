// An entry of `at` in a lab's file.

#include <algorithm>

#include "shmif/filter.hpp"
#include "tools/lab/reading.hpp"

namespace shmif::tools {

namespace {

/// A text of `after`, in its parts: a word, a name, and the rest without quotes.
struct TriggerWords {
  std::string kind;
  std::string name;
  std::string rest;
};

TriggerWords words_of_trigger(const std::string& text) {
  const auto cut = [](std::string& from) {
    const std::size_t begin = std::min(from.find_first_not_of(' '), from.size());
    const std::size_t end = std::min(from.find(' ', begin), from.size());
    std::string word = from.substr(begin, end - begin);
    from.erase(0, std::min(from.find_first_not_of(' ', end), from.size()));
    return word;
  };
  std::string left = text;
  TriggerWords words;
  words.kind = cut(left);
  words.name = cut(left);
  while (!left.empty() && left.back() == ' ') left.pop_back();
  const bool quoted = left.size() >= 2 && (left.front() == '\'' || left.front() == '"') &&
                      left.back() == left.front();
  words.rest = quoted ? left.substr(1, left.size() - 2) : left;
  return words;
}

constexpr const char* kTriggers =
    "\"log HOST 'TEXT'\", \"frame BUS 'FILTER'\", \"ready HOST\" or \"ended HOST\"";

void read_trigger(const LabTableReader& reader, LabEvent& event, LabProblems& problems) {
  const auto time = read_delay(reader, "time");
  if (time) event.trigger.then = *time;
  const auto after = reader.text("after");
  if (!after) {
    if (reader.find("time") == nullptr && reader.table().find("time") == nullptr) {
      problems.error(event.place, "an event needs `time` or `after`: when it happens");
    }
    return;
  }
  const LabPlace place = reader.place_of("after");
  const TriggerWords words = words_of_trigger(*after);
  event.trigger.of = {words.name, place};
  event.trigger.text = words.rest;
  const bool has_text = words.kind == "log" || words.kind == "frame";
  if (words.kind == "log") {
    event.trigger.what = LabTrigger::What::log;
  } else if (words.kind == "frame") {
    event.trigger.what = LabTrigger::What::frame;
  } else if (words.kind == "ready") {
    event.trigger.what = LabTrigger::What::host_ready;
  } else if (words.kind == "ended") {
    event.trigger.what = LabTrigger::What::host_ended;
  } else {
    problems.error(place, "\"after\" is " + std::string(kTriggers) + ", not \"" + *after + '"');
    return;
  }
  if (words.name.empty() || has_text == words.rest.empty()) {
    problems.error(place, "\"" + *after + "\" is not complete: write " + kTriggers);
  } else if (words.kind == "frame") {
    if (const auto filter = FrameFilter::compile(words.rest); !filter) {
      problems.error(place, filter.error().message);
    }
  }
}

/// What the entry does: exactly one of these keys says that.
void read_action(const LabTableReader& reader, LabEvent& event, LabProblems& problems) {
  static constexpr const char* kActions[] = {"down", "fault", "move", "partition",
                                             "heal", "stop",  "start"};
  const auto given = std::ranges::count_if(
      kActions, [&](const char* key) { return reader.table().find(key) != nullptr; });
  if (given != 1) {
    problems.error(event.place,
                   std::string(given == 0 ? "an event says what happens"
                                          : "an event says one thing that happens") +
                       ": one of down, fault and move (with link), partition, heal, stop, start");
    return;
  }
  const bool of_link = reader.table().find("down") != nullptr ||
                       reader.table().find("fault") != nullptr ||
                       reader.table().find("move") != nullptr;
  const auto link = reader.text("link");
  if (of_link != link.has_value() && reader.table().find("link") == nullptr) {
    problems.error(event.place,
                   "`link` is missing: the host whose line changes (\"HOST\", or "
                   "\"HOST.BUS\")");
  } else if (!of_link && link) {
    problems.error(reader.place_of("link"), "`link` goes with down, fault or move");
  }
  if (link) {
    const std::size_t dot = link->find('.');
    event.host = {link->substr(0, dot), reader.place_of("link")};
    if (dot != std::string::npos) event.bus = {link->substr(dot + 1), reader.place_of("link")};
  }
  if (const auto down = reader.boolean("down")) {
    event.what = *down ? LabEvent::What::down : LabEvent::What::up;
  } else if (const auto fault = reader.text("fault")) {
    event.what = LabEvent::What::fault;
    event.text = *fault;
    if (const std::string why = why_no_faults(*fault); !why.empty()) {
      problems.error(reader.place_of("fault"), why);
    }
  } else if (const auto move = reader.text("move")) {
    event.what = LabEvent::What::move;
    event.text = *move;
  } else if (const auto groups = reader.text("partition")) {
    event.what = LabEvent::What::partition;
    event.text = *groups;
    event.text_place = reader.place_of("partition");
  } else if (const auto heal = reader.boolean("heal")) {
    event.what = LabEvent::What::heal;
    if (!*heal) problems.error(reader.place_of("heal"), "`heal` is true: it ends a partition");
  } else if (const auto stop = reader.text("stop")) {
    event.what = LabEvent::What::stop;
    event.host = {*stop, reader.place_of("stop")};
  } else if (const auto start = reader.text("start")) {
    event.what = LabEvent::What::start;
    event.host = {*start, reader.place_of("start")};
  }
  const bool of_bus = event.what == LabEvent::What::partition || event.what == LabEvent::What::heal;
  if (const auto bus = reader.text("bus")) {
    if (of_bus) {
      event.bus = {*bus, reader.place_of("bus")};
    } else {
      problems.error(reader.place_of("bus"), "`bus` goes with partition or heal");
    }
  } else if (of_bus) {
    event.bus.place = event.place;
  }
}

}  // namespace

void read_event(const LabValue& value, Lab& lab, LabProblems& problems) {
  if (value.kind != ValueKind::table) {
    problems.error(value.place, "an item of `at` is a table: { time = \"5s\", ... }");
    return;
  }
  const LabTableReader reader(value, kEventKeys, problems);
  LabEvent event;
  event.place = value.place;
  read_trigger(reader, event, problems);
  read_action(reader, event, problems);
  lab.events.push_back(std::move(event));
}

}  // namespace shmif::tools
