#pragma once
// Sampling formats: what is kept of the samples, and how it is printed. A program that uses the
// library can add formats of its own.
//
//   class Cpus final : public SampleFormat {  // counts samples by CPU
//    public:
//     std::uint64_t fields() const override { return PERF_SAMPLE_CPU; }
//     void sample(const Sample& sample) override { ++counts_[sample.cpu]; }
//     std::string text() const override;
//    private:
//     std::map<int, std::uint64_t> counts_;
//   };
//   sample_formats().add("cpus", "samples of each CPU", [] { return std::make_unique<Cpus>(); });

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "perf/counters/sample.hpp"

namespace shmif::perf {

/// Gets each sample through SampleSink::sample(). Threads: one at a time.
class SampleFormat : public SampleSink {
 public:
  /// The PERF_SAMPLE_ bits that it needs beside kOwnFields.
  virtual std::uint64_t fields() const { return 0; }
  /// What it has kept, in lines.
  virtual std::string text() const = 0;
};

/// Threads: any.
class SampleFormats {
 public:
  using Make = std::function<std::unique_ptr<SampleFormat>()>;

  /// Errors: Errc::bad_argument for a name that is there already, or is empty.
  Result<void> add(std::string name, std::string about, Make make);
  /// A new, empty one. Errors: Errc::bad_argument for a name that is not there.
  Result<std::unique_ptr<SampleFormat>> make(const std::string& name) const;
  /// In the order in which they were added.
  std::vector<std::string> names() const;
  /// What each keeps, in the same order.
  std::vector<std::string> descriptions() const;

 private:
  struct Row {
    std::string name;
    std::string about;
    Make make;
  };
  mutable std::mutex mutex_;
  std::vector<Row> rows_;
};

/// The formats of this process. It begins with "raw" (each sample, up to a million), "addresses" (a
/// histogram of where programs were) and "chains" (a histogram of call chains).
SampleFormats& sample_formats();

}  // namespace shmif::perf
