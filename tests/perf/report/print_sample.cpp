// print_sample NAME [json|json+|normal|terse|html]: a result of sample_results.hpp, for tests that
// are no C++ and for people who want to look at a report.

#include <cstdio>

#include "perf/report/report.hpp"
#include "tests/perf/report/sample_results.hpp"

int main(int argc, char** argv) {
  using namespace shmif::perf;  // NOLINT(google-build-using-namespace): a short program
  const std::string name = argc > 1 ? argv[1] : "failed";
  const std::string format = argc > 2 ? argv[2] : "json+";
  const std::string json =
      to_json(shmif::test::sample_named(name), format == "json" ? Bins::without : Bins::with);
  std::string out = json;
  const auto report = Report::parse(json, name);
  if (format == "normal") out = to_text(report.value());
  if (format == "terse") out = to_terse(report.value());
  if (format == "html") out = to_html(report.value()).value();
  std::fwrite(out.data(), 1, out.size(), stdout);
  return 0;
}
