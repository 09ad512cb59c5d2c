// shmifperf report, compare: results of earlier runs.

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <vector>

#include "bus/file/output_file.hpp"
#include "perf/compare/compare.hpp"
#include "perf/report/report.hpp"
#include "tools/common/options.hpp"
#include "tools/common/output.hpp"
#include "tools/shmifperf/commands.hpp"

namespace shmif::tools {

namespace {

/// The default place for the page is beside the first file: "voip.html" for "voip.json",
/// "before-vs-after.html" for two files, and "before-and-2-more.html" for three, because a file
/// name has room for only 255 bytes. A result from standard input has no place, so its page goes to
/// standard output.
std::string page_beside(const std::vector<std::string>& files) {
  if (std::ranges::count(files, "-") != 0) return "-";
  const auto without_suffix = [](const std::string& file) {
    std::filesystem::path path(file);
    if (path.extension() == ".json") path.replace_extension();
    return path;
  };
  std::filesystem::path page = without_suffix(files[0]);
  if (files.size() == 2) page += "-vs-" + without_suffix(files[1]).filename().string();
  if (files.size() > 2) page += "-and-" + std::to_string(files.size() - 1) + "-more";
  page += ".html";
  return page;
}

/// Refuses a page that would overwrite a result.
void refuse_same_file(const std::string& file, const std::string& page) {
  if (file != "-" && page != "-" && bus::is_same_file(file, page)) {
    throw UsageError{"-o " + page +
                     " is the result itself, and the page would overwrite it (name another file)"};
  }
}

/// Refuses files if the page would show one twice under one name, or has too few colours for all.
/// `text_option`: the option that asks for text; empty if there is none.
void refuse_files(const std::vector<std::string>& files, const std::string& text_option) {
  if (files.size() > perf::kMaxOverlaid) {
    throw UsageError{std::to_string(files.size()) +
                     " results on one page: it has colours for at "
                     "most " +
                     std::to_string(perf::kMaxOverlaid) + " (leave some out)"};
  }
  if (!text_option.empty() && files.size() > 1) {
    throw UsageError{
        text_option +
        " prints one result: give one FILE (shmifperf compare tells what differs in two)"};
  }
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (std::count(files.begin(), files.begin() + static_cast<std::ptrdiff_t>(i), files[i]) != 0) {
      throw UsageError{(files[i] == "-" ? "standard input" : files[i]) +
                       " is given twice: name each result once"};
    }
  }
}

Arguments parsed(const CommandLine& line) {
  return Options("report", "FILE...")
      .about(
          R"(Makes an HTML page from a result that 'shmifperf run' wrote with
             --output-format=json or json+: throughput over time, latencies, losses, and every
             figure as a table. It is one file that needs only a browser. Only json+ gives
             curves of latency. With up to eight files, the page overlays them: it shows their
             figures side by side, and draws their curves in one chart. With - as FILE, reads
             standard input and writes the page to standard output.)")
      .words(1, std::numeric_limits<std::size_t>::max())
      .value("o,output", "PATH", "write the page there (default: beside the first FILE; -: stdout)")
      .flag("text", "print a summary as text instead, as run does (takes one FILE)")
      .flag("details", "print every figure as text instead, as run --details does (takes one FILE)")
      .example("shmifperf report voip.json", "the page voip.html beside it")
      .example("shmifperf report voip.json -o /tmp/report.html", "the page where you want it")
      .example("shmifperf report before.json after.json", "both in one: before-vs-after.html")
      .example("shmifperf report voip.json --text", "the summary, in the terminal")
      .example("shmifperf report voip.json --details | less", "every figure, in the terminal")
      .parse(line);
}

int run_report(const CommandLine& line) {
  const Arguments args = parsed(line);
  const std::vector<std::string>& files = args.positional();
  const bool details = args.flag("details");
  const std::string text_option = details ? "--details" : args.flag("text") ? "--text" : "";
  refuse_files(files, text_option);
  const std::string page = args.text("output").value_or(page_beside(files));
  if (!text_option.empty() && args.given("output")) {
    throw UsageError{text_option + " prints text, -o writes a page: give only one of them"};
  }
  std::vector<perf::Report> reports;
  reports.reserve(files.size());
  for (const std::string& file : files) reports.push_back(perf::Report::load(file).value());
  if (!text_option.empty()) {
    const std::size_t width = terminal_columns();
    write_file("-",
               details ? perf::to_text(reports[0], width) : perf::to_summary(reports[0], width))
        .value();
    return kDone;
  }
  for (const std::string& file : files) refuse_same_file(file, page);
  write_file(page, (files.size() == 1 ? perf::to_html(reports[0]) : perf::to_html(reports)).value())
      .value();
  if (!is_standard_output(page)) std::printf("wrote %s\n", page.c_str());
  return kDone;
}

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

const Command kReportCommand{"report", "make an HTML page from results", run_report};
const Command kCompareCommand{"compare", "compare two results, and fail if one is worse",
                              run_compare};

}  // namespace shmif::tools
