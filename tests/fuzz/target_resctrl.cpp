#include <string>

#include "instruments/membw/resctrl.hpp"
#include "instruments/membw/software_source.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/input.hpp"
#include "tests/fuzz/targets.hpp"

namespace shmif::fuzz {
namespace {

using namespace perf;

void check_value(const std::string& text) {
  const auto value = read_mbm_value(text);
  if (!value) {
    require(!value.error().message.empty(), "a refusal without a reason");
    return;
  }
  const bool counted = value->state == MbmValue::State::counted;
  require(text.ends_with('\n'), "a line that was cut off");
  require(counted || value->bytes == 0, "bytes of what was not counted");
}

void check_growth(Input& in) {
  const std::uint64_t before = in.word();
  const std::uint64_t after = in.word();
  const auto grown = grown_by(before, after);
  require(!grown || before + *grown == after, "a growth that leads elsewhere");
}

void check_lists(const std::string& text) {
  if (const auto tasks = read_tasks(text)) {
    std::string again;
    for (const int task : *tasks) {
      require(task > 0, "the number of no task");
      again += std::to_string(task) + '\n';
    }
    require(*read_tasks(again) == *tasks, "tasks that do not come back");
  }
  if (const auto assignments = read_mbm_assignments(text)) {
    for (const auto& [event, domains] : *assignments) {
      require(!event.empty() && !domains.empty(), "an event without a name or a domain");
      for (const auto& [domain, state] : domains) require(!state.empty(), "no state");
    }
  }
}

}  // namespace

void resctrl(Bytes bytes) {
  Input in(bytes);
  check_growth(in);
  const Bytes rest = in.rest();
  const std::string text(rest.begin(), rest.end());
  check_value(text);
  check_lists(text);
  if (const auto mode = read_assign_mode(text)) {
    require(text.find('[' + *mode + ']') != std::string::npos, "a mode from nowhere");
  }
  if (const auto place = resctrl_mount_in(text)) {
    require(place->starts_with('/'), "a mount point that is no path");
  }
  static_cast<void>(l3_domain_of(text));
  static_cast<void>(read_process_io(text));
  if (const auto devices = read_net_devices(text)) {
    for (const auto& [name, counted] : *devices) require(!name.empty(), "a device without a name");
  }
}

}  // namespace shmif::fuzz
