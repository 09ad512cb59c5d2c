#include "tools/page/page_changes.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "shmif/control/change.hpp"

namespace shmif::tools {

namespace {

constexpr std::size_t kMaxPortName = 64;
constexpr std::size_t kMaxChangeText = 1400;

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

Error wrong_wish(const std::string& why) {
  return {Errc::bad_argument,
          why + R"( (send {"bus": "NAME", "port": "NAME", "change": "link down"}))"};
}

}  // namespace

Result<ChangeWish> read_change_wish(const std::string& body) {
  const Json json = Json::parse(body, nullptr, false);
  if (!json.is_object()) return wrong_wish("the body is not an object in JSON");
  ChangeWish wish;
  for (const auto& [key, value] : json.items()) {
    std::string* const into = key == "bus"      ? &wish.bus
                              : key == "port"   ? &wish.port
                              : key == "change" ? &wish.change
                                                : nullptr;
    if (into == nullptr) return wrong_wish("a key is none of bus, port and change");
    if (!value.is_string()) return wrong_wish(key + " is not a text");
    *into = value.get<std::string>();
    if (std::ranges::any_of(*into, is_control)) return wrong_wish(key + " has control characters");
  }
  if (wish.bus.empty()) return wrong_wish("no bus is named");
  if (wish.port.size() > kMaxPortName) return wrong_wish("the name of the port is too long");
  if (wish.change.size() > kMaxChangeText) return wrong_wish("the change is too long");
  const std::string_view verb = std::string_view(wish.change).substr(0, wish.change.find(' '));
  const bool for_all = verb == "partition" || verb == "heal";
  if (!for_all && verb != "fault" && verb != "link")
    return wrong_wish("the change is none of fault, link, partition and heal");
  if (wish.port.empty() != for_all) {
    return wrong_wish(for_all ? "partition and heal concern all ports: leave out the port"
                              : "no port is named");
  }
  return wish;
}

Json changes_json(const Bus& bus) {
  Json list = Json::array();
  for (const BusChange& change : changes(bus)) {
    list.push_back({{"number", change.number},
                    {"time_ns", change.time_ns},
                    {"before_frame", change.before_frame},
                    {"port", change.port.empty() ? Json(nullptr) : Json(change.port)},
                    {"change", change.text}});
  }
  return list;
}

Json lines_json(const Bus& bus) {
  Json list = Json::array();
  for (const LineState& line : line_states(bus)) {
    list.push_back({{"slot", line.slot},
                    {"incarnation", line.incarnation},
                    {"takes_changes", line.takes_changes},
                    {"partitioned", line.partitioned},
                    {"line", line.text}});
  }
  return list;
}

}  // namespace shmif::tools
