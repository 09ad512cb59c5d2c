#pragma once
// The text messages between a user's programs and the monitor of access heat
// (instruments/heat/monitor.hpp). A request consists of lines. The first has the verb, and an empty
// line ends the request:
//
//   on
//   targets 41,42
//   attrs 5000,100000,1000000,10,1000
//
// The answer is a line with a word for its kind and the length of the text that follows: "ok 12",
// or "busy 31" with a reason.
//
// Threads: any. Blocks: never.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "instruments/heat/session.hpp"

namespace shmif::perf {

enum class HeatVerb : std::uint8_t { status, show, set, on, off, forget };

/// "status", "show", ...
const char* to_word(HeatVerb verb) noexcept;
/// "auto", "client", "clear_refs", ...
const char* to_word(HeatBackend backend) noexcept;
Result<HeatBackend> read_heat_backend(std::string_view word);

/// A request. Settings that are missing stay as they are.
struct HeatRequest {
  HeatVerb verb = HeatVerb::status;
  std::optional<HeatAttributes> attributes{};
  std::optional<std::vector<pid_t>> targets{};
  std::optional<HeatBackend> backend{};
  std::optional<DamonMemory> damon{};
  std::optional<std::string> clients{};  ///< what SHMIF_HEAT names; empty: targets' environments
  bool as_json = false;                  ///< for status and show
  std::size_t columns = 80;              ///< of the text that `show` makes
  bool in_colour = false;                ///< whether that text has colours
  bool has_settings() const noexcept {
    return attributes || targets || backend || damon || clients;
  }
  bool operator==(const HeatRequest&) const = default;
};

/// A longer request is an error.
inline constexpr std::size_t kMaxRequestBytes = 16384;

/// Reads a request with its empty line. Errors: Errc::bad_argument, also for a line that occurs
/// twice and for settings that the verb does not take. The whole request is then ignored.
Result<HeatRequest> read_heat_request(std::string_view text);
std::string heat_request_text(const HeatRequest& request);

/// The answer to a request: a text, or an error.
std::string heat_answer_text(const Result<std::string>& answer);
/// Reads an answer. Errors: those that the monitor sent, with the codes Errc::busy,
/// Errc::bad_argument, Errc::not_supported, ESRCH or EPERM, or EIO for all others;
/// Errc::not_supported if the text is not an answer.
Result<std::string> read_heat_answer(std::string_view text);

}  // namespace shmif::perf
