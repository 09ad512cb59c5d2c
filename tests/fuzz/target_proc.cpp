#include <algorithm>
#include <string>
#include <string_view>

#include "base/quantity.hpp"
#include "instruments/watch/process.hpp"
#include "instruments/why/kernel_text.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"

namespace shmif::fuzz {
namespace {

std::size_t lines_of(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count(text, '\n')) + 1;
}

void threads(std::string_view text) {
  const auto times = perf::read_schedstat(text);
  require(times.has_value() == perf::read_schedstat(text.substr(0, text.find('\n'))).has_value(),
          "times of a thread that are not in the first line");
  static_cast<void>(perf::read_task_stat(text));
  static_cast<void>(perf::read_sched(text));
  require(!perf::read_status_switches(text).migrations, "migrations that are not in that file");
  const std::string allowed = perf::read_allowed(text);
  require(allowed.find_first_of(" \t\n") == std::string::npos, "CPUs of more than one word");
  for (const int number : perf::read_numbers(text)) static_cast<void>(perf::list_has(text, number));
  // As read_allowed() returns it.
  if (text.find_first_not_of("0123456789,-") != std::string_view::npos) return;
  const auto known = base::read_number_list(text);
  if (!known) return;
  for (const auto cpu : *known) {
    require(perf::list_has(text, static_cast<int>(cpu)), "a list without a CPU that it has");
  }
}

void machine(std::string_view text) {
  require(perf::read_cpu_ticks(text).size() <= lines_of(text), "more CPUs than lines");
  require(perf::read_softnet(text).size() <= lines_of(text), "more queues than lines");
  const auto devices = perf::read_devices(text);
  require(devices.size() <= lines_of(text), "more interfaces than lines");
  for (const perf::DeviceCounts& device : devices) {
    require(device.name.find_first_of(" \t\n") == std::string::npos, "a name of several words");
  }
  const auto pressure = perf::read_pressure(text);
  require(pressure == perf::read_pressure(text.substr(0, text.find('\n'))),
          "a pressure that is not in the first line");
  const std::string more = std::string(text) + "\nthrottled_usec 7\n";
  const auto throttled = perf::read_keyed(text, "throttled_usec");
  const auto added = perf::read_keyed(more, "throttled_usec");
  require(!throttled || added == throttled, "a second line that changes the first");
}

}  // namespace

void proc(Bytes bytes) {
  const std::string text(bytes.begin(), bytes.end());
  threads(text);
  machine(text);
}

}  // namespace shmif::fuzz
