#include <nlohmann/json.hpp>

#include "base/printable.hpp"
#include "perf/heat/monitor.hpp"

namespace shmif::perf {
namespace {

using Json = nlohmann::ordered_json;

std::string contexts_line(const HeatStatus& status) {
  if (!status.foreign_contexts) return "kernel DAMON: " + status.foreign_reason;
  if (*status.foreign_contexts == 0) return "kernel DAMON: nobody uses it";
  return "kernel DAMON: others run " + std::to_string(*status.foreign_contexts) +
         " of it; the monitor does not touch these";
}

Json null_if_empty(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

}  // namespace

std::string heat_status_text(const HeatStatus& status) {
  std::string text = status.is_on ? "on" : "off";
  text += "\nattrs " + attributes_text(status.attributes) + "\nbackend " + to_word(status.backend) +
          '\n';
  if (!status.clients.empty()) text += "clients " + base::printable(status.clients) + '\n';
  if (status.targets.empty()) text += "no targets\n";
  for (const HeatTarget& each : status.targets) {
    text += "target " + std::to_string(each.process.number);
    if (!each.name.empty()) text += " (" + base::printable(each.name) + ')';
    text += each.is_alive ? "" : ", ended";
    text += ", " + std::to_string(each.windows) + " windows";
    if (!each.reason.empty()) text += ": " + base::printable(each.reason);
    text += '\n';
  }
  return text + base::printable(contexts_line(status)) + '\n';
}

std::string heat_status_json(const HeatStatus& status) {
  auto targets = Json::array();
  for (const HeatTarget& each : status.targets) {
    targets.push_back({{"pid", each.process.number},
                       {"start_ticks", each.process.start_ticks},
                       {"name", null_if_empty(each.name)},
                       {"is_alive", each.is_alive},
                       {"windows", each.windows},
                       {"reason", null_if_empty(each.reason)}});
  }
  const Json whole{{"state", status.is_on ? "on" : "off"},
                   {"attrs", attributes_text(status.attributes)},
                   {"backend", to_word(status.backend)},
                   {"clients", null_if_empty(status.clients)},
                   {"targets", std::move(targets)},
                   {"foreign_contexts",
                    status.foreign_contexts ? Json(*status.foreign_contexts) : Json(nullptr)},
                   {"foreign_reason", null_if_empty(status.foreign_reason)}};
  constexpr int kIndent = 1;
  return whole.dump(kIndent, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
}

}  // namespace shmif::perf
