#include "tools/show/top_text.hpp"

#include <algorithm>
#include <functional>

#include "tools/common/values.hpp"

namespace shmif::tools {

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
  return is_up(port) ? "up" : "down";
}

/// `text` in exactly `width` columns; longer text is cut.
std::string fitted(const std::string& text, std::size_t width, bool right) {
  if (text.size() >= width) return text.substr(0, width);
  const std::string gap(width - text.size(), ' ');
  return right ? gap + text : text + gap;
}

/// Replaces all but printable ASCII by '?': a name from the bus must not control the terminal.
std::string tame(const std::string& text) {
  std::string out = text;
  std::replace_if(out.begin(), out.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return out;
}

/// A column of the table of ports, shown on screens of at least `from_columns`.
struct Column {
  const char* title;
  std::size_t width;
  unsigned from_columns;
  bool right;
  std::function<std::string(const PortRates&)> cell;
  std::function<const char*(const PortRates&)> colour;
};

const std::vector<Column>& columns() {
  const auto plain = [](const PortRates&) { return ""; };
  static const std::vector<Column> all = {
      {"SLOT", 4, 0, true, [](const PortRates& r) { return std::to_string(r.port.slot); }, plain},
      {"NAME", 10, 0, false, [](const PortRates& r) { return tame(r.port.name); },
       [](const PortRates&) { return kBold; }},
      {"LINK", 7, 0, false, [](const PortRates& r) { return std::string(to_string(r.port.link)); },
       plain},
      {"UP", 4, 0, false, [](const PortRates& r) { return std::string(short_state(r.port)); },
       [](const PortRates& r) { return !r.port.live    ? kRed
                                       : is_up(r.port) ? kGreen
                                                       : kYellow; }},
      {"PID", 7, 0, true, [](const PortRates& r) { return std::to_string(r.port.pid); }, plain},
      {"MAC", 17, 100, false, [](const PortRates& r) { return r.port.mac.to_string(); }, plain},
      {"TX/s", 6, 0, true, [](const PortRates& r) { return rate(r, r.tx_frames); }, plain},
      {"TXbit/s", 7, 0, true, [](const PortRates& r) { return rate(r, r.tx_bits); }, plain},
      {"RX/s", 6, 0, true, [](const PortRates& r) { return rate(r, r.rx_frames); }, plain},
      {"RXbit/s", 7, 0, true, [](const PortRates& r) { return rate(r, r.rx_bits); }, plain},
      {"LOST/s", 6, 0, true, [](const PortRates& r) { return rate(r, r.lost_frames); },
       [](const PortRates& r) { return r.lost_frames > 0 ? kRed : ""; }},
      {"LOST", 6, 110, true,
       [](const PortRates& r) { return format_rate(static_cast<double>(r.port.lost_frames)); },
       [](const PortRates& r) { return r.port.lost_frames > 0 ? kYellow : ""; }},
      {"WAKE/s", 6, 124, true, [](const PortRates& r) { return rate(r, r.wakeups); }, plain},
      {"BELL/s", 6, 132, true, [](const PortRates& r) { return rate(r, r.doorbells); }, plain},
      {"SLEEP/s", 7, 141, true, [](const PortRates& r) { return rate(r, r.lock_sleeps); }, plain},
  };
  return all;
}

/// A line of at most `columns` characters: `left`, and `right` at the other end if both fit.
std::string spread(const std::string& left, const std::string& right, std::size_t columns) {
  if (left.size() + right.size() + 2 > columns) return fitted(left, columns, false);
  return left + std::string(columns - left.size() - right.size(), ' ') + right;
}

std::string ports_line(const BusInfo& info) {
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

std::string head(const TopView& view, std::size_t width) {
  const BusInfo& info = view.info;
  const BusRates& rates = view.rates;
  const auto shown = [&rates](double value) { return rates.known ? format_rate(value) : "-"; };
  const std::uint64_t filled =
      info.ring_bytes == 0 ? 0 : (info.last - info.first) * 100 / info.ring_bytes;
  std::string lock = "free";
  if (info.lock_holder) lock = "slot " + std::to_string(*info.lock_holder);
  std::string out = kBold +
                    spread("shmif top  " + tame(info.path),
                           info.file_system + "  " + format_bytes(info.ring_bytes) + "  mtu " +
                               std::to_string(info.mtu),
                           width) +
                    kPlain + '\n';
  const auto field = [](const char* name, const std::string& value, std::size_t room) {
    if (room == 0) return std::string();
    return fitted(fitted(name, 11, false) + value, room - 1, false) + ' ';  // keep fields apart
  };
  const std::size_t half = width / 2;
  out += field("frames/s", format_bus_rate(rates, rates.frames), half) +
         field("ring",
               std::to_string(filled) + " % full, generation " + std::to_string(info.generation),
               width - half) +
         '\n';
  out += field("bit/s", format_bus_rate(rates, rates.bits), half) +
         field("lock", lock + ", " + shown(rates.acquisitions) + "/s", width - half) + '\n';
  out += field("ports", ports_line(info), half) +
         field("takeovers",
               std::to_string(info.takeovers_dead) + " dead, " +
                   std::to_string(info.takeovers_living) + " living",
               width - half) +
         '\n';
  return out;
}

std::string table_row(const PortRates& row, unsigned width, std::size_t name_width) {
  std::string out;
  for (const Column& column : columns()) {
    if (width < column.from_columns) continue;
    const std::size_t room = column.title == std::string_view("NAME") ? name_width : column.width;
    const std::string colour =
        row.port.live || column.title == std::string_view("UP") ? column.colour(row) : kDim;
    out += (out.empty() ? "" : " ") + colour + fitted(column.cell(row), room, column.right) +
           (colour.empty() ? "" : kPlain);
  }
  return out;
}

std::string table_head(unsigned width, std::size_t name_width) {
  std::string out;
  for (const Column& column : columns()) {
    if (width < column.from_columns) continue;
    const std::size_t room = column.title == std::string_view("NAME") ? name_width : column.width;
    out += (out.empty() ? "" : " ") + fitted(column.title, room, column.right);
  }
  return kReverse + fitted(out, width, false) + kPlain;
}

/// The width of the column NAME: the room that the others leave, up to 31 columns.
std::size_t name_width(unsigned width) {
  std::size_t used = 0;
  std::size_t min = 0;
  for (const Column& column : columns()) {
    if (width < column.from_columns) continue;
    used += column.width + 1;
    if (column.title == std::string_view("NAME")) min = column.width;
  }
  const std::size_t spare = width + 1 > used ? width + 1 - used : 0;
  return std::min<std::size_t>(min + spare, 31);
}

}  // namespace

/// The head takes five lines, the table's head and the foot one line each.
std::size_t top_rows(Screen::Size size) {
  return size.rows > 7 ? size.rows - 7 : 1;
}

std::string top_screen(TopView& view, Screen::Size size) {
  const std::size_t room = top_rows(size);
  const std::size_t total = view.rates.ports.size();
  view.scrolled = std::min(view.scrolled, total > room ? total - room : 0);
  const std::size_t names = name_width(size.columns);
  std::string out = head(view, size.columns) + '\n' + table_head(size.columns, names) + '\n';
  const std::size_t end = std::min(total, view.scrolled + room);
  for (std::size_t i = view.scrolled; i < end; ++i) {
    out += table_row(view.rates.ports[i], size.columns, names) + '\n';
  }
  for (std::size_t i = end - view.scrolled; i < room; ++i) out += '\n';
  std::string foot = "q quit";
  if (total > room) {
    foot += "   up/down scroll   ports " + std::to_string(view.scrolled + 1) + "-" +
            std::to_string(end) + " of " + std::to_string(total);
  }
  return out + kDim + fitted(foot, size.columns, false) + kPlain;
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
           rate(row, row.rx_bits) + "bit/s lost " + rate(row, row.lost_frames) + "/s\n";
  }
  return out;
}

}  // namespace shmif::tools
