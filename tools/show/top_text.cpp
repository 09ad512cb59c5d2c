#include "tools/show/top_text.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <map>
#include <tuple>
#include <utility>

#include "base/text.hpp"
#include "tools/common/options.hpp"
#include "tools/show/describe.hpp"

namespace shmif::tools {

namespace {

/// A counter goes back only if it was overwritten.
std::uint64_t grown(std::uint64_t before, std::uint64_t now) {
  return now >= before ? now - before : 0;
}

const PortInfo* same_port(const std::vector<PortInfo>& ports, const PortInfo& wanted) {
  for (const PortInfo& port : ports) {
    if (port.slot == wanted.slot && port.incarnation == wanted.incarnation) return &port;
  }
  return nullptr;
}

/// The last owner of a slot, and the counts of what it sent.
struct Sent {
  std::uint32_t incarnation = 0;  // 0 if it is not known
  bool has_left = true;
  std::uint64_t frames = 0, bytes = 0, segments = 0;
};

std::map<unsigned, Sent> sent_by_slot(const BusInfo& info) {
  std::map<unsigned, Sent> slots;
  for (const FormerPort& p : info.former_ports)
    slots[p.slot] = {p.incarnation, true, p.tx_frames, p.tx_bytes, p.tx_segments};
  for (const PortInfo& p : info.ports)
    slots[p.slot] = {p.incarnation, false, p.tx_frames, p.tx_bytes, p.tx_segments};
  return slots;
}

/// Adds up what all ports sent between two samples, as far as the slots still show that.
void add_up(const BusInfo& before, const BusInfo& now, double seconds, BusRates& rates) {
  const std::map<unsigned, Sent> old_slots = sent_by_slot(before);
  const std::map<unsigned, Sent> slots = sent_by_slot(now);
  std::uint64_t frames = 0;
  std::uint64_t bytes = 0;
  std::uint64_t segments = 0;
  bool complete = true;
  for (const auto& [slot, sent] : slots) {
    const auto found = old_slots.find(slot);
    Sent old = found != old_slots.end() ? found->second : Sent{};
    if (sent.incarnation == 0 || old.incarnation != sent.incarnation) {
      // It is complete only if no other port had the slot in between, and the old port had already
      // left.
      complete = complete && old.has_left && sent.incarnation == old.incarnation + 1;
      if (sent.incarnation == 0) continue;
      old = {};
    }
    frames += grown(old.frames, sent.frames);
    bytes += grown(old.bytes, sent.bytes);
    segments += grown(old.segments, sent.segments);
  }
  for (const auto& [slot, old] : old_slots) complete = complete && slots.contains(slot);
  // If a slot changed its port unseen, this does not matter as long as the bus numbered no more
  // frames than these.
  rates.complete = complete || grown(before.frames, now.frames) <= frames;
  rates.frames = static_cast<double>(segments) / seconds;
  rates.bits = 8 * static_cast<double>(bytes) / seconds;
}

/// NetBSD's format does not count frames. But it says how many bytes were written, including
/// headers, and the frames in the ring have a mean size.
void estimate(const BusInfo& before, const BusInfo& now, double seconds, BusRates& rates) {
  const double header_bytes = now.netbsd->version == 2 ? 12 : 24;
  rates.estimated = true;
  // A repair moves the positions.
  rates.known = why_no_end(before) == nullptr && why_no_end(now) == nullptr &&
                before.epoch == now.epoch && now.last >= before.last;
  if (!rates.known) return;
  const auto bytes = static_cast<double>(now.last - before.last);
  const std::uint64_t frames = *now.netbsd->frames_in_ring;
  if (frames == 0) {
    rates.complete = bytes == 0;
    return;
  }
  const double mean = static_cast<double>(*now.netbsd->bytes_in_ring) / static_cast<double>(frames);
  rates.complete = true;
  rates.frames = bytes / (mean + header_bytes) / seconds;
  rates.bits = 8 * mean * rates.frames;
}

}  // namespace

BusRates rates_between(const std::optional<Sample>& before, const Sample& now) {
  BusRates rates;
  const double seconds =
      before ? std::chrono::duration<double>(now.when - before->when).count() : 0;
  rates.known = seconds > 0;
  const auto per_second = [seconds](std::uint64_t from, std::uint64_t to) {
    return static_cast<double>(grown(from, to)) / seconds;
  };
  if (rates.known) {
    if (now.info.netbsd) {
      estimate(before->info, now.info, seconds, rates);
    } else {
      add_up(before->info, now.info, seconds, rates);
    }
    rates.acquisitions_known =
        why_no_acquisitions(before->info) == nullptr && why_no_acquisitions(now.info) == nullptr;
    if (rates.acquisitions_known)
      rates.acquisitions = per_second(before->info.lock_acquisitions, now.info.lock_acquisitions);
  }
  for (const PortInfo& port : now.info.ports) {
    PortRates row{port};
    row.lag_known = why_no_end(now.info) == nullptr;
    if (now.info.ring_bytes != 0 && row.lag_known) {
      row.lag = static_cast<double>(port.unread_bytes) / static_cast<double>(now.info.ring_bytes);
    }
    // While a slot changes hands, it is not known to which port its counters belong.
    row.known = rates.known && port.incarnation != 0;
    if (row.known) {
      const PortInfo* const seen = same_port(before->info.ports, port);
      const PortCounters none;
      const PortCounters& old = seen != nullptr ? *seen : none;
      row.tx_frames = per_second(old.tx_segments, port.tx_segments);
      row.tx_bits = 8 * per_second(old.tx_bytes, port.tx_bytes);
      row.rx_frames = per_second(old.rx_segments, port.rx_segments);
      row.rx_bits = 8 * per_second(old.rx_bytes, port.rx_bytes);
      row.lost_frames = per_second(old.lost_frames, port.lost_frames);
      row.wakeups = per_second(old.wakeups, port.wakeups);
      row.doorbells = per_second(old.doorbells, port.doorbells);
      row.lock_sleeps = per_second(old.lock_sleeps, port.lock_sleeps);
    }
    rates.ports.push_back(std::move(row));
  }
  return rates;
}

std::string format_bus_rate(const BusRates& rates, double value) {
  if (!rates.known || (!rates.complete && value == 0)) return "-";
  return (rates.estimated && value > 0 ? "~" : "") + format_rate(value) +
         (rates.complete ? "" : "+");
}

std::string format_rate(double value) {
  static constexpr const char* kUnits[] = {"", "k", "M", "G", "T", "P"};
  std::size_t unit = 0;
  // 999.5 would be rounded to four digits.
  while (value >= 999.5 && unit < 5) {
    value /= 1000;
    ++unit;
  }
  char text[32];
  const bool whole = unit == 0 && (value == 0 || value >= 9.95);
  const int digits = whole || value >= 99.95 ? 0 : value >= 9.995 || unit == 0 ? 1 : 2;
  std::snprintf(text, sizeof text, "%.*f%s", digits, value, kUnits[unit]);
  return text;
}

namespace {

constexpr const char* kPlain = "\x1b[0m";
constexpr const char* kBold = "\x1b[1m";
constexpr const char* kDim = "\x1b[2m";
constexpr const char* kReverse = "\x1b[7m";
constexpr const char* kRed = "\x1b[31m";
constexpr const char* kGreen = "\x1b[32m";
constexpr const char* kYellow = "\x1b[33m";

std::string rate(const PortRates& row, double value) {
  return row.known ? format_rate(value) : "-";
}

/// A port whose network interface is down counts as down, because its host cannot be reached.
bool is_up(const PortInfo& port) {
  return port.live && port.up && port.carrier;
}

const char* short_state(const PortInfo& port) {
  if (!port.live) return "dead";
  if (!is_up(port)) return "down";
  return port.carrier_known ? "up" : "up?";  // it is not known whether its host can be reached
}

/// `text` in exactly `width` columns; longer text is cut.
std::string fitted(const std::string& text, std::size_t width, bool right = false) {
  const std::size_t columns = base::columns_of(text);
  if (columns >= width) return text.substr(0, base::behind_columns(text, width));
  const std::string gap(width - columns, ' ');
  return right ? gap + text : text + gap;
}

/// A lag of at least this much, half the ring, is worth a look.
constexpr double kNotableLag = 0.5;

/// "37%" of the ring; "over" when senders have begun to overwrite data that the port has not read.
std::string lag_text(double lag) {
  return lag >= 1 ? "over" : std::to_string(static_cast<int>(lag * 100)) + '%';
}

std::string lag_of(const PortRates& row) {
  return row.port.up && row.lag_known ? lag_text(row.lag) : "-";
}

/// Replaces all but printable ASCII by '?': a name from the bus must not control the terminal.
std::string tame(const std::string& text) {
  std::string out = text;
  std::replace_if(out.begin(), out.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return out;
}

/// A column of the table of ports.
struct Column {
  const char* title;
  std::size_t width;
  unsigned rank;  ///< a screen shows the columns of the lowest ranks, as many as fit
  bool right;
  std::function<std::string(const PortRates&)> cell;
  std::function<const char*(const PortRates&)> colour;
};

/// Loss and lag come first, and a narrow screen leaves them out last.
const std::vector<Column>& columns() {
  const auto plain = [](const PortRates&) { return ""; };
  static const std::vector<Column> all = {
      {"SLOT", 4, 0, true, [](const PortRates& r) { return std::to_string(r.port.slot); }, plain},
      {"NAME", 10, 0, false, [](const PortRates& r) { return tame(r.port.name); },
       [](const PortRates&) { return kBold; }},
      {"LOST/s", 6, 1, true, [](const PortRates& r) { return rate(r, r.lost_frames); },
       [](const PortRates& r) { return r.lost_frames > 0 ? kRed : ""; }},
      {"LOST", 5, 0, true,
       [](const PortRates& r) { return format_rate(static_cast<double>(r.port.lost_frames)); },
       [](const PortRates& r) { return r.port.lost_frames > 0 ? kYellow : ""; }},
      {"LAG", 5, 2, true, lag_of,
       [](const PortRates& r) { return r.lag >= 1             ? kRed
                                       : r.lag >= kNotableLag ? kYellow
                                                              : ""; }},
      {"UP", 4, 4, false, [](const PortRates& r) { return std::string(short_state(r.port)); },
       [](const PortRates& r) { return !r.port.live    ? kRed
                                       : is_up(r.port) ? kGreen
                                                       : kYellow; }},
      {"TX/s", 5, 3, true, [](const PortRates& r) { return rate(r, r.tx_frames); }, plain},
      {"TXbit/s", 7, 5, true, [](const PortRates& r) { return rate(r, r.tx_bits); }, plain},
      {"RX/s", 5, 3, true, [](const PortRates& r) { return rate(r, r.rx_frames); }, plain},
      {"RXbit/s", 7, 5, true, [](const PortRates& r) { return rate(r, r.rx_bits); }, plain},
      {"LINK", 7, 6, false, [](const PortRates& r) { return std::string(to_string(r.port.link)); },
       plain},
      {"PID", 7, 7, true, [](const PortRates& r) { return pid_text(r.port); }, plain},
      {"MAC", 17, 8, false, [](const PortRates& r) { return mac_text(r.port); }, plain},
      {"WAKE/s", 6, 9, true, [](const PortRates& r) { return rate(r, r.wakeups); }, plain},
      {"BELL/s", 6, 10, true, [](const PortRates& r) { return rate(r, r.doorbells); }, plain},
      {"SLEEP/s", 7, 11, true, [](const PortRates& r) { return rate(r, r.lock_sleeps); }, plain},
  };
  return all;
}

/// The columns that a screen of that width shows: all up to some rank.
std::vector<const Column*> columns_on(unsigned width) {
  std::vector<const Column*> shown;
  for (unsigned rank = 0; rank <= columns().back().rank; ++rank) {
    std::vector<const Column*> more;
    std::size_t used = 0;
    for (const Column& column : columns()) {
      if (column.rank > rank) continue;
      used += column.width + (more.empty() ? 0 : 1);
      more.push_back(&column);
    }
    if (rank > 0 && used > width) break;
    shown = std::move(more);
  }
  return shown;
}

/// A line of at most `columns` characters: `left`, and `right` at the other end if both fit.
std::string spread(const std::string& left, const std::string& right, std::size_t columns) {
  if (left.size() + right.size() + 2 > columns) return fitted(left, columns);
  return left + std::string(columns - left.size() - right.size(), ' ') + right;
}

std::string ports_line(const BusInfo& info) {
  if (!info.has_port_table()) return "ports not told";
  std::size_t live = 0;
  std::size_t up = 0;
  for (const PortInfo& port : info.ports) {
    live += port.live ? 1U : 0U;
    up += is_up(port) ? 1U : 0U;
  }
  std::string text = std::to_string(live) + " live (" + std::to_string(up) + " up)";
  if (info.ports.size() != live) text += ", " + std::to_string(info.ports.size() - live) + " dead";
  return text;
}

/// The port with the largest value; nullptr if all values are 0.
template <class Value>
const PortRates* most(const std::vector<PortRates>& ports, Value value) {
  const auto found = std::ranges::max_element(ports, {}, value);
  return found == ports.end() || !(value(*found) > 0) ? nullptr : &*found;
}

/// "24.0k, most of it web; 60.0k in all".
std::string loss_text(const BusRates& rates) {
  double now = 0;
  std::uint64_t ever = 0;
  for (const PortRates& row : rates.ports) {
    now += row.lost_frames;
    ever += row.port.lost_frames;
  }
  std::string text = rates.known ? format_rate(now) : "-";
  const auto loss = [](const PortRates& row) { return row.lost_frames; };
  if (const PortRates* worst = most(rates.ports, loss)) text += ", most " + tame(worst->port.name);
  return text + "; " + format_rate(static_cast<double>(ever)) + " in all";
}

/// "web, 37% of the ring behind".
std::string slowest_text(const BusRates& rates) {
  const PortRates* const slowest = most(rates.ports, [](const PortRates& row) { return row.lag; });
  const auto is_unknown = [](const PortRates& row) { return row.port.up && !row.lag_known; };
  if (std::ranges::any_of(rates.ports, is_unknown)) return "-";
  if (slowest == nullptr) return "none is behind";
  return tame(slowest->port.name) + (slowest->lag >= 1
                                         ? ", overwritten"
                                         : ", " + lag_text(slowest->lag) + " of the ring behind");
}

/// "web 80 %, user 20 %": which ports send the most, and their share of all bytes.
std::string talkers_text(const BusRates& rates) {
  constexpr std::size_t kShown = 3;
  std::vector<const PortRates*> ports;
  double all = 0;
  for (const PortRates& row : rates.ports) {
    all += row.tx_bits;
    if (row.tx_bits > 0) ports.push_back(&row);
  }
  if (ports.empty()) return rates.known ? "none" : "-";
  std::ranges::sort(ports, std::ranges::less(),
                    [](const PortRates* row) { return std::pair(-row->tx_bits, row->port.slot); });
  std::string text;
  for (std::size_t i = 0; i < std::min(kShown, ports.size()); ++i) {
    const double share = 100 * ports[i]->tx_bits / all;
    if (i > 0 && share < 0.5) break;
    text += (i == 0 ? "" : ", ") + tame(ports[i]->port.name) + ' ' +
            std::to_string(std::lround(share)) + " %";
  }
  return text;
}

/// The newest values that fit into `width` columns, as bars relative to the largest of them.
std::string sparkline(const std::vector<double>& values, std::size_t width) {
  static constexpr std::array kBars{"\u2581", "\u2582", "\u2583", "\u2584",
                                    "\u2585", "\u2586", "\u2587", "\u2588"};
  const std::size_t shown = std::min(width, values.size());
  const auto newest = values.end() - static_cast<std::ptrdiff_t>(shown);
  const double top = shown == 0 ? 0 : *std::max_element(newest, values.end());
  std::string text;
  for (auto value = newest; value != values.end(); ++value) {
    const double part = top > 0 ? *value / top : 0;
    text += kBars.at(static_cast<std::size_t>(std::lround(part * (kBars.size() - 1))));
  }
  return text;
}

/// The right half of the heading for a bus of NetBSD's format.
std::string in_ring_text(const BusInfo::Netbsd& own) {
  return own.frames_in_ring ? std::to_string(*own.frames_in_ring) + " frames" : "not known";
}

constexpr std::size_t kHeadFields = 4;
/// The other lines of a screen without ports: title, empty line, heading of the table, and foot.
constexpr std::size_t kOtherLines = 4;

/// How many lines of fields the heading has. On a short screen it has only so many that a port
/// fits, too.
std::size_t head_fields(Screen::Size size) {
  const std::size_t room = size.rows > kOtherLines + 1 ? size.rows - kOtherLines - 1 : 0;
  return std::min(kHeadFields, room);
}

std::string head(const TopView& view, Screen::Size size) {
  const std::size_t width = size.columns;
  const BusInfo& info = view.info;
  const BusRates& rates = view.rates;
  const std::string lock = lock_text(info);
  const std::string acquisitions =
      rates.acquisitions_known ? format_rate(rates.acquisitions) : std::string("-");
  std::string out = kBold +
                    spread("shmif top  " + tame(info.path),
                           info.file_system + "  " + format_bytes(info.ring_bytes) + "  mtu " +
                               std::to_string(info.mtu),
                           width) +
                    kPlain + '\n';
  constexpr std::size_t kNames = 11;
  const auto field = [](const char* name, const std::string& value, std::size_t room) {
    if (room == 0) return std::string();
    return fitted(fitted(name, kNames) + value, room - 1) + ' ';  // keep fields apart
  };
  const std::size_t half = width / 2;
  std::string frames = format_bus_rate(rates, rates.frames);
  constexpr std::size_t kRate = 8;
  if (view.look.blocks && half > kNames + kRate) {
    frames = fitted(frames, kRate) + sparkline(view.history, half - kNames - kRate - 1);
  }
  const auto line = [&](const char* left, const std::string& value, const char* right,
                        const std::string& other) {
    return field(left, value, half) + field(right, other, width - half) + '\n';
  };
  const std::string bits = format_bus_rate(rates, rates.bits);
  std::array<std::string, kHeadFields> lines;
  if (info.netbsd) {
    constexpr const char* kUntold = "not told by NetBSD's format";
    lines = {line("frames/s", frames, "lost/s", kUntold),
             line("bit/s", bits, "in ring", in_ring_text(*info.netbsd)),
             line("ports", kUntold, "talkers", kUntold),
             line("lock", info.netbsd->lock_is_held ? "held" : "free", "generation",
                  std::to_string(info.generation))};
  } else {
    lines = {line("frames/s", frames, "lost/s", loss_text(rates)),
             line("bit/s", bits, "slowest", slowest_text(rates)),
             line("ports", ports_line(info), "talkers", talkers_text(rates)),
             line("lock", lock + ", " + acquisitions + "/s", "takeovers",
                  std::to_string(info.takeovers_dead) + " dead, " +
                      std::to_string(info.takeovers_living) + " living")};
  }
  for (std::size_t i = 0; i < head_fields(size); ++i) out += lines.at(i);
  return out;
}

/// Name and room of each column that a screen of that width has.
using Layout = std::vector<std::pair<const Column*, std::size_t>>;

/// The column NAME gets the room that the others leave, but no more than the longest name needs.
Layout layout_for(unsigned width) {
  constexpr std::size_t kLongestName = 31;
  Layout layout;
  std::size_t used = 0;
  for (const Column* column : columns_on(width)) {
    layout.emplace_back(column, column->width);
    used += column->width + 1;
  }
  for (auto& [column, room] : layout) {
    if (column->title != std::string_view("NAME")) continue;
    const std::size_t others = used - column->width - 1;
    room = std::clamp<std::size_t>(width - std::min<std::size_t>(others, width), 1, kLongestName);
  }
  return layout;
}

std::string table_row(const PortRates& row, const Layout& layout) {
  std::string out;
  for (const auto& [column, room] : layout) {
    const std::string colour =
        row.port.live || column->title == std::string_view("UP") ? column->colour(row) : kDim;
    out += (out.empty() ? "" : " ") + colour + fitted(column->cell(row), room, column->right) +
           (colour.empty() ? "" : kPlain);
  }
  return out;
}

std::string table_head(unsigned width, const Layout& layout) {
  std::string out;
  for (const auto& [column, room] : layout) {
    out += (out.empty() ? "" : " ") + fitted(column->title, room, column->right);
  }
  return kReverse + fitted(out, width) + kPlain;
}

void sort_ports(std::vector<PortRates>& ports, TopOrder order) {
  const auto by = [&ports](auto key) {
    std::ranges::sort(ports, std::ranges::less(),
                      [&key](const PortRates& row) { return std::pair(key(row), row.port.slot); });
  };
  switch (order) {
    case TopOrder::trouble:
      by([](const PortRates& row) {
        return std::tuple(-row.lost_frames, row.lag >= kNotableLag ? -row.lag : 0, -row.tx_bits);
      });
      break;
    case TopOrder::lag: by([](const PortRates& row) { return -row.lag; }); break;
    case TopOrder::tx: by([](const PortRates& row) { return -row.tx_bits; }); break;
    case TopOrder::rx: by([](const PortRates& row) { return -row.rx_bits; }); break;
    case TopOrder::name: by([](const PortRates& row) { return row.port.name; }); break;
    case TopOrder::slot: by([](const PortRates& row) { return row.port.slot; }); break;
  }
}

/// The keys, with the present order in brackets. The key of an order is its first letter, unless
/// another key is written before it, as KEY=ORDER.
std::string keys_line(TopOrder order) {
  std::string text = "q quit   sort:";
  for (const TopOrderName& each : kTopOrders) {
    const std::string word =
        each.word[0] == each.key ? each.word : std::string(1, each.key) + '=' + each.word;
    text += each.order == order ? " [" + word + ']' : ' ' + word;
  }
  return text;
}

/// The text without the escape sequences that set a colour.
std::string uncoloured(std::string text) {
  for (const char* colour : {kRed, kGreen, kYellow}) {
    for (std::size_t at = 0; (at = text.find(colour, at)) != std::string::npos;) {
      text.erase(at, std::string_view(colour).size());
    }
  }
  return text;
}

}  // namespace

std::size_t top_rows(Screen::Size size) {
  const std::size_t others = kOtherLines + head_fields(size);
  return size.rows > others ? size.rows - others : 1;
}

std::string top_screen(TopView& view, Screen::Size size) {
  const std::size_t room = top_rows(size);
  const std::size_t total = view.rates.ports.size();
  std::size_t& scrolled = view.look.scrolled;
  scrolled = std::min(scrolled, total > room ? total - room : 0);
  sort_ports(view.rates.ports, view.look.order);
  const Layout layout = layout_for(size.columns);
  std::string out = head(view, size) + '\n' + table_head(size.columns, layout) + '\n';
  const std::size_t end = std::min(total, scrolled + room);
  for (std::size_t i = scrolled; i < end; ++i) {
    out += table_row(view.rates.ports[i], layout) + '\n';
  }
  for (std::size_t i = end - scrolled; i < room; ++i) out += '\n';
  std::string foot;
  if (total > room) {
    foot = "ports " + std::to_string(scrolled + 1) + "-" + std::to_string(end) + " of " +
           std::to_string(total) + " (up/down)   ";
  }
  foot += keys_line(view.look.order);
  out += kDim + fitted(foot, size.columns) + kPlain;
  return view.look.colours ? out : uncoloured(std::move(out));
}

std::string top_lines(std::time_t now, const BusInfo& info, const BusRates& rates) {
  std::tm parts{};
  localtime_r(&now, &parts);
  char clock[16];
  std::strftime(clock, sizeof clock, "%H:%M:%S", &parts);
  std::string out = std::string(clock) + " bus " + format_bus_rate(rates, rates.frames) +
                    " frames/s " + format_bus_rate(rates, rates.bits) + "bit/s, " +
                    ports_line(info) + '\n';
  for (const PortRates& row : rates.ports) {
    out += std::string(clock) + " port " + tame(row.port.name) + " slot " +
           std::to_string(row.port.slot) + ' ' + to_string(row.port.link) + ' ' +
           short_state(row.port) + " tx " + rate(row, row.tx_frames) + "/s " +
           rate(row, row.tx_bits) + "bit/s rx " + rate(row, row.rx_frames) + "/s " +
           rate(row, row.rx_bits) + "bit/s lost " + rate(row, row.lost_frames) + "/s lag " +
           lag_of(row) + '\n';
  }
  return out;
}

}  // namespace shmif::tools
