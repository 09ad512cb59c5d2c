#include "instruments/why/kernel_text.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <cerrno>

#include "base/quantity.hpp"
#include "base/result.hpp"
#include "base/text.hpp"
#include "instruments/watch/kernel_files.hpp"

namespace shmif::perf {
namespace {

/// Removes the next line from `text`. Result: the line without its newline.
std::string_view next_line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

constexpr bool is_blank(char c) noexcept {
  return c == ' ' || c == '\t';
}

/// Removes the next word from `line`. Result: the word; empty at the end of the line.
std::string_view next_word(std::string_view& line) {
  std::size_t begin = 0;
  while (begin < line.size() && is_blank(line[begin])) ++begin;
  std::size_t end = begin;
  while (end < line.size() && !is_blank(line[end])) ++end;
  const std::string_view word = line.substr(begin, end - begin);
  line.remove_prefix(end);
  return word;
}

std::uint64_t number(std::string_view word, int radix = 10) {
  return base::read_digits(word, radix).value_or(0);
}

/// The first number of a line that begins with `key`, behind blanks and a colon.
std::optional<std::uint64_t> number_in(std::string_view line, std::string_view key) {
  if (!line.starts_with(key)) return std::nullopt;
  line.remove_prefix(key.size());
  if (line.empty() || !(is_blank(line[0]) || line[0] == ':')) return std::nullopt;
  while (!line.empty() && (is_blank(line[0]) || line[0] == ':')) line.remove_prefix(1);
  return base::read_digits(next_word(line));
}

/// The number in the first line that has a number behind `key`. Removes the text up to the end of
/// that line; if there is no such line, leaves `text` unchanged.
std::optional<std::uint64_t> take_behind(std::string_view& text, std::string_view key) {
  std::string_view rest = text;
  while (!rest.empty()) {
    const auto found = number_in(next_line(rest), key);
    if (!found) continue;
    text = rest;
    return found;
  }
  return std::nullopt;
}

}  // namespace

std::optional<SchedStat> read_schedstat(std::string_view text) {
  std::string_view line = next_line(text);
  const auto run = base::read_digits(next_word(line));
  const auto wait = base::read_digits(next_word(line));
  const auto turns = base::read_digits(next_word(line));
  if (!run || !wait || !turns) return std::nullopt;
  return SchedStat{*run, *wait, *turns};
}

/// The text is long, and its lines are in this order. So each search continues where the last one
/// ended.
SwitchCounts read_sched(std::string_view text) {
  SwitchCounts counts;
  counts.migrations = take_behind(text, "se.nr_migrations");
  counts.voluntary = take_behind(text, "nr_voluntary_switches");
  counts.involuntary = take_behind(text, "nr_involuntary_switches");
  return counts;
}

SwitchCounts read_status_switches(std::string_view text) {
  SwitchCounts counts;
  counts.voluntary = take_behind(text, "voluntary_ctxt_switches");
  counts.involuntary = take_behind(text, "nonvoluntary_ctxt_switches");
  return counts;
}

std::string read_allowed(std::string_view text) {
  constexpr std::string_view kKey = "\nCpus_allowed_list:";
  const std::size_t at = text.find(kKey);
  if (at == std::string_view::npos) return {};
  std::string_view rest = text.substr(at + kKey.size());
  std::string_view line = next_line(rest);
  return std::string(next_word(line));
}

bool list_has(std::string_view list, int number) {
  if (number < 0) return false;
  const auto wanted = static_cast<std::uint64_t>(number);
  return std::ranges::any_of(base::split(list, ','), [&](std::string_view part) {
    const auto range = base::read_number_range(part);
    return range && range->first <= wanted && wanted <= range->last;
  });
}

std::vector<StolenTicks> read_cpu_ticks(std::string_view text) {
  std::vector<StolenTicks> cpus;
  while (text.starts_with("cpu")) {
    std::string_view line = next_line(text);
    const auto cpu = base::read_digits(next_word(line).substr(3));
    if (!cpu) continue;                // the line with the sum of all CPUs
    constexpr int kBeforeSoftirq = 6;  // user, nice, system, idle, iowait, irq
    for (int i = 0; i < kBeforeSoftirq; ++i) next_word(line);
    StolenTicks ticks{.cpu = static_cast<unsigned>(*cpu)};
    ticks.softirq = number(next_word(line));
    ticks.steal = number(next_word(line));
    cpus.push_back(ticks);
  }
  return cpus;
}

std::vector<SoftnetCounts> read_softnet(std::string_view text) {
  constexpr int kHex = 16;
  constexpr int kCpuWord = 12;  // since Linux 5.10; before, lines are in the order of the CPUs
  std::vector<SoftnetCounts> cpus;
  while (!text.empty()) {
    std::string_view line = next_line(text);
    SoftnetCounts counts{.cpu = static_cast<unsigned>(cpus.size())};
    counts.packets = number(next_word(line), kHex);
    counts.drops = number(next_word(line), kHex);
    counts.squeezes = number(next_word(line), kHex);
    for (int i = 3; i < kCpuWord; ++i) next_word(line);
    if (const auto cpu = base::read_digits(next_word(line), kHex)) {
      counts.cpu = static_cast<unsigned>(*cpu);
    }
    cpus.push_back(counts);
  }
  return cpus;
}

std::vector<DeviceCounts> read_devices(std::string_view text) {
  std::vector<DeviceCounts> devices;
  while (!text.empty()) {
    std::string_view line = next_line(text);
    const std::size_t colon = line.rfind(':');
    if (colon == std::string_view::npos) continue;  // a heading
    DeviceCounts device;
    std::string_view name = line.substr(0, colon);
    device.name = next_word(name);
    line.remove_prefix(colon + 1);
    constexpr std::size_t kWords = 16;
    constexpr std::size_t kRxPackets = 1, kRxDrops = 3, kTxPackets = 9, kTxDrops = 11;
    for (std::size_t i = 0; i < kWords; ++i) {
      const std::uint64_t value = number(next_word(line));
      if (i == kRxPackets) device.rx_packets = value;
      if (i == kRxDrops) device.rx_drops = value;
      if (i == kTxPackets) device.tx_packets = value;
      if (i == kTxDrops) device.tx_drops = value;
    }
    devices.push_back(std::move(device));
  }
  return devices;
}

std::optional<std::uint64_t> read_pressure(std::string_view text) {
  std::string_view line = next_line(text);
  constexpr std::string_view kTotal = "total=";
  const std::size_t at = line.find(kTotal);
  if (!line.starts_with("some ") || at == std::string_view::npos) return std::nullopt;
  line.remove_prefix(at + kTotal.size());
  return base::read_digits(next_word(line));
}

std::optional<std::uint64_t> read_keyed(std::string_view text, std::string_view key) {
  return take_behind(text, key);
}

std::optional<std::uint64_t> read_paired(std::string_view text, std::string_view group,
                                         std::string_view name) {
  const auto is_of_group = [&](std::string_view line) {
    return line.starts_with(group) && line.substr(group.size()).starts_with(':');
  };
  while (!text.empty()) {
    std::string_view names = next_line(text);
    if (!is_of_group(names)) continue;
    std::string_view numbers = next_line(text);
    if (!is_of_group(numbers)) return std::nullopt;
    next_word(names);
    next_word(numbers);
    for (std::string_view word = next_word(names); !word.empty(); word = next_word(names)) {
      const std::string_view value = next_word(numbers);
      if (word == name) return base::read_digits(value);
    }
    return std::nullopt;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> read_column(std::string_view text, std::string_view name) {
  constexpr int kHex = 16;
  std::string_view names = next_line(text);
  std::size_t column = 0;
  for (;; ++column) {  // until the name, or the end of the line
    const std::string_view word = next_word(names);
    if (word == name) break;
    if (word.empty()) return std::nullopt;
  }
  std::optional<std::uint64_t> all;
  while (!text.empty()) {
    std::string_view line = next_line(text);
    for (std::size_t i = 0; i < column; ++i) next_word(line);
    const auto value = base::read_digits(next_word(line), kHex);
    if (!value) return std::nullopt;
    all = all.value_or(0) + *value;
  }
  return all;
}

std::vector<int> read_numbers(std::string_view text) {
  std::vector<int> numbers;
  while (!text.empty()) {
    std::string_view line = next_line(text);
    for (std::string_view word = next_word(line); !word.empty(); word = next_word(line)) {
      if (const auto value = base::read_digits(word)) numbers.push_back(static_cast<int>(*value));
    }
  }
  return numbers;
}

namespace {

/// The kernel returns such files in pieces of a page, at most one line shorter. So if the first
/// piece is shorter than this, it is the whole file, and a second call is not necessary.
constexpr std::size_t kSurelyWhole = 2048;
constexpr std::size_t kMaxBytes = std::size_t{4} << 20U;

}  // namespace

std::string RepeatedFile::why() const {
  if (error_ == 0) return path_ + " is empty or has another form";
  return Error::from_errno(error_, "cannot read " + path_, descriptor_remedy(error_)).message;
}

std::optional<std::string_view> RepeatedFile::read(std::vector<char>& buffer) {
  constexpr std::size_t kFirstBytes = 16384;
  if (buffer.empty()) buffer.resize(kFirstBytes);
  if (!file_) file_.reset(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  error_ = file_ ? 0 : errno;
  if (!file_) return std::nullopt;
  std::size_t size = 0;
  for (;;) {  // until the end, or the limit
    const ssize_t got =
        ::pread(file_.get(), buffer.data() + size, buffer.size() - size, static_cast<off_t>(size));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      error_ = errno;
      return std::nullopt;
    }
    const bool first = size == 0;
    size += static_cast<std::size_t>(got);
    if (got == 0 || (first && size < kSurelyWhole) || size >= kMaxBytes) break;
    if (size == buffer.size()) buffer.resize(2 * buffer.size());
  }
  return std::string_view(buffer.data(), size);
}

}  // namespace shmif::perf
