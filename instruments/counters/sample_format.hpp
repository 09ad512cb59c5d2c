#pragma once
// Sampling formats: what to keep of the samples, and how to print it. A program that uses the
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
//
// A format may take an argument, which follows its name: "raw:max=100,only=user". The format checks
// it before anything is sampled.

#include <linux/perf_event.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "instruments/counters/sample.hpp"

namespace shmif::perf {

/// Gets each sample through SampleSink::sample(). Threads: one at a time.
class SampleFormat : public SampleSink {
 public:
  /// The PERF_SAMPLE_ bits (linux/perf_event.h) that the format needs. Every sample also has the
  /// address, the process and the thread.
  virtual std::uint64_t fields() const { return 0; }
  /// What the format has kept, as lines of text.
  virtual std::string text() const = 0;
};

/// A part of a format's argument.
struct FormatTerm {
  std::string key;    ///< "max"
  std::string value;  ///< "100"
};
/// The terms of "max=100,only=user". An empty text has no terms. Errors: Errc::bad_argument for a
/// word without "=", an empty key or value, or a key that is given twice. Threads: any. Blocks:
/// never.
Result<std::vector<FormatTerm>> read_format_terms(std::string_view argument);

/// Threads: any, for every call. Blocks: never.
class SampleFormats {
 public:
  /// Makes a format without samples from its argument. Errors: Errc::bad_argument for an argument
  /// that the format does not accept; the message says which it accepts.
  using MakeWith = std::function<Result<std::unique_ptr<SampleFormat>>(std::string_view argument)>;
  /// The same for a format that has no argument.
  using Make = std::function<std::unique_ptr<SampleFormat>()>;

  /// Adds a format. `about`: what it keeps, in a few words. Errors: Errc::bad_argument for a name
  /// that is already in use, is empty, or contains a colon.
  Result<void> add(std::string name, std::string about, MakeWith make);
  /// Adds a format that has no argument.
  Result<void> add(std::string name, std::string about, Make make);
  /// Makes a format without samples. `name`: "NAME" or "NAME:ARGUMENT". Errors: Errc::bad_argument
  /// for an unknown name; those of the format for its argument.
  Result<std::unique_ptr<SampleFormat>> make(std::string_view name) const;
  /// The names, in the order in which they were added.
  std::vector<std::string> names() const;
  /// What each format keeps, in the same order.
  std::vector<std::string> descriptions() const;

 private:
  struct Row {
    std::string name;
    std::string about;
    MakeWith make;
  };
  mutable std::mutex mutex_;
  std::vector<Row> rows_;
};

/// The formats of this process: at first "raw" (each sample), "addresses" (a histogram of code
/// addresses) and "chains" (a histogram of call chains). They have these arguments:
///   only=user or only=kernel  keeps only samples from there
///   max=N    of raw: keeps the first N samples, 1 to 100,000,000 (otherwise a million)
///   depth=N  of chains: keeps the N innermost callers of each, 1 to 127
SampleFormats& sample_formats();

}  // namespace shmif::perf
