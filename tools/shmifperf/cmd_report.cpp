// shmifperf report: makes a page from a stored result.

#include <cstdio>
#include <filesystem>

#include "bus/file/output_file.hpp"
#include "perf/report/html.hpp"
#include "perf/report/report.hpp"
#include "perf/report/text.hpp"
#include "tools/common/options.hpp"
#include "tools/common/progress.hpp"
#include "tools/shmifperf/commands.hpp"
#include "tools/shmifperf/write_file.hpp"

namespace shmif::tools {

namespace {

/// The default place for the page of `file`: beside it, "voip.html" for "voip.json". A result from
/// standard input has no place, so its page goes to standard output.
std::string page_beside(const std::string& file) {
  if (file == "-") return "-";
  std::filesystem::path page(file);
  if (page.extension() == ".json") page.replace_extension();
  page += ".html";
  return page;
}

/// Refuses a page that would overwrite the result.
void refuse_same_file(const std::string& file, const std::string& page) {
  if (file != "-" && page != "-" && bus::is_same_file(file, page)) {
    throw UsageError{"-o " + page +
                     " is the result itself, and the page would overwrite it (name another file)"};
  }
}

int run_report(const CommandLine& line) {
  const Arguments args =
      Options("report", "FILE")
          .about(
              "Makes an HTML page from a result that 'shmifperf run' wrote with "
              "--output-format=json or json+: throughput over time, latencies, losses, and every "
              "figure as a table. It is one file that needs only a browser. Only json+ gives "
              "curves of latency. With - as FILE, reads standard input and writes the page to "
              "standard output.")
          .value("o,output", "PATH", "write the page there (default: beside FILE; -: stdout)")
          .flag("text", "print the report as text instead, as run does")
          .example("shmifperf report voip.json", "the page voip.html beside it")
          .example("shmifperf report voip.json -o /tmp/report.html", "the page where you want it")
          .example("shmifperf report voip.json --text | less", "read it in the terminal")
          .parse(line);
  const std::string& file = args.positional()[0];
  const std::string page = args.text("output").value_or(page_beside(file));
  if (args.flag("text") && args.given("output")) {
    throw UsageError{"--text prints text, -o writes a page: give only one of them"};
  }
  const perf::Report report = perf::Report::load(file).value();
  if (args.flag("text")) {
    write_file("-", perf::to_text(report, terminal_columns())).value();
    return kDone;
  }
  refuse_same_file(file, page);
  write_file(page, perf::to_html(report).value()).value();
  if (page != "-") std::printf("wrote %s\n", page.c_str());
  return kDone;
}

}  // namespace

const Command kReportCommand{"report", "make an HTML page from a result", run_report};

}  // namespace shmif::tools
