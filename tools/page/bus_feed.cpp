#include "tools/page/bus_feed.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "shmif/control/change.hpp"
#include "tools/page/page_changes.hpp"
#include "tools/show/describe.hpp"
#include "tools/show/hosts.hpp"

namespace shmif::tools {

namespace {

/// Addresses of hosts change rarely, and looking costs more than all the rest.
constexpr std::chrono::seconds kBetweenHosts{5};
/// A look at hosts that takes long is made so rarely that it takes at most this part of the time.
constexpr int kPartOfTime = 20;

/// A rate to one decimal, because a longer number would only make the text longer; null if it is
/// not known.
Json rate_json(bool known, double value) {
  return known && std::isfinite(value) ? Json(std::round(value * 10) / 10) : Json(nullptr);
}

Json points_json(const std::deque<std::array<float, 3>>& points, std::size_t which) {
  Json list = Json::array();
  for (const auto& point : points) {
    const float value = point.at(which);
    list.push_back(value < 0 ? Json(nullptr)
                             : Json(std::round(static_cast<double>(value) * 10) / 10));
  }
  return list;
}

template <class Points, class Point>
void keep_newest(Points& points, const Point& point, std::size_t most) {
  points.push_back(point);
  if (points.size() > most) points.pop_front();
}

double all_lost_of(const BusRates& rates) {
  double lost = 0;
  for (const PortRates& row : rates.ports) lost += row.known ? row.lost_frames : 0;
  return lost;
}

}  // namespace

BusFeed::BusFeed(NamedBus bus) : bus_(std::move(bus)) {}

Json BusFeed::rates_json(const BusRates& rates) {
  const bool known = rates.known && (rates.complete || rates.frames > 0);
  Json ports = Json::array();
  for (const PortRates& row : rates.ports) {
    ports.push_back(
        {{"slot", row.port.slot},
         {"incarnation", row.port.incarnation},
         {"tx_fps", rate_json(row.known, row.tx_frames)},
         {"tx_bps", rate_json(row.known, row.tx_bits)},
         {"rx_fps", rate_json(row.known, row.rx_frames)},
         {"rx_bps", rate_json(row.known, row.rx_bits)},
         {"lost_fps", rate_json(row.known, row.lost_frames)},
         {"lag", row.lag_known ? Json(std::round(row.lag * 1000) / 1000) : Json(nullptr)}});
  }
  const bool has_ports = !before_ || before_->info.has_port_table();
  return {{"rate_fps", rate_json(known, rates.frames)},
          {"rate_bps", rate_json(known, rates.bits)},
          {"lost_fps", rate_json(rates.known && has_ports, all_lost_of(rates))},
          {"lower_bound", rates.known && !rates.complete},
          {"estimated", rates.estimated},
          {"ports", ports}};
}

void BusFeed::note(const BusRates& rates) {
  const auto point = [](bool known, double a, double b, double c) -> Point {
    if (!known) return {-1, -1, -1};
    return {static_cast<float>(a), static_cast<float>(b), static_cast<float>(c)};
  };
  keep_newest(history_, point(rates.known, rates.frames, rates.bits, all_lost_of(rates)), kKept);
  std::map<PortKey, History> still;
  for (const PortRates& row : rates.ports) {
    const PortKey key(row.port.slot, row.port.incarnation);
    const auto found = port_histories_.find(key);
    History& history = still[key];
    if (found != port_histories_.end()) history = std::move(found->second);
    keep_newest(history, point(row.known, row.tx_bits, row.rx_bits, row.lost_frames), kKept);
  }
  port_histories_ = std::move(still);
}

void BusFeed::look_at_hosts(const BusInfo& info) {
  std::string ports;
  for (const PortInfo& port : info.ports) {
    ports += std::to_string(port.slot) + ':' + std::to_string(port.incarnation) +
             (port.live ? "+ " : "- ");
  }
  const auto begin = Clock::now();
  if (hosts_ && begin < hosts_due_ && ports == ports_of_hosts_) return;
  Json found{{"hosts", nullptr}, {"why_no_hosts", nullptr}};
  try {
    check_port_table(info, "list the hosts on").value();
    std::vector<Host> hosts = hosts_of(info);
    for (Host& host : hosts) read_command(host);
    found["hosts"] = Json::parse(to_json(info.path, hosts))["hosts"];
  } catch (const Exception& error) {
    found["why_no_hosts"] = error.what();
  }
  const auto end = Clock::now();
  hosts_ = std::make_unique<Json>(std::move(found));
  ports_of_hosts_ = std::move(ports);
  hosts_due_ = end + std::max<Clock::duration>(kBetweenHosts, (end - begin) * kPartOfTime);
}

Result<Bus> BusFeed::count() {
  // Opens it each time, to notice another bus of that name, and one that was truncated.
  Result<Bus> bus = Bus::open(bus_.path);
  if (!bus) {
    before_.reset();
    keep_newest(history_, Point{-1, -1, -1}, kKept);
    port_histories_.clear();
    return bus;
  }
  Sample now{Clock::now(), bus->info()};
  if (before_ &&
      (before_->info.inode != now.info.inode || before_->info.device != now.info.device ||
       before_->info.created_ns != now.info.created_ns)) {
    before_.reset();
  }
  rates_ = rates_between(before_, now);
  before_ = std::move(now);
  note(rates_);
  return bus;
}

Json BusFeed::look() {
  Json json{{"name", bus_.name}, {"path", bus_.path}, {"error", nullptr}};
  const Result<Bus> bus = count();
  if (!bus) {
    json["error"] = bus.error().message;
    return json;
  }
  look_at_hosts(before_->info);
  const std::vector<LineState> lines = line_states(*bus);
  json["stat"] = Json::parse(to_json(before_->info, &lines));
  json["rates"] = rates_json(rates_);
  json["lines"] = lines_json(*bus);
  json["changes"] = changes_json(*bus);
  json.update(*hosts_);
  return json;
}

Json BusFeed::history() const {
  return {{"name", bus_.name},
          {"path", bus_.path},
          {"rate_fps", points_json(history_, 0)},
          {"rate_bps", points_json(history_, 1)},
          {"lost_fps", points_json(history_, 2)}};
}

std::optional<Json> BusFeed::history(unsigned slot, std::uint32_t incarnation) const {
  const auto found = port_histories_.find({slot, incarnation});
  if (found == port_histories_.end()) return std::nullopt;
  return Json{{"tx_bps", points_json(found->second, 0)},
              {"rx_bps", points_json(found->second, 1)},
              {"lost_fps", points_json(found->second, 2)}};
}

}  // namespace shmif::tools
