// shmifperf compare: finds what became better or worse between two results, and what is only noise.

#include "perf/compare/compare.hpp"
#include "tools/common/options.hpp"
#include "tools/common/progress.hpp"
#include "tools/shmifperf/commands.hpp"
#include "tools/shmifperf/write_file.hpp"

namespace shmif::tools {

namespace {

perf::CompareOptions options_of(const Arguments& args) {
  perf::CompareOptions options;
  options.threshold = args.share("threshold").value_or(options.threshold);
  options.loss_threshold = args.share("loss-threshold").value_or(options.loss_threshold);
  options.confidence = args.share("confidence").value_or(options.confidence);
  if (options.confidence <= 0 || options.confidence >= 1) {
    throw UsageError{"--confidence: it must be above 0 and below 100%, as 95%"};
  }
  return options;
}

int run_compare(const CommandLine& line) {
  const Arguments args =
      Options("compare", "BEFORE AFTER")
          .about(
              R"(Compares two results that 'shmifperf run' wrote as json or json+ (see
                 --output-format). It compares the rates, losses and latencies of each job that
                 is in both. It applies Welch's t-test to the repetitions of the run (--repeat).
                 Without repetitions, it compares the intervals of the results: 100 ms each, or 1
                 s in runs that last more than a minute or do not set the option runtime. Exits 1
                 in four cases: a figure became worse by more than the threshold, and not by
                 chance; AFTER lacks a job of BEFORE; a job passed in BEFORE and failed in AFTER;
                 a search for the highest rate, as in the profile rfc2544, found one in BEFORE
                 and none in AFTER. One of the files may be -, standard input.)")
          .words(2, 2)
          .value("threshold", "SHARE", "how much worse is too much (default: 5%)")
          .value("loss-threshold", "SHARE",
                 R"(how much the share of lost frames may increase, in percentage points
                    (default: 0.1%))")
          .value("confidence", "SHARE", "confidence level of the comparison (default: 95%)")
          .flag("json", "print JSON, for scripts")
          .example("shmifperf compare before.json after.json", "a table, and exit code 1 if worse")
          .example("shmifperf compare before.json after.json --threshold 2%", "stricter")
          .example(
              "shmifperf compare a.json b.json --json | jq '.figures[] | select(.verdict != "
              "\"same\")'",
              "the figures that changed")
          .parse(line);
  const std::string& before = args.positional()[0];
  const std::string& after = args.positional()[1];
  const perf::CompareOptions options = options_of(args);
  if (before == "-" && after == "-") {
    throw UsageError{"only one of the results can come from standard input"};
  }
  const perf::Report first = perf::Report::load(before).value();
  const perf::Report second = perf::Report::load(after).value();
  const perf::Comparison comparison = perf::compare(first, second, options).value();
  write_file("-", args.flag("json") ? perf::to_json(comparison)
                                    : perf::to_text(comparison, terminal_columns()))
      .value();
  return comparison.worse() ? kFailed : kDone;
}

}  // namespace

const Command kCompareCommand{"compare", "compare two results, and fail if one is worse",
                              run_compare};

}  // namespace shmif::tools
