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
#include "perf/counters/sample.hpp"

namespace shmif::perf {

/// Gets each sample through SampleSink::sample(). Threads: one at a time.
class SampleFormat : public SampleSink {
 public:
  /// The PERF_SAMPLE_ bits (linux/perf_event.h) that it needs beside the address, the process and
  /// the thread, which every sample has.
  virtual std::uint64_t fields() const { return 0; }
  /// What it has kept, in lines.
  virtual std::string text() const = 0;
};

/// A part of a format's argument.
struct FormatTerm {
  std::string key;
  std::string value;
};
/// The terms of "max=100,only=user". An empty text has no terms. Errors: Errc::bad_argument for a
/// word without "=", an empty key or value, or a key that is given twice. Threads: any. Blocks:
/// never.
Result<std::vector<FormatTerm>> read_format_terms(std::string_view argument);

/// Threads: any, for every call. Blocks: never.
class SampleFormats {
 public:
  /// Makes a format without samples, as its argument wants it. Errors: Errc::bad_argument for an
  /// argument that it does not take; the message says which it does.
  using MakeWith = std::function<Result<std::unique_ptr<SampleFormat>>(std::string_view argument)>;
  using Make = std::function<std::unique_ptr<SampleFormat>()>;

  /// `about`: what it keeps, in a few words. Errors: Errc::bad_argument for a name that is there
  /// already, is empty, or has a colon in it.
  Result<void> add(std::string name, std::string about, MakeWith make);
  /// One that takes no argument.
  Result<void> add(std::string name, std::string about, Make make);
  /// A new one without samples. `name`: "NAME" or "NAME:ARGUMENT". Errors: Errc::bad_argument for a
  /// name that is not there; those of the format for its argument.
  Result<std::unique_ptr<SampleFormat>> make(std::string_view name) const;
  /// In the order in which they were added.
  std::vector<std::string> names() const;
  /// What each keeps, in the same order.
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

/// The formats of this process. It begins with "raw" (each sample), "addresses" (a histogram of
/// where programs were) and "chains" (a histogram of call chains). They take these arguments:
///   only=user or only=kernel  keeps only samples from there
///   max=N    of raw: keeps the first N samples, 1 to 100,000,000 (otherwise a million)
///   depth=N  of chains: keeps the N innermost callers of each, 1 to 127
SampleFormats& sample_formats();

}  // namespace shmif::perf
