#include "instruments/counters/sample_format.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <optional>

#include "base/quantity.hpp"
#include "base/text.hpp"

namespace shmif::perf {
namespace {

template <class... Values>
std::string line_of(const char* format, Values... values) {
  constexpr std::size_t kRoom = 160;
  std::array<char, kRoom> text{};
  const int length = std::snprintf(text.data(), text.size(), format, values...);
  return {text.data(), static_cast<std::size_t>(std::clamp<int>(length, 0, kRoom - 1))};
}

unsigned long long printed(std::uint64_t value) noexcept {
  return value;
}

/// The counts, the most samples first.
template <class Key>
std::vector<std::pair<Key, std::uint64_t>> by_samples(const std::map<Key, std::uint64_t>& counts) {
  std::vector<std::pair<Key, std::uint64_t>> rows(counts.begin(), counts.end());
  std::ranges::sort(rows, [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  return rows;
}

/// The settings that the argument of a built-in format can contain.
struct FormatSettings {
  /// Keeps only samples of the kernel (true) or of user space (false); empty: all.
  std::optional<bool> in_kernel{};
  std::size_t max = 1'000'000;
  std::size_t depth = 127;  ///< the kernel's own limit (kernel.perf_event_max_stack)

  bool keeps(const Sample& sample) const noexcept {
    return !in_kernel || *in_kernel == sample.in_kernel;
  }
};

Result<void> put_number(const FormatTerm& term, std::size_t most, std::size_t& to) {
  const auto number = base::read_digits(term.value);
  if (!number || *number == 0 || *number > most) {
    return Error(Errc::bad_argument,
                 '"' + term.key + '=' + term.value + "\": it must be 1 to " + std::to_string(most));
  }
  to = *number;
  return {};
}

/// `key`: the setting that this format has besides "only": "max" or "depth"; may be empty.
Result<FormatSettings> read_settings(std::string_view argument, std::string_view key) {
  constexpr std::size_t kMaxSamples = 100'000'000;
  const auto terms = read_format_terms(argument);
  if (!terms) return terms.error();
  FormatSettings settings;
  const std::size_t deepest = settings.depth;
  for (const FormatTerm& term : *terms) {
    Result<void> right;
    if (term.key == "only" && (term.value == "user" || term.value == "kernel")) {
      settings.in_kernel = term.value == "kernel";
    } else if (term.key == key && key == "max") {
      right = put_number(term, kMaxSamples, settings.max);
    } else if (term.key == key && key == "depth") {
      right = put_number(term, deepest, settings.depth);
    } else {
      right = Error(Errc::bad_argument, "unknown argument \"" + term.key + '=' + term.value +
                                            "\" (use only=user, only=kernel" +
                                            (key.empty() ? "" : " or " + std::string(key) + "=N") +
                                            ")");
    }
    if (!right) return right.error();
  }
  return settings;
}

/// Makes a built-in format.
template <class Format>
SampleFormats::MakeWith maker(std::string_view key) {
  return [key](std::string_view argument) -> Result<std::unique_ptr<SampleFormat>> {
    const auto settings = read_settings(argument, key);
    if (!settings) return settings.error();
    return std::unique_ptr<SampleFormat>(std::make_unique<Format>(*settings));
  };
}

class RawSamples final : public SampleFormat {
 public:
  explicit RawSamples(const FormatSettings& settings) : settings_(settings) {}
  std::uint64_t fields() const override {
    return PERF_SAMPLE_TIME | PERF_SAMPLE_CPU | PERF_SAMPLE_ADDR;
  }
  void sample(const Sample& sample) override {
    if (!settings_.keeps(sample)) return;
    if (samples_.size() >= settings_.max) {
      ++beyond_;
      return;
    }
    samples_.push_back(sample);
    samples_.back().chain = {};
  }
  std::string text() const override {
    std::string out;
    for (const Sample& each : samples_) {
      out +=
          line_of("time %llu cpu %d process %d thread %d ip 0x%llx address 0x%llx period %llu%s\n",
                  printed(each.time_ns), each.cpu, each.process, each.thread, printed(each.ip),
                  printed(each.address), printed(each.period), each.in_kernel ? " kernel" : "");
    }
    if (beyond_ > 0) out += line_of("and %llu more, which were not kept\n", printed(beyond_));
    return out;
  }

 private:
  FormatSettings settings_;
  std::vector<Sample> samples_;
  std::uint64_t beyond_ = 0;
};

class AddressHistogram final : public SampleFormat {
 public:
  explicit AddressHistogram(const FormatSettings& settings) : settings_(settings) {}
  void sample(const Sample& sample) override {
    if (settings_.keeps(sample)) ++counts_[{sample.process, sample.ip}];
  }
  std::string text() const override {
    std::string out;
    for (const auto& [place, samples] : by_samples(counts_)) {
      out += line_of("%llu process %d ip 0x%llx\n", printed(samples), place.first,
                     printed(place.second));
    }
    return out;
  }

 private:
  FormatSettings settings_;
  std::map<std::pair<pid_t, std::uint64_t>, std::uint64_t> counts_;
};

class CallChains final : public SampleFormat {
 public:
  explicit CallChains(const FormatSettings& settings) : settings_(settings) {}
  std::uint64_t fields() const override { return PERF_SAMPLE_CALLCHAIN; }
  void sample(const Sample& sample) override {
    if (!settings_.keeps(sample)) return;
    std::vector<std::uint64_t> chain(sample.chain.begin(), sample.chain.end());
    // Removes the marks between kernel and user space, which are not addresses.
    std::erase_if(chain, [](std::uint64_t each) { return each >= PERF_CONTEXT_MAX; });
    chain.resize(std::min(chain.size(), settings_.depth));
    ++counts_[{sample.process, std::move(chain)}];
  }
  std::string text() const override {
    std::string out;
    for (const auto& [chain, samples] : by_samples(counts_)) {
      out += line_of("%llu process %d", printed(samples), chain.first);
      for (const std::uint64_t each : chain.second) out += line_of(" 0x%llx", printed(each));
      out += '\n';
    }
    return out;
  }

 private:
  FormatSettings settings_;
  std::map<std::pair<pid_t, std::vector<std::uint64_t>>, std::uint64_t> counts_;
};

}  // namespace

Result<std::vector<FormatTerm>> read_format_terms(std::string_view argument) {
  std::vector<FormatTerm> terms;
  if (argument.empty()) return terms;
  for (const std::string_view word : base::split(argument, ',')) {
    const std::size_t equals = std::min(word.find('='), word.size());
    FormatTerm term{std::string(word.substr(0, equals)), {}};
    if (equals < word.size()) term.value = word.substr(equals + 1);
    if (term.key.empty() || term.value.empty()) {
      return Error(Errc::bad_argument, '"' + std::string(word) + "\": it is not KEY=VALUE");
    }
    if (std::ranges::find(terms, term.key, &FormatTerm::key) != terms.end()) {
      return Error(Errc::bad_argument, '"' + term.key + "\" is given twice");
    }
    terms.push_back(std::move(term));
  }
  return terms;
}

Result<void> SampleFormats::add(std::string name, std::string about, MakeWith make) {
  const std::lock_guard lock(mutex_);
  const char* const wrong =
      name.empty()                          ? "it has no name"
      : name.find(':') != std::string::npos ? "the name must not contain a colon"
      : std::ranges::find(rows_, name, &Row::name) != rows_.end() ? "a format of this name exists"
                                                                  : nullptr;
  if (wrong != nullptr) {
    return Error(Errc::bad_argument, "cannot add the sampling format \"" + name + "\": " + wrong);
  }
  rows_.push_back({std::move(name), std::move(about), std::move(make)});
  return {};
}

Result<void> SampleFormats::add(std::string name, std::string about, Make make) {
  MakeWith checked =
      [make = std::move(make)](std::string_view argument) -> Result<std::unique_ptr<SampleFormat>> {
    if (argument.empty()) return make();
    return Error(Errc::bad_argument, '"' + std::string(argument) + "\": it takes no argument");
  };
  return add(std::move(name), std::move(about), std::move(checked));
}

Result<std::unique_ptr<SampleFormat>> SampleFormats::make(std::string_view name) const {
  const std::size_t colon = std::min(name.find(':'), name.size());
  const std::string word(name.substr(0, colon));
  MakeWith make;
  {
    const std::lock_guard lock(mutex_);
    const auto row = std::ranges::find(rows_, word, &Row::name);
    if (row != rows_.end()) make = row->make;
  }
  if (make) {
    auto made = make(colon < name.size() ? name.substr(colon + 1) : std::string_view());
    if (made) return made;
    return Error(made.error().code, "sampling format \"" + word + "\": " + made.error().message);
  }
  std::string known;
  for (const std::string& each : names()) known += (known.empty() ? "" : ", ") + each;
  return Error(Errc::bad_argument,
               "there is no sampling format \"" + word + "\" (there are " + known + ')');
}

std::vector<std::string> SampleFormats::names() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  names.reserve(rows_.size());
  for (const Row& row : rows_) names.push_back(row.name);
  return names;
}

std::vector<std::string> SampleFormats::descriptions() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> all;
  all.reserve(rows_.size());
  for (const Row& row : rows_) all.push_back(row.about);
  return all;
}

SampleFormats& sample_formats() {
  static SampleFormats formats;
  static const bool filled = [] {
    return formats.add("raw", "each sample", maker<RawSamples>("max")) &&
           formats.add("addresses", "a histogram of where programs were",
                       maker<AddressHistogram>("")) &&
           formats.add("chains", "a histogram of call chains", maker<CallChains>("depth"));
  }();
  static_cast<void>(filled);
  return formats;
}

}  // namespace shmif::perf
