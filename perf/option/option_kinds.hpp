#pragma once
// The kinds of options: how the text of an option becomes a member, and the member a text. Only the
// files with the rows of option_table.hpp include this.
//
// A kind knows its range and writes it into the documentation, so the documented and the checked
// range are the same. Likewise, the default is the text of the member's initial value.

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <limits>
#include <span>
#include <utility>

#include "base/text.hpp"
#include "perf/job/values.hpp"
#include "perf/option/option_table.hpp"

namespace shmif::perf {

/// How an option of Options (JobOptions, RunOptions) is written and read.
template <class Options>
struct Kind {
  std::string placeholder;
  std::string range;
  std::string unit{};
  bool flag = false;
  bool pair = false;
  std::function<Result<void>(std::string_view, Options&)> set{};
  std::function<std::string(const Options&)> show{};
  std::function<void(const Options& from, Options& to)> copy{};
  std::function<void(const Options& from, Options& to)>
      turn{};  ///< of a pair: the halves change places
};

template <class Options, class T>
std::function<void(const Options&, Options&)> copier(T Options::* member) {
  return [=](const Options& from, Options& to) { to.*member = from.*member; };
}

/// The type of the value in a member that may be empty.
template <class T>
struct ValueOf {
  using Type = T;
};
template <class T>
struct ValueOf<std::optional<T>> {
  using Type = T;
};

/// A member that `read` makes from the text, and `show` turns into one.
template <class Options, class T, class Read, class Show>
Kind<Options> kind_of(T Options::* member, std::string_view placeholder, std::string_view range,
                      const Read& read, const Show& show) {
  Kind<Options> kind{.placeholder = std::string(placeholder), .range = std::string(range)};
  kind.set = [=](std::string_view value, Options& options) -> Result<void> {
    auto result = read(value);
    if (!result) return result.error();
    options.*member = static_cast<typename ValueOf<T>::Type>(*std::move(result));
    return {};
  };
  kind.copy = copier(member);
  kind.show = [=](const Options& options) -> std::string { return show(options.*member); };
  return kind;
}

/// Refuses what `read` takes, if it is out of a range that `range` describes.
template <class T, class Read>
auto within(T min, T max, const std::string& range, Read read) {
  return [=](std::string_view value) -> Result<T> {
    Result<T> result = read(value);
    if (result && (*result < min || *result > max)) {
      return refused(value, "is out of range (" + range + ')');
    }
    return result;
  };
}

inline std::string number_text(std::uint64_t number) {
  return std::to_string(number);
}
template <class T>
std::string number_text(const std::optional<T>& number) {
  return number ? std::to_string(*number) : "none";
}

/// "1 to 9", or "from 1 up" if nothing is beyond `max`.
inline std::string range_text(std::uint64_t min, std::uint64_t max,
                              std::string (*text)(std::uint64_t)) {
  if (max == std::numeric_limits<std::uint64_t>::max()) return "from " + text(min) + " up";
  return text(min) + " to " + text(max);
}

/// A whole number.
template <class Options, class T>
Kind<Options> number(T Options::* member, std::uint64_t min, std::uint64_t max,
                     std::string_view unit = {}) {
  const std::string range = range_text(min, max, number_text);
  Kind<Options> kind = kind_of(member, "N", range, within(min, max, range, parse_count),
                               [](const T& value) { return number_text(value); });
  kind.unit = unit;
  return kind;
}

/// A whole number that may be negative, or may not be given.
template <class Options>
Kind<Options> integer(std::optional<int> Options::* member, int min, int max) {
  const std::string range = std::to_string(min) + " to " + std::to_string(max);
  const auto read = [=](std::string_view value) -> Result<int> {
    int number = 0;
    const auto [stop, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc{} || stop != value.data() + value.size() || number < min ||
        number > max) {
      return refused(value, "is not a whole number in its range (" + range + ')');
    }
    return number;
  };
  return kind_of(member, "N", range, read,
                 [](const std::optional<int>& number) { return number_text(number); });
}

/// Bytes of one packet, only in digits: in "9k", the meaning of k would matter.
template <class Options>
Kind<Options> packet_bytes(std::uint32_t Options::* member, std::uint32_t min, std::uint32_t max) {
  Kind<Options> kind = number(member, min, max, "bytes");
  kind.set = [set = kind.set](std::string_view value, Options& options) -> Result<void> {
    const Result<std::uint64_t> read = parse_packet_bytes(value);
    if (!read) return read.error();
    return set(value, options);
  };
  return kind;
}

/// A share of a whole.
template <class Options>
Kind<Options> share(double Options::* member, std::string_view range) {
  return kind_of(member, "SHARE", range, parse_share,
                 [](double value) { return share_text(value); });
}

/// A number with a fraction, in the format that `read` takes.
template <class Options>
Kind<Options> real(double Options::* member, Result<double> (*read)(std::string_view),
                   std::string_view placeholder, std::string_view range) {
  return kind_of(member, placeholder, range, read, [](double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", value);
    return std::string(text);
  });
}

/// 1 or 0; without a value, 1.
template <class Options>
Kind<Options> yes_or_no(bool Options::* member) {
  Kind<Options> kind =
      kind_of(member, "0|1", "0 or 1", parse_boolean, [](bool value) { return value ? "1" : "0"; });
  kind.flag = true;
  return kind;
}

/// Bytes, with fio's suffixes.
template <class Options>
Kind<Options> bytes(std::uint64_t Options::* member, std::uint64_t min, std::uint64_t max) {
  const std::string range = range_text(min, max, base::size_text);
  Kind<Options> kind =
      kind_of(member, "SIZE", range, within(min, max, range, parse_bytes), base::size_text);
  kind.unit = "bytes";
  return kind;
}

/// A time; without a unit, in units of `plain`.
template <class Options>
Kind<Options> time(std::chrono::nanoseconds Options::* member, TimeUnit plain,
                   std::chrono::nanoseconds min, std::chrono::nanoseconds max) {
  const std::string range = time_text(min) + " to " + time_text(max);
  const auto read = [=](std::string_view value) { return parse_time(value, plain); };
  Kind<Options> kind = kind_of(member, "TIME", range, within(min, max, range, read),
                               [](std::chrono::nanoseconds value) { return time_text(value); });
  kind.unit = plain == TimeUnit::seconds        ? "seconds"
              : plain == TimeUnit::milliseconds ? "milliseconds"
                                                : "microseconds";
  return kind;
}

template <class T>
struct Word {
  const char* name;
  T value;
};

/// "a, b or c", each value once: synonyms are not listed.
template <class T>
std::string listed(std::span<const Word<T>> words) {
  std::vector<const char*> names;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const bool again = std::any_of(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(i),
                                   [&](const auto& w) { return w.value == words[i].value; });
    if (!again) names.push_back(words[i].name);
  }
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) text += i + 1 == names.size() ? " or " : ", ";
    text += names[i];
  }
  return text;
}

template <class T>
const Word<T>* find_word(std::span<const Word<T>> words, std::string_view name) {
  const auto it =
      std::find_if(words.begin(), words.end(), [&](const Word<T>& w) { return w.name == name; });
  return it == words.end() ? nullptr : &*it;
}

/// Several of the words, separated by commas. Errors: bad_argument for an unknown word.
template <class T>
Result<std::vector<T>> read_words(std::span<const Word<T>> words, std::string_view value) {
  std::vector<T> read;
  for (const std::string_view part : base::split(value, ',')) {
    const Word<T>* const word = find_word(words, part);
    if (word == nullptr) {
      return refused(value, "is not known (" + listed(words) + ", or several separated by commas)");
    }
    read.push_back(word->value);
  }
  return read;
}

/// One of a few words.
template <class Options, class T>
Kind<Options> one_of(T Options::* member, const std::vector<Word<T>>& words,
                     std::string_view placeholder) {
  const std::string range = listed(std::span<const Word<T>>(words));
  const auto read = [=](std::string_view value) -> Result<T> {
    const Word<T>* const word = find_word(std::span<const Word<T>>(words), value);
    if (word == nullptr) return refused(value, "is not known (" + range + ')');
    return word->value;
  };
  return kind_of(member, placeholder, range, read, [=](const T& value) {
    const auto word = std::ranges::find(words, value, &Word<T>::value);
    return word == words.end() ? "?" : word->name;
  });
}

/// Any non-empty text; `what` says what it names. A text of `max` or more characters is refused.
template <class Options>
Kind<Options> text(std::string Options::* member, std::string_view placeholder,
                   std::string_view what, std::size_t max = 4096) {
  const auto read = [=](std::string_view value) -> Result<std::string> {
    if (value.empty()) return refused(value, "is empty");
    if (value.size() >= max) return refused(value, "is too long");
    if (value.find('\0') != std::string_view::npos) return refused(value, "holds a NUL byte");
    return std::string(value);
  };
  return kind_of(member, placeholder, what, read,
                 [](const std::string& value) { return value.empty() ? "none" : value; });
}

/// A program and its arguments, without a shell.
template <class Options>
Kind<Options> command(std::vector<std::string> Options::* member) {
  return kind_of(member, "COMMAND",
                 "a program and its arguments, quoted as for a shell; no shell runs them",
                 split_words, [](const auto&) { return "none"; });
}

/// A value that `read` makes from the text.
template <class Options, class T>
Kind<Options> parsed(T Options::* member, Result<T> (*read)(std::string_view),
                     std::string (*show)(const T&), std::string_view placeholder,
                     std::string_view range) {
  return kind_of(member, placeholder, range, read, show);
}

/// A value for each direction, "A,B", or one for both. If one half is empty, only the other is set.
/// Its row says what the default is, or the caller adds `show`.
template <class Options, class T>
Kind<Options> per_direction(PerDirection<T> Options::* member, Result<T> (*read)(std::string_view),
                            std::string_view placeholder, std::string_view range) {
  Kind<Options> kind{
      .placeholder = std::string(placeholder), .range = std::string(range), .pair = true};
  kind.set = [=](std::string_view value, Options& options) -> Result<void> {
    const Result<PairText> both = split_pair(value);
    if (!both) return both.error();
    PerDirection<T> values = options.*member;
    for (const auto& [part, into] :
         {std::pair(both->tx, &values.tx), std::pair(both->rx, &values.rx)}) {
      if (part.empty() && !value.empty()) continue;
      auto result = read(part);
      if (!result) return result.error();
      *into = std::move(*result);
    }
    options.*member = std::move(values);
    return {};
  };
  kind.copy = copier(member);
  kind.turn = [=](const Options& from, Options& to) {
    to.*member = {(from.*member).rx, (from.*member).tx};
  };
  return kind;
}

// ---- For which jobs an option is ----

template <EngineKind... kinds>
bool on(const JobOptions& job) {
  return ((job.engine == kinds) || ...);
}
/// Whether the job sets the pace, or sends as fast as possible: not at the times of a capture.
inline bool has_own_pace(const JobOptions& job) {
  return job.replay.empty() || job.replay_no_stall || job.rate_bps.tx != 0 || job.rate_fps.tx != 0;
}

/// A row that has just been added, to say more about it.
class AddedRow {
 public:
  AddedRow(OptionRow& row, std::function<void(const JobOptions&, JobOptions&)> copy,
           std::function<void(const JobOptions&, JobOptions&)> turn)
      : row_(row), copy_(std::move(copy)), turn_(std::move(turn)) {}

  /// The peer that is made for the job has the same value.
  AddedRow& to_peer() {
    row_.copy_to_peer = std::move(copy_);
    return *this;
  }
  /// The same for a peer that sends by itself; any other keeps the default.
  AddedRow& to_sending_peer() {
    row_.for_sending_peer = true;
    return to_peer();
  }
  /// What the job sends is what its peer receives, and the other way round.
  AddedRow& to_peer_turned() {
    row_.copy_to_peer = std::move(turn_);
    return *this;
  }
  /// A second value in one section is refused.
  AddedRow& once() {
    row_.once = true;
    return *this;
  }
  /// The option has no effect on other jobs than these; `what` says which they are.
  AddedRow& only(bool (*is_used)(const JobOptions&), std::string what) {
    row_.is_used = is_used;
    row_.only = std::move(what);
    return *this;
  }

 private:
  OptionRow& row_;
  std::function<void(const JobOptions&, JobOptions&)> copy_, turn_;
};

/// Collects the rows of a category.
class Rows {
 public:
  Rows(std::vector<OptionRow>& into, OptionCategory category) : into_(into), category_(category) {}

  /// `names`: the name, followed by aliases, separated by spaces. `standard` replaces the text of
  /// the default. Texts may be raw strings, as base::unfolded() reads them.
  AddedRow add(const std::string& names, OnServer on_server, Kind<JobOptions> kind,
               std::string_view text, std::string_view standard = {}) {
    OptionRow& row = describe(names, on_server, kind, text, standard);
    row.set_job = std::move(kind.set);
    return {row, std::move(kind.copy), std::move(kind.turn)};
  }
  void add(const std::string& names, OnServer on_server, Kind<RunOptions> kind,
           std::string_view text, std::string_view standard = {}) {
    OptionRow& row = describe(names, on_server, kind, text, standard);
    row.set_run = std::move(kind.set);
  }

 private:
  template <class Options>
  OptionRow& describe(const std::string& names, OnServer on_server, Kind<Options>& kind,
                      std::string_view text, std::string_view standard) {
    OptionRow& row = into_.emplace_back();
    const auto all = base::split(names, ' ');
    row.name = all.front();
    row.aliases.assign(all.begin() + 1, all.end());
    row.category = category_;
    row.placeholder = std::move(kind.placeholder);
    row.unit = std::move(kind.unit);
    row.standard = standard.empty() ? kind.show(Options{}) : base::unfolded(standard);
    row.range = std::move(kind.range);
    row.flag = kind.flag;
    row.pair = kind.pair;
    row.text = base::unfolded(text);
    row.on_server = on_server;
    return row;
  }

  std::vector<OptionRow>& into_;
  OptionCategory category_;
};

void add_job_rows(std::vector<OptionRow>& into);
void add_traffic_rows(std::vector<OptionRow>& into);
void add_length_rows(std::vector<OptionRow>& into);
void add_frame_rows(std::vector<OptionRow>& into);
void add_engine_rows(std::vector<OptionRow>& into);
void add_verification_rows(std::vector<OptionRow>& into);
void add_measurement_rows(std::vector<OptionRow>& into);
void add_record_rows(std::vector<OptionRow>& into);
void add_place_rows(std::vector<OptionRow>& into);
void add_run_rows(std::vector<OptionRow>& into);

/// Whether the job sends by itself, and does not only reply.
inline bool sends_by_itself(const JobOptions& job) noexcept {
  return sends(job.rw);
}
inline constexpr const char* kSendsByItself =
    "is for jobs that send by themselves (rw=tx, txrx and pingpong)";

}  // namespace shmif::perf
