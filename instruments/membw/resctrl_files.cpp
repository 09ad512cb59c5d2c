#include "instruments/membw/resctrl_files.hpp"

#include <limits>

#include "base/quantity.hpp"
#include "base/text.hpp"
#include "instruments/watch/lines.hpp"

namespace shmif::perf {
namespace {

Error not_a(std::string_view text, const char* what) {
  constexpr std::size_t kMaxShown = 80;
  return Error(Errc::bad_argument,
               '"' + std::string(text.substr(0, kMaxShown)) + "\" is not " + what);
}

/// /proc/mounts writes spaces, tabs, line ends and backslashes in octal: "\040".
std::string without_escapes(std::string_view text) {
  constexpr std::size_t kDigits = 3;
  std::string out;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const auto code = text[at] == '\\' ? base::read_digits(text.substr(at + 1, kDigits), 8)
                                       : std::optional<std::uint64_t>();
    const bool whole =
        code && *code <= std::numeric_limits<unsigned char>::max() && at + kDigits < text.size();
    out += whole ? static_cast<char>(*code) : text[at];
    if (whole) at += kDigits;
  }
  return out;
}

}  // namespace

Result<MbmValue> read_mbm_value(std::string_view text) {
  if (text.empty()) return Error(Errc::bad_argument, "the file is empty");
  if (!text.ends_with('\n')) return not_a(text, "a whole line");
  text.remove_suffix(1);
  using State = MbmValue::State;
  if (text == "Unavailable") return MbmValue{State::unavailable, 0};
  if (text == "Unassigned") return MbmValue{State::unassigned, 0};
  if (text == "Error") return MbmValue{State::failed, 0};
  const auto bytes = base::read_digits(text);
  if (!bytes) return not_a(text, "a number of bytes");
  return MbmValue{State::counted, *bytes};
}

std::optional<std::uint64_t> grown_by(std::uint64_t before, std::uint64_t after) noexcept {
  // No memory moves 2^62 bytes in a window. So a larger difference means a reset.
  constexpr std::uint64_t kMax = std::uint64_t{1} << 62U;
  const std::uint64_t difference = after - before;
  if (difference > kMax) return std::nullopt;
  return difference;
}

Result<std::string> read_assign_mode(std::string_view text) {
  std::string mode;
  for (const std::string_view line : lines_in(text)) {
    if (!line.starts_with('[') || !line.ends_with(']')) continue;
    if (!mode.empty() || line.size() <= 2)
      return not_a(text, "a list of modes with one in brackets");
    mode = line.substr(1, line.size() - 2);
  }
  if (mode.empty()) return not_a(text, "a list of modes with one in brackets");
  return mode;
}

Result<MbmAssignments> read_mbm_assignments(std::string_view text) {
  MbmAssignments assignments;
  for (const std::string_view line : lines_in(text)) {
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || colon == 0) return not_a(line, "EVENT:DOMAIN=STATE");
    auto& domains = assignments[std::string(line.substr(0, colon))];
    for (const std::string_view each : base::split(line.substr(colon + 1), ';')) {
      const std::size_t equals = each.find('=');
      const auto domain = base::read_digits(each.substr(0, equals));
      if (equals == std::string_view::npos || !domain || each.size() == equals + 1 ||
          *domain > std::numeric_limits<unsigned>::max()) {
        return not_a(each, "DOMAIN=STATE");
      }
      domains[static_cast<unsigned>(*domain)] = each.substr(equals + 1);
    }
  }
  return assignments;
}

std::optional<unsigned> l3_domain_of(std::string_view name) {
  constexpr std::string_view kStem = "mon_L3_";
  if (!name.starts_with(kStem)) return std::nullopt;
  const auto number = base::read_digits(name.substr(kStem.size()));
  if (!number || *number > std::numeric_limits<unsigned>::max()) return std::nullopt;
  return static_cast<unsigned>(*number);
}

std::optional<std::string> resctrl_mount_in(std::string_view mounts) {
  constexpr std::size_t kPath = 1;
  constexpr std::size_t kType = 2;
  for (const std::string_view line : lines_in(mounts)) {
    const auto words = base::split(line, ' ');
    if (words.size() > kType && words[kType] == "resctrl" && words[kPath].starts_with('/')) {
      return without_escapes(words[kPath]);
    }
  }
  return std::nullopt;
}

Result<std::vector<int>> read_tasks(std::string_view text) {
  std::vector<int> tasks;
  for (const std::string_view line : lines_in(text)) {
    const auto number = base::read_digits(line);
    if (!number || *number == 0 || *number > std::numeric_limits<int>::max()) {
      return not_a(line, "the number of a task");
    }
    tasks.push_back(static_cast<int>(*number));
  }
  return tasks;
}

}  // namespace shmif::perf
