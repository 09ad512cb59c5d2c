#include "tools/show/hosts_text.hpp"

#include <nlohmann/json.hpp>

#include "base/printable.hpp"
#include "tools/common/json.hpp"
#include "tools/show/describe.hpp"

namespace shmif::tools {

namespace {

Json json_of(const HostInterface& each, bool known) {
  const bool named = known && !each.name.empty();
  return {{"port", each.port.name},
          {"slot", each.port.slot},
          {"mac", each.port.mac.is_unicast() ? Json(each.port.mac.to_string()) : Json(nullptr)},
          {"link", to_string(each.port.link)},
          {"up", each.port.up},
          {"interface", named ? Json(each.name) : Json(nullptr)},
          {"addresses", named ? Json(each.addresses) : Json(nullptr)}};
}

Json json_of(const Host& host) {
  const bool known = host.unknown.empty();
  Json interfaces = Json::array();
  for (const HostInterface& each : host.interfaces) interfaces.push_back(json_of(each, known));
  const auto number = [&](pid_t pid) { return known && pid > 0 ? Json(pid) : Json(nullptr); };
  return {{"name", host.name()},
          {"pid", number(host.pid)},
          {"init_pid", number(host.init)},
          {"supervisor_pid", host.supervisor > 0 ? Json(host.supervisor) : Json(nullptr)},
          {"command", known ? Json(host.command) : Json(nullptr)},
          {"interfaces", interfaces},
          {"unknown", known ? Json(nullptr) : Json(host.unknown)}};
}

/// A program chooses its own command line, so the table shows at most this much of it.
constexpr std::size_t kMaxOfCommand = 60;

}  // namespace

std::string to_text(const std::vector<Host>& hosts) {
  std::vector<std::vector<std::string>> rows = {{"host", "pid", "interface", "address", "command"}};
  for (const Host& host : hosts) {
    const bool known = host.unknown.empty();
    std::string command;
    for (const std::string& word : host.command) command += (command.empty() ? "" : " ") + word;
    bool first = true;
    for (const HostInterface& each : host.interfaces) {
      const std::vector<std::string> none = {"-"};
      const std::vector<std::string>& addresses = each.addresses.empty() ? none : each.addresses;
      for (const std::string& address : addresses) {
        const bool next = &address != &addresses.front();  // it belongs to the same interface
        rows.push_back(
            {next ? "" : each.port.name,
             !first                  ? ""
             : known && host.pid > 0 ? std::to_string(host.pid)
                                     : "-",
             next                ? ""
             : each.name.empty() ? "-"
                                 : base::printable(each.name),
             address,
             first ? base::shortened(base::printable(known ? command : '(' + host.unknown + ')'),
                                     kMaxOfCommand)
                   : ""});
        first = false;
      }
    }
  }
  return aligned(rows);
}

std::string to_json(const std::string& path, const std::vector<Host>& hosts) {
  Json list = Json::array();
  for (const Host& host : hosts) list.push_back(json_of(host));
  return json_text({{"path", path}, {"hosts", list}});
}

}  // namespace shmif::tools
