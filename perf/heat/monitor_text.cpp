#include <nlohmann/json.hpp>

#include "base/printable.hpp"
#include "perf/heat/monitor.hpp"

namespace shmif::perf {
namespace {

using Json = nlohmann::ordered_json;

std::string contexts_line(const HeatStatus& status) {
  if (!status.contexts) return "kernel DAMON: " + status.contexts_reason;
  const auto [own, foreign] = *status.contexts;
  if (own + foreign == 0) return "kernel DAMON: nobody uses it";
  std::string text = "kernel DAMON: ";
  if (own > 0) text += "this monitor uses " + std::to_string(own) + " contexts";
  if (own > 0 && foreign > 0) text += "; ";
  if (foreign == 0) return text;
  return text + "others use " + std::to_string(foreign) +
         " contexts, which the monitor does not touch";
}

Json null_if_empty(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

}  // namespace

std::string heat_status_text(const HeatStatus& status) {
  std::string text = status.is_on ? "on" : "off";
  text += "\nattrs " + attributes_text(status.attributes) + "\nbackend " + to_word(status.backend) +
          '\n';
  if (status.backend == HeatBackend::damon) {
    text += std::string("damon ") + to_word(status.damon.space);
    if (!status.damon.ranges.empty()) text += ' ' + address_ranges_text(status.damon.ranges);
    text += '\n';
  }
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
  const auto& contexts = status.contexts;
  const Json whole{{"state", status.is_on ? "on" : "off"},
                   {"attrs", attributes_text(status.attributes)},
                   {"backend", to_word(status.backend)},
                   {"damon", to_word(status.damon.space)},
                   {"ranges", null_if_empty(address_ranges_text(status.damon.ranges))},
                   {"clients", null_if_empty(status.clients)},
                   {"targets", std::move(targets)},
                   {"own_contexts", contexts ? Json(contexts->own) : Json(nullptr)},
                   {"foreign_contexts", contexts ? Json(contexts->foreign) : Json(nullptr)},
                   {"foreign_reason", null_if_empty(status.contexts_reason)}};
  constexpr int kIndent = 1;
  return whole.dump(kIndent, ' ', true, nlohmann::json::error_handler_t::replace) + '\n';
}

}  // namespace shmif::perf
