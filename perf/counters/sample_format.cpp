#include "perf/counters/sample_format.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>

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

/// Those with the most samples first.
template <class Key>
std::vector<std::pair<Key, std::uint64_t>> by_samples(const std::map<Key, std::uint64_t>& counts) {
  std::vector<std::pair<Key, std::uint64_t>> rows(counts.begin(), counts.end());
  std::ranges::sort(rows, [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  return rows;
}

class RawSamples final : public SampleFormat {
 public:
  std::uint64_t fields() const override {
    return PERF_SAMPLE_TIME | PERF_SAMPLE_CPU | PERF_SAMPLE_ADDR;
  }
  void sample(const Sample& sample) override {
    constexpr std::size_t kMax = 1'000'000;
    if (samples_.size() >= kMax) {
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
  std::vector<Sample> samples_;
  std::uint64_t beyond_ = 0;
};

class AddressHistogram final : public SampleFormat {
 public:
  void sample(const Sample& sample) override { ++counts_[{sample.process, sample.ip}]; }
  std::string text() const override {
    std::string out;
    for (const auto& [place, samples] : by_samples(counts_)) {
      out += line_of("%llu process %d ip 0x%llx\n", printed(samples), place.first,
                     printed(place.second));
    }
    return out;
  }

 private:
  std::map<std::pair<pid_t, std::uint64_t>, std::uint64_t> counts_;
};

class CallChains final : public SampleFormat {
 public:
  std::uint64_t fields() const override { return PERF_SAMPLE_CALLCHAIN; }
  void sample(const Sample& sample) override {
    std::vector<std::uint64_t> chain(sample.chain.begin(), sample.chain.end());
    // The marks between kernel and user space are no addresses.
    std::erase_if(chain, [](std::uint64_t each) { return each >= PERF_CONTEXT_MAX; });
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
  std::map<std::pair<pid_t, std::vector<std::uint64_t>>, std::uint64_t> counts_;
};

}  // namespace

Result<void> SampleFormats::add(std::string name, std::string about, Make make) {
  const std::lock_guard lock(mutex_);
  if (name.empty() || std::ranges::find(rows_, name, &Row::name) != rows_.end()) {
    return Error(Errc::bad_argument, "cannot add the sampling format \"" + name + "\": " +
                                         (name.empty() ? "it has no name" : "there is one"));
  }
  rows_.push_back({std::move(name), std::move(about), std::move(make)});
  return {};
}

Result<std::unique_ptr<SampleFormat>> SampleFormats::make(const std::string& name) const {
  Make make;
  {
    const std::lock_guard lock(mutex_);
    const auto row = std::ranges::find(rows_, name, &Row::name);
    if (row != rows_.end()) make = row->make;
  }
  if (make) return make();
  std::string known;
  for (const std::string& each : names()) known += (known.empty() ? "" : ", ") + each;
  return Error(Errc::bad_argument,
               "there is no sampling format \"" + name + "\" (there are " + known + ')');
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
    return formats.add("raw", "each sample", [] { return std::make_unique<RawSamples>(); }) &&
           formats.add("addresses", "a histogram of where programs were",
                       [] { return std::make_unique<AddressHistogram>(); }) &&
           formats.add("chains", "a histogram of call chains",
                       [] { return std::make_unique<CallChains>(); });
  }();
  static_cast<void>(filled);
  return formats;
}

}  // namespace shmif::perf
