#include "perf/job/values.hpp"

#include "base/text.hpp"
#include "perf/job/same_word.hpp"

namespace shmif::perf {
namespace {

using std::chrono::nanoseconds;

template <class T>
Result<T> result_of(const base::Reading<T>& reading, std::string_view text) {
  if (!reading) return Error(Errc::bad_argument, reading.why(text));
  return *reading;
}

}  // namespace

Error refused(std::string_view text, const std::string& why) {
  return {Errc::bad_argument, '"' + std::string(text) + "\" " + why};
}

Result<std::uint64_t> parse_bytes(std::string_view text) {
  return result_of(base::read_size(text), text);
}
Result<std::uint64_t> parse_packet_bytes(std::string_view text) {
  return result_of(base::read_packet_bytes(text), text);
}
Result<std::uint64_t> parse_count(std::string_view text) {
  return result_of(base::read_count(text), text);
}
Result<std::uint64_t> parse_rate(std::string_view text) {
  return result_of(base::read_rate(text), text);
}
Result<nanoseconds> parse_time(std::string_view text, TimeUnit plain) {
  return result_of(base::read_time(text, plain), text);
}
Result<double> parse_share(std::string_view text) {
  return result_of(base::read_share(text), text);
}
Result<double> parse_per_cent(std::string_view text) {
  return result_of(base::read_percentage(text), text);
}

Result<bool> parse_boolean(std::string_view text) {
  for (const std::string_view yes : {"1", "true", "yes", "on"}) {
    if (same_word(text, yes)) return true;
  }
  for (const std::string_view no : {"0", "false", "no", "off"}) {
    if (same_word(text, no)) return false;
  }
  return refused(text, "is neither yes nor no (write 1 or 0)");
}

Result<PairText> split_pair(std::string_view text) {
  const auto parts = base::split(text, ',');
  if (parts.size() == 1) return PairText{parts[0], parts[0]};
  if (parts.size() > 2 || (parts[0].empty() && parts[1].empty())) {
    return refused(text,
                   "is not a value for both directions (write A for both, or A,B for tx and rx)");
  }
  return PairText{parts[0], parts[1]};
}

}  // namespace shmif::perf
