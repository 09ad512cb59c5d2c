#pragma once
// The parts of event strings: lists, modifiers, terms of a PMU, and the bit fields that sysfs
// describes. Nothing here reads a file.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "instruments/counters/event.hpp"

namespace shmif::perf {

/// The words of "a,cpu/b=1,c/,d": a comma between slashes separates terms, not events. Errors:
/// Errc::bad_argument for an empty word, or a slash without the closing one.
Result<std::vector<std::string>> split_events(std::string_view text);
/// The event sets of "a,b" (one) and "{a,b},{c},d" (three): each pair of braces makes a set, and
/// all events outside of braces make the last one. Errors: as split_events(); also for braces that
/// do not match.
Result<std::vector<std::vector<std::string>>> split_event_sets(std::string_view text);

/// Applies the modifiers "u" (user), "k" (kernel), "h" (hypervisor), "G" (guest), "H" (host), and
/// "p", "pp" and "ppp" (precise). Without u, k and h, the event counts in all three. Errors:
/// Errc::bad_argument.
Result<void> apply_modifiers(std::string_view modifiers, CounterEvent& event);

/// A term of "cpu/event=0x3c,umask=1,edge/".
struct EventTerm {
  std::string name;
  std::optional<std::uint64_t> value;  ///< empty: the term has no "="
  bool open = false;                   ///< "=?": the user must give the value
  bool operator==(const EventTerm&) const = default;
};
/// Values are decimal, or hexadecimal with 0x. Errors: Errc::bad_argument; the message names the
/// term.
Result<std::vector<EventTerm>> read_terms(std::string_view text);

/// Where the value of a term goes, as in a file in format/: "config1:0-7,32-35". The lowest bits of
/// a value go to the first range.
struct FormatField {
  struct Range {
    unsigned first = 0, last = 0;
    bool operator==(const Range&) const = default;
  };
  unsigned word = 0;  ///< 0: config, 1 to 3: config1 to config3
  std::vector<Range> ranges{};

  unsigned bits() const noexcept;
  bool operator==(const FormatField&) const = default;
};
/// Errors: Errc::bad_argument for other text, a bit above 63, or a bit that occurs twice.
Result<FormatField> read_format(std::string_view text);

/// The config words of an event, by number.
std::array<std::uint64_t*, 4> config_words(CounterEvent& event) noexcept;
/// Errors: Errc::bad_argument for a value that needs more bits than the field has.
Result<void> put_field(const FormatField& field, std::uint64_t value, CounterEvent& event);

/// A number as in a .scale file: "6.103515625e-5". Empty for other text, and for a number that is
/// not finite or not above 0.
std::optional<double> read_scale(std::string_view text);

}  // namespace shmif::perf
