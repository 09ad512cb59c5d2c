#include "tools/page/lab_watch.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/signals.hpp"
#include "shmif/control/change.hpp"
#include "tools/lab/state.hpp"
#include "tools/packets/packets.hpp"
#include "tools/show/describe.hpp"
#include "tools/show/hosts.hpp"

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

LabWatch::LabWatch(PageSubject subject, std::chrono::milliseconds interval)
    : subject_(std::move(subject)),
      interval_(interval),
      lab_hosts_(std::make_unique<Json>(Json::array())) {
  feeds_.reserve(subject_.buses.size());
  for (const NamedBus& bus : subject_.buses) feeds_.emplace_back(bus);
  thread_ = base::quiet_thread<std::thread>([this] { run(); });
}

LabWatch::~LabWatch() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

const NamedBus* LabWatch::bus(const std::string& name) const noexcept {
  const auto found = std::ranges::find_if(
      subject_.buses, [&](const NamedBus& each) { return each.name == name || each.path == name; });
  return found == subject_.buses.end() ? nullptr : &*found;
}

std::string LabWatch::look(std::uint64_t number) {
  const std::lock_guard lock(feeds_mutex_);
  last_look_ = number;
  Json buses = Json::array();
  for (BusFeed& feed : feeds_) buses.push_back(feed.look());
  const Json lab = subject_.lab ? look_at_lab() : Json(nullptr);
  return json_line({{"look", number}, {"lab", lab}, {"buses", buses}});
}

/// Whether the lab runs, and the hosts of its file, whether or not they are up: what docs/page.md
/// calls the lab of the state.
Json LabWatch::look_at_lab() {
  const ServedLab& lab = *subject_.lab;
  // Read each time, because `down` and `up` may have made the lab anew.
  const std::optional<LabState> state = read_lab_state(lab.folder, lab.name);
  const bool alive = state && runs(lab.folder, *state);
  if (state) {
    *lab_hosts_ = Json::array();
    for (const LabStateHost& host : state->hosts)
      lab_hosts_->push_back({{"name", host.name}, {"buses", host.buses}});
  }
  return {{"name", lab.name},
          {"file", lab.file},
          {"state", !alive         ? "down"
                    : state->ready ? "up"
                                   : "starting"},
          {"hosts", *lab_hosts_}};
}

void LabWatch::count(std::uint64_t number) {
  const std::lock_guard lock(feeds_mutex_);
  last_look_ = number;
  // A bus that cannot be read is noted as such.
  for (BusFeed& feed : feeds_) static_cast<void>(feed.count());
}

void LabWatch::run() {
  std::unique_lock lock(mutex_);
  while (!ending_) {
    const auto now = Clock::now();
    // The first look is for whoever comes first.
    const bool is_watched = wanted_ || looks_ == 0 || now - asked_ < kForgotten;
    wanted_ = false;
    const std::uint64_t number = looks_ + 1;
    lock.unlock();
    std::string state;
    if (is_watched) {
      state = look(number);
    } else {
      count(number);
    }
    lock.lock();
    looks_ = number;
    if (is_watched) {
      state_ = std::move(state);
      state_look_ = number;
    }
    changed_.notify_all();
    changed_.wait_until(lock, now + interval_, [&] { return ending_ || wanted_; });
  }
  changed_.notify_all();
}

std::string LabWatch::state_from(std::uint64_t number, std::unique_lock<std::mutex>& lock) {
  while (!ending_ && state_look_ < number) {
    wanted_ = true;
    changed_.notify_all();
    changed_.wait(lock);
  }
  return state_;
}

std::string LabWatch::state() {
  std::unique_lock lock(mutex_);
  const auto now = Clock::now();
  const bool is_old = now - asked_ >= kForgotten;
  asked_ = now;
  return state_from(is_old ? looks_ + 1 : 1, lock);
}

std::string LabWatch::state_from_now() {
  std::unique_lock lock(mutex_);
  asked_ = Clock::now();
  // A look may be under way, and may have passed what was changed.
  return state_from(looks_ + 2, lock);
}

std::string LabWatch::histories(const NamedBus* bus) {
  const std::lock_guard lock(feeds_mutex_);
  Json buses = Json::array();
  for (const BusFeed& feed : feeds_) {
    if (bus == nullptr || feed.bus().path == bus->path) buses.push_back(feed.history());
  }
  return json_line({{"interval_ms", interval_.count()}, {"look", last_look_}, {"buses", buses}});
}

std::optional<std::string> LabWatch::history(const NamedBus& bus, unsigned slot,
                                             std::uint32_t incarnation) {
  const std::lock_guard lock(feeds_mutex_);
  for (const BusFeed& feed : feeds_) {
    if (feed.bus().path != bus.path || feed.bus().name != bus.name) continue;
    const std::optional<Json> found = feed.history(slot, incarnation);
    if (found) return json_line(*found);
  }
  return std::nullopt;
}

namespace {

constexpr std::size_t kTailBatchFrames = 256;
constexpr std::size_t kTailBatchBytes = 1U << 20U;
/// A bus that is written faster than it is read must not hold up the answer.
constexpr std::chrono::milliseconds kTailTime{150};
/// If nobody asked for this long, nobody watches. The next who does sees what is in the ring.
constexpr std::chrono::seconds kForgotten{10};
/// A frame's line: a hostile one is not longer, because it has headers only.
constexpr std::size_t kMaxLine = 1000;

}  // namespace

FrameTail::FrameTail(std::string path) : path_(std::move(path)) {}

void FrameTail::open(Start start) {
  follower_.emplace(Follower::open(path_, start, Resume::newest).value());
  names_.emplace(path_);
  lines_.clear();
  last_.reset();
}

void FrameTail::read() {
  const auto end = Clock::now() + kTailTime;
  FrameBatch batch(kTailBatchFrames, kTailBatchBytes);
  struct Copy {
    std::vector<std::byte> bytes;
    FrameView view;
  };
  std::deque<Copy> last;
  bool behind = false;
  for (;;) {
    batch.clear();
    const ReceiveResult received = follower_->receive(batch);
    lost_ += received.lost;
    if (!batch.empty()) last_ = batch.frames().back().number;
    const std::size_t skip = batch.size() > kKept ? batch.size() - kKept : 0;
    for (const FrameView& frame : batch.frames().subspan(skip)) {
      last.push_back({{frame.bytes.begin(), frame.bytes.end()}, frame});
      if (last.size() > kKept) last.pop_front();
    }
    if (received.error || (batch.empty() && received.lost == 0)) break;
    if (Clock::now() >= end) {
      behind = true;
      break;
    }
  }
  for (Copy& copy : last) {
    copy.view.bytes = copy.bytes;
    std::string line =
        packets().decode(copy.view, {.sender = names_->of(copy.view).name}).substr(0, kMaxLine);
    while (line.ends_with('\n')) line.pop_back();
    lines_.push_back({copy.view.number, std::move(line)});
    if (lines_.size() > kKept) lines_.pop_front();
  }
  // What is in the ring now is not worth reading any more.
  if (behind) follower_.emplace(Follower::open(path_, Start::now, Resume::newest).value());
}

std::string FrameTail::lines_after(std::optional<std::uint64_t> after) {
  const std::lock_guard lock(mutex_);
  const auto now = Clock::now();
  // Another bus may have the same name by now.
  const BusInfo info = Bus::open(path_).value().info();
  const std::pair file(info.device, info.inode);
  if (!follower_ || now - asked_ > kForgotten || file_ != file) open(Start::oldest);
  file_ = file;
  asked_ = now;
  read();
  const std::uint64_t begin = after && last_ && *after <= *last_ ? *after + 1 : 0;
  Json lines = Json::array();
  for (const Line& line : lines_) {
    if (line.number >= begin) lines.push_back({{"number", line.number}, {"text", line.text}});
  }
  return json_line(
      {{"last", last_ ? Json(*last_) : Json(nullptr)}, {"lost_frames", lost_}, {"lines", lines}});
}

}  // namespace shmif::tools
