#include <bit>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/quantity.hpp"
#include "instruments/counters/event_names.hpp"
#include "instruments/counters/event_text.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::fuzz {
namespace {

/// A machine with one PMU and one tracepoint.
const std::string& machine() {
  static const test::TempDir dir;
  static const bool made = [] {
    const auto write = [](const std::string& name, const char* text) {
      const std::filesystem::path path = dir.path() + name;
      std::filesystem::create_directories(path.parent_path());
      std::ofstream(path) << text;
    };
    const std::string cpu = "/sys/bus/event_source/devices/cpu/";
    write(cpu + "type", "4\n");
    write(cpu + "cpumask", "0-1\n");
    write(cpu + "format/event", "config:0-7,32-35\n");
    write(cpu + "format/umask", "config1:8-15\n");
    write(cpu + "events/loads", "event=0xcd,umask=0x1\n");
    write(cpu + "events/loads.scale", "0.5\n");
    write(cpu + "events/open", "event=?\n");
    write("/sys/kernel/tracing/events/sched/switch/id", "314\n");
    return true;
  }();
  require(made, "no machine");
  return dir.path();
}

}  // namespace

void events(Bytes bytes) {
  const std::string text(bytes.begin(), bytes.end());
  const perf::EventNames names{perf::KernelFiles(machine()), false};
  const auto words = perf::split_events(text);
  const auto all = names.find_all(text);
  require(words || !all, "events of a list that cannot be split");
  if (const auto sets = perf::split_event_sets(text)) {
    for (const auto& set : *sets) {
      require(!set.empty(), "an event set without events");
      for (const auto& word : set) require(!word.empty(), "an event without a name");
    }
  }
  if (!words) return;
  bool found = true;
  for (const std::string& word : *words) {
    const auto event = names.find(word);
    found = found && event;
    require(event || !event.error().message.empty(), "a refusal without a reason");
    require(!event || event->name == word, "an event of another name");
    require(!event || event->precise <= 3, "more precise than can be");
  }
  require(all.has_value() == found, "a list that differs from its events");
}

void formats(Bytes bytes) {
  const std::string text(bytes.begin(), bytes.end());
  if (const auto field = perf::read_format(text)) {
    const unsigned bits = field->bits();
    require(bits >= 1 && bits <= 64, "a field without bits, or with too many");
    const std::uint64_t value = bits == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << bits) - 1;
    perf::CounterEvent event;
    for (const std::uint64_t each : {value, value / 3, std::uint64_t{0}}) {
      require(perf::put_field(*field, each, event).has_value(), "a value that does not fit");
      const auto set = std::popcount(*perf::config_words(event)[field->word]);
      require(set == std::popcount(each), "a value that is cut off, or leaves bits of the last");
    }
    require(bits == 64 || !perf::put_field(*field, value + 1, event), "a value that is cut off");
  }
  if (const auto terms = perf::read_terms(text)) {
    for (const auto& term : *terms) require(!term.name.empty(), "a term without a name");
  }
  if (const auto scale = perf::read_scale(text)) require(*scale > 0, "a scale below 0");
  if (const auto cpus = base::read_number_list(text)) {
    for (std::size_t at = 1; at < cpus->size(); ++at) {
      require((*cpus)[at - 1] < (*cpus)[at], "CPUs in disorder");
    }
  }
}

}  // namespace shmif::fuzz
