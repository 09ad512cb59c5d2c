// Each column of the report for people, and each field of the lines for scripts, holds the figure
// that it is named for, and the tests know each of them.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "perf/report/report.hpp"
#include "perf/report/text.hpp"
#include "perf/report/units.hpp"
#include "tests/perf/remote/served_sample.hpp"
#include "tests/perf/report/distinct_sample.hpp"
#include "tests/perf/report/figures.hpp"
#include "tests/perf/report/row_figures.hpp"

namespace shmif::perf::figures_text {
namespace {

using Json = nlohmann::json;
using test::Figures;

// ---- How a test reads the text ----

struct Cell {
  std::string text;
  std::size_t end;  // the column after the cell
};

/// The parts of a line between two or more blanks.
std::vector<Cell> cells_of(const std::string& line) {
  std::vector<Cell> cells;
  for (std::size_t at = line.find_first_not_of(' '); at != std::string::npos;) {
    const std::size_t end = std::min(line.find("  ", at), line.size());
    cells.push_back({line.substr(at, end - at), end});
    at = line.find_first_not_of(' ', end);
  }
  return cells;
}

/// Columns are right-aligned, so a cell belongs to the heading that ends in the same column. A cell
/// without a heading gets the heading before it, with a 2 appended.
std::string heading_of(const Cell& cell, const std::vector<Cell>& head) {
  std::string before;
  for (const Cell& heading : head) {
    if (heading.end == cell.end) return heading.text;
    if (heading.end < cell.end) before = heading.text;
  }
  return before + " 2";
}

struct Read {
  Figures cells;  ///< by "block/table/row/column"
  std::vector<std::string> others;
};

/// A block begins with a line that is not indented; its name is that line up to the colon. A table
/// begins with one of these headings.
Read read_text(const std::string& text) {
  const std::set<std::string> tables{"traffic",         "time",
                                     "frames",          "TCP",
                                     "arrivals",        "errors",
                                     "counts",          "CPU",
                                     "trust",           "frame",
                                     "repetitions",     "job",
                                     "engine",          "faults on purpose",
                                     "measured window", "server"};
  Read read;
  std::string block;
  std::vector<Cell> head;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::vector<Cell> cells = cells_of(line);
    // The only row that has the name of a table.
    const bool is_row = !head.empty() && head[0].text == "trust";
    if (cells.empty()) {
      head.clear();
    } else if (!line.starts_with("  ")) {
      head.clear();
      block = line.substr(0, line.find(':'));
      read.others.push_back(line);
    } else if (cells.size() > 2 && !is_row && tables.contains(cells[0].text)) {
      head = cells;
    } else if (head.empty() || cells.size() == 1) {
      read.others.push_back(line);
    } else {
      const std::string row = block + '/' + head[0].text + '/' + cells[0].text + '/';
      for (std::size_t i = 1; i < cells.size(); ++i) {
        read.cells[row + heading_of(cells[i], head)] = cells[i].text;
      }
    }
  }
  return read;
}

// ---- What the text should hold ----

/// A row of a table, and the JSON object with its figures. figures_json_test.cpp tests that JSON.
struct Row {
  Figures& all;
  std::string row;  // "block/table/row/"
  const Json& of;

  void put(const std::string& column, const std::string& text) const { all[row + column] = text; }
  void count(const std::string& column, const char* key) const {
    put(column, format_count(of.at(key).get<std::uint64_t>()));
  }
  void ns(const std::string& column, const char* key) const {
    put(column, format_ns(of.at(key).get<double>()));
  }
  void fps(const std::string& column, const char* key) const {
    put(column, format_fps(of.at(key).get<double>()));
  }
  void bps(const std::string& column, const char* key) const {
    put(column, format_bps(of.at(key).get<double>()));
  }
  void seconds(const std::string& column, const char* key) const {
    put(column, format_seconds(of.at(key).get<double>()));
  }
  void share(const std::string& column, const char* key) const {
    put(column, format_share(of.at(key).get<double>()));
  }
  void nothing(const std::string& column) const { put(column, "-"); }
};

/// The columns that the rows of T ask for. One without a title is under the title before it.
template <class T>
void want_columns(const Row& row) {
  std::string title;
  for (const Figure<T>& figure : kRowsOf<T>) {
    const Column& column = figure.column;
    if (column.title == nullptr) continue;
    const bool own = *column.title != '\0';
    if (own) title = column.title;
    row.put(own ? title : title + " 2", test::in_words(row.of, figure.key, column.format));
  }
}

std::string block_of(const Json& of) {
  return of.contains("jobname") ? of.at("jobname").get<std::string>()
                                : "group " + of.at("groupname").get<std::string>();
}

void want_traffic_rows(Figures& all, const Json& of) {
  for (const bool sends : {true, false}) {
    const Row row{all, block_of(of) + "/traffic/" + (sends ? "sent/" : "received/"),
                  of.at(sends ? "tx" : "rx")};
    want_columns<TrafficResult>(row);
  }
}

void want_time_row(Figures& all, const Json& of, const std::string& name, const char* key) {
  const Row row{all, block_of(of) + "/time/" + name + '/', of.at(key)};
  row.count("count", "count");
  row.ns("min", "min");
  row.ns("mean", "mean");
  row.ns("p50", "p50");
  row.ns("p90", "p90");
  row.ns("p99", "p99");
  row.ns("p99.9", "p99_9");
  row.ns("p99.99", "p99_99");
  row.ns("p99.999", "p99_999");
  row.ns("max", "max");
}

void want_fates_row(Figures& all, const std::string& name, const Json& fates) {
  want_columns<FlowResult>({all, name, fates});
}

void want_cpu_row(Figures& all, const Json& of) {
  want_columns<CpuResult>({all, block_of(of) + "/CPU/used/", of.at("cpu")});
}

std::string name_of_flow(const Json& flow) {
  return flow.at("from").get<std::string>() + " -> " + flow.at("to").get<std::string>() +
         (flow.at("kind") == "reply" ? " replies" : "");
}

void want_block(Figures& all, const Json& job) {
  const std::string block = block_of(job);
  want_traffic_rows(all, job);
  want_time_row(all, job, "latency", "latency_ns");
  want_time_row(all, job, "service", "service_ns");
  want_time_row(all, job, "spacing error", "spacing_error_ns");
  for (const Json& flow : job.at("loss").at("flows")) {
    want_fates_row(all, block + "/frames/" + name_of_flow(flow) + '/', flow);
  }
  want_columns<TcpResult>({all, block + "/TCP/sent/", job.at("tcp")});
  const Row arrivals{all, block + "/arrivals/received/", job};
  arrivals.count("overruns", "overruns");
  arrivals.count("frames lost by them", "overrun_frames");
  const Row arrived{all, block + "/arrivals/received/", job.at("rx")};
  arrived.count("foreign", "foreign_frames");
  arrived.count("stale", "stale_frames");
  for (const auto& [error, of] : job.at("errors_by_class").items()) {
    const Row errors{all, block + "/errors/" + error + '/', of};
    errors.count("count", "count");
    errors.put("first", of.at("first"));
  }
  const std::string agree = job.at("counts").at("agree") == true ? "yes" : "NO";
  const Row sent{all, block + "/counts/sent/", job.at("counts")};
  sent.count("generator", "generator_tx_frames");
  sent.count("wire", "wire_tx_frames");
  for (const char* column : {"receiver", "foreign", "wire lost", "wire dropped"}) {
    sent.nothing(column);
  }
  sent.put("agree", agree);
  const Row received{all, block + "/counts/received/", job.at("counts")};
  received.nothing("generator");
  received.count("wire", "wire_rx_frames");
  received.count("receiver", "receiver_rx_frames");
  received.count("foreign", "receiver_foreign_frames");
  received.count("wire lost", "wire_lost_frames");
  received.count("wire dropped", "wire_dropped_frames");
  received.put("agree", agree);
  want_cpu_row(all, job);
  const Row trust{all, block + "/trust/job/", job};
  trust.ns("start skew", "start_skew_ns");
  trust.share("rate +- (95 %)", "rate_ci95_share");
  trust.fps("harness's own limit", "limit_fps");
  trust.share("used of it", "limit_share");
}

void want_group_block(Figures& all, const Json& group) {
  want_traffic_rows(all, group);
  want_time_row(all, group, "latency", "latency_ns");
  want_time_row(all, group, "service", "service_ns");
  want_fates_row(all, block_of(group) + "/frames/all flows/", group.at("loss"));
  want_cpu_row(all, group);
}

/// What all tables of several jobs show.
void want_of_unit(const Row& row) {
  Figures& all = row.all;
  const Row tx{all, row.row, row.of.at("tx")};
  tx.fps("offered", "offered_fps");
  tx.fps("sent", "rate_fps");
  const Row rx{all, row.row, row.of.at("rx")};
  rx.fps("received", "rate_fps");
  rx.bps("received 2", "rate_bps");
  const Row loss{all, row.row, row.of.at("loss")};
  loss.count("lost", "lost_frames");
  const Row latency{all, row.row, row.of.at("latency_ns")};
  latency.ns("p50", "p50");
  latency.ns("p99", "p99");
  latency.ns("p99.9", "p99_9");
  latency.ns("max", "max");
}

void want_searches(Figures& all, const Json& searches) {
  const std::array<const char*, 2> titles{"highest rate without loss (RFC 2544)",
                                          "highest rate within the permitted loss"};
  for (std::size_t i = 0; i < titles.size(); ++i) {
    const Json& search = searches.at(i);
    const std::string name = std::string(titles.at(i)) + "/frame/" +
                             format_count(search.at("frame_bytes").get<std::uint64_t>()) + " B/";
    const Row row{all, name, search};
    row.put("job", search.at("jobname"));
    row.fps("found", "found_fps");
    row.bps("found 2", "found_bps");
    // The lowest failed trial above the rate that was found. It is neither the first nor the last.
    row.put("first too high",
            format_fps(search.at("trials").at(2).at("offered_fps").get<double>()));
    row.put("trials", "4");
    row.put("trials 2",
            i == 0 ? search.at("why_none").get<std::string>() : "the highest rate that was tried");
  }
}

void want_repeats(Figures& all, const Json& repeats) {
  for (const Json& r : repeats) {
    const std::string figure = r.at("figure");
    const auto shown = [&](const char* key) {
      const auto value = r.at(key).get<double>();
      return figure == "rx_fps" ? format_fps(value) : format_ns(value);
    };
    const Row row{all,
                  "highest rate within the permitted loss/repetitions/" +
                      r.at("jobname").get<std::string>() + ' ' + figure + '/',
                  r};
    row.put("times", "3");
    row.put("median", shown("median"));
    row.put("least", shown("min"));
    row.put("most", shown("max"));
    row.put("spread", format_share((r.at("max").get<double>() - r.at("min").get<double>()) /
                                   r.at("median").get<double>()));
  }
}

void want_links(Figures& all, const Json& links) {
  for (const Json& l : links) {
    const Row row{all,
                  "group many/faults on purpose/" + l.at("jobname").get<std::string>() + ' ' +
                      l.at("direction").get<std::string>() + ' ' +
                      l.at("options").get<std::string>() + '/',
                  l};
    want_columns<FaultsMade>(row);
  }
}

Figures wanted_cells(const Json& json) {
  Figures all;
  for (std::size_t i = 0; i < 2; ++i) {
    const Json& job = json.at("jobs").at(i);
    const std::string row =
        "the same load over 2 engines/engine/" + job.at("engine").get<std::string>() + '/';
    want_of_unit({all, row, job});
    Row{all, row, job}.put("job", job.at("jobname"));
    Row{all, row, job.at("cpu")}.fps("frames/CPU-s", "frames_per_busy_second");
    Row{all, row, job}.share("of own limit", "limit_share");
  }
  want_searches(all, json.at("searches"));
  want_repeats(all, json.at("repeats"));
  for (const Json& job : json.at("jobs")) {
    const std::string row =
        "highest rate within the permitted loss/job/" + job.at("jobname").get<std::string>() + '/';
    want_of_unit({all, row, job});
    Row{all, row, job}.put("job 2", job.at("passed") == true ? "passed" : "FAILED");
    Row{all, row, job.at("loss")}.share("lost 2", "lost_share");
  }
  // With more than four jobs, only four jobs to which something happened have blocks.
  for (std::size_t i = 0; i < 4; ++i) want_block(all, json.at("jobs").at(i));
  for (const Json& group : json.at("groups")) want_group_block(all, group);
  want_links(all, json.at("links"));
  for (const Json& cpu : json.at("machine").at("cpu_window")) {
    const Row row{all,
                  "machine the-hostname/measured window/CPU " +
                      format_count(cpu.at("cpu").get<std::uint64_t>()) + '/',
                  cpu};
    row.share("user", "user_share");
    row.share("system", "system_share");
    row.share("irq", "irq_share");
    row.share("steal", "steal_share");
    row.share("idle", "idle_share");
  }
  return all;
}

/// The sum of these counts over all elements.
std::uint64_t sum_of(const Json& list, const std::vector<const char*>& keys) {
  std::uint64_t sum = 0;
  for (const Json& each : list) {
    for (const char* key : keys) sum += each.at(key).get<std::uint64_t>();
  }
  return sum;
}

void want_head(const Json& json, std::vector<std::string>& lines) {
  std::uint64_t lost = 0;
  for (const Json& job : json.at("jobs"))
    lost += job.at("loss").at("lost_frames").get<std::uint64_t>();
  const std::uint64_t asked_for = sum_of(json.at("links"), {"lost_frames", "under_way_frames"});
  const std::uint64_t queue = sum_of(json.at("links"), {"queue_full_frames"});
  lines.push_back("shmifperf the-version: FAILED, " + format_count(lost) +
                  " frames lost, no more than " + format_count(asked_for) +
                  " of them by the requested faults and " + format_count(queue) +
                  " by the full queue of a fault (exit code 143), began "
                  "2025-11-21T04:40:00.123Z, took 32.5 s, stopped by SIGTERM");
  lines.emplace_back("  the-command 'the argument'");
  lines.emplace_back("  steady state the-steady-state");
  lines.emplace_back(
      "  3 runs: rates, shares and times below are medians of all runs, and counts are those of "
      "run 7; \"repetitions\" shows the spread");
  for (const Json& failure : json.at("failures")) {
    lines.push_back("  FAILED    " + failure.get<std::string>());
  }
  for (const bool skipped : {false, true}) {
    for (const Json& job : json.at("jobs")) {
      for (const Json& problem : job.at("problems")) {
        std::string kind = problem.at("kind");
        if ((kind == "skipped") != skipped) continue;
        kind.resize(8, ' ');
        lines.push_back("  " + kind + "  " + job.at("jobname").get<std::string>() + ": " +
                        problem.at("text").get<std::string>());
      }
    }
  }
  for (const Json& warning : json.at("warnings")) {
    lines.push_back("  warning   " + warning.get<std::string>());
  }
}

/// The lines of a block outside its tables.
void want_notes(const Json& job, std::vector<std::string>& lines) {
  const std::string name = job.at("jobname");
  lines.push_back(name + ": rw=txrx engine=" + job.at("engine").get<std::string>() + " (" + name +
                  "-address), group " + job.at("groupname").get<std::string>() + ", " +
                  format_seconds(job.at("runtime_seconds").get<double>()) + ", " +
                  (job.at("passed") == true ? "passed" : "FAILED"));
  const Json& tx = job.at("tx");
  lines.push_back("  after stalls: rate_catchup=skip, gave up " +
                  format_count(tx.at("skipped_frames").get<std::uint64_t>()) + " of " +
                  format_count(tx.at("offered_frames").get<std::uint64_t>()) + " frames offered");
  for (const auto& [key, what] : {std::pair("latency_ns", "latency"), {"service_ns", "service"}}) {
    const Json& listed = job.at(key).at("percentile");
    lines.push_back(std::string("  ") + what + ": p30 " +
                    format_ns(listed.at("30.000000").get<double>()) + ", p70 " +
                    format_ns(listed.at("70.000000").get<double>()));
  }
  for (const Json& flow : job.at("loss").at("flows")) {
    const std::string of = "  " + name_of_flow(flow);
    const Json& gaps = flow.at("gaps");
    lines.push_back(of + (flow.at("kind") == "reply" ? " lacked" : " missed") + " numbers " +
                    format_count(gaps.at(0).at(0).get<std::uint64_t>()) + ", " +
                    format_count(gaps.at(1).at(0).get<std::uint64_t>()) + " to " +
                    format_count(gaps.at(1).at(1).get<std::uint64_t>() - 1));
    lines.push_back(of + ": damaged copies, not counted above: " +
                    format_count(flow.at("corrupt_copies").get<std::uint64_t>()) + " corrupt, " +
                    format_count(flow.at("truncated_copies").get<std::uint64_t>()) + " truncated");
    if (flow.at("verification_complete") == false) {
      lines.push_back(of + ": verification is incomplete");
    }
  }
}

std::vector<std::string> wanted_others(const Json& json) {
  std::vector<std::string> lines;
  want_head(json, lines);
  lines.emplace_back("the same load over 2 engines");
  lines.emplace_back("highest rate without loss (RFC 2544)");
  lines.emplace_back("highest rate within the permitted loss");
  for (const Json& search : json.at("searches")) {
    lines.push_back("  figures of " + search.at("jobname").get<std::string>() + " below: trial " +
                    std::to_string(search.at("shown_trial").at("number").get<int>()) + " of 4 at " +
                    format_fps(search.at("shown_trial").at("offered_fps").get<double>()) +
                    ", failed");
  }
  lines.emplace_back("  every figure of each job: --output-format=json");
  for (std::size_t i = 0; i < 4; ++i) want_notes(json.at("jobs").at(i), lines);
  for (const Json& group : json.at("groups")) {
    lines.push_back("group " + group.at("groupname").get<std::string>() + ": " +
                    std::to_string(group.at("jobnames").size()) + " jobs, start skew " +
                    format_ns(group.at("start_skew_ns").get<double>()));
  }
  const Json& m = json.at("machine");
  lines.push_back("machine the-hostname: " + format_count(m.at("cpus").get<std::uint64_t>()) +
                  " x the-model at " +
                  std::to_string(std::lround(m.at("frequency_mhz").get<double>())) + " MHz, " +
                  format_memory(m.at("memory_bytes").get<std::uint64_t>()) +
                  ", the-kernel, clock the-clock, virtualization the-virtualization");
  lines.emplace_back("what held the jobs back in run 7, the heaviest first");
  lines.emplace_back("  the-sentence-of-a");
  lines.emplace_back("  the-sentence-of-d");
  return lines;
}

Json distinct_json() {
  return Json::parse(to_json(test::distinct_sample().run, Bins::without));
}

Report distinct_report() {
  return Report::parse(distinct_json().dump(), "distinct").value();
}

TEST(TextFigures, EachColumnHoldsTheFigureThatItIsNamedForAndNoneIsUnknown) {
  test::expect_figures(wanted_cells(distinct_json()), read_text(to_text(distinct_report())).cells);
}

TEST(TextFigures, EachLineBesideTheTablesHasItsFigures) {
  EXPECT_EQ(read_text(to_text(distinct_report())).others, wanted_others(distinct_json()));
}

TEST(TextFigures, EachColumnOfTheServersHoldsItsFigure) {
  const Read read = read_text(to_text(Report::parse(test::served_sample_json(), "served").value()));
  Figures shown;
  for (const auto& [place, text] : read.cells) {
    const auto at = place.find("/server/");
    if (at != std::string::npos) shown[place.substr(at + 1)] = text;
  }
  test::expect_figures({{"server/lab1:7000/server 2", "passed"},
                        {"server/lab1:7000/exit code", "0"},
                        {"server/lab1:7000/let go after the first", "12.3 us"},
                        {"server/lab1:7000/+-", "4.56 us"},
                        {"server/lab2:7000/server 2", "FAILED"},
                        {"server/lab2:7000/exit code", "77"},
                        {"server/lab2:7000/let go after the first", "-"},
                        {"server/lab2:7000/+-", "-"}},
                       shown);
}

// Otherwise a test would not notice two exchanged figures.
TEST(TextFigures, NoTwoFiguresOfARowOfTheSampleLookAlike) {
  std::map<std::string, std::string> seen;
  for (const auto& [place, text] : read_text(to_text(distinct_report())).cells) {
    if (text == "-") continue;
    const std::string row = place.substr(0, place.rfind('/')) + " has twice " + text.dump();
    const auto [other, is_new] = seen.try_emplace(row, place);
    EXPECT_TRUE(is_new) << place << " and " << other->second << " are " << text;
  }
}

}  // namespace
}  // namespace shmif::perf::figures_text
