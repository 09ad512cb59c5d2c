// The parts of a report that are about a whole run: its tables, what held the jobs back, and the
// machines of the jobs.

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/text.hpp"
#include "perf/engine/engine.hpp"
#include "perf/report/fields.hpp"
#include "perf/report/table.hpp"

namespace shmif::perf {
namespace {

/// Whether an option belongs to the engine, or names the job. Two jobs that differ only in such
/// options have the same load.
bool is_of_the_engine(const std::string& option) {
  static const std::set<std::string> kOptions = {"allow_live",  "bus",    "bus_pause", "bus_size",
                                                 "description", "engine", "filename",  "hostname",
                                                 "ioengine",    "name",   "netdev",    "netns",
                                                 "port",        "socket", "wire"};
  return kOptions.contains(option);
}

std::string load_of(const ReportJson& job) {
  ReportJson load = ReportJson::array({job.at("rw")});
  for (const auto& [option, value] : job.at("options").items()) {
    if (!is_of_the_engine(option)) load.push_back(ReportJson::array({option, value}));
  }
  return load.dump(-1, ' ', false, ReportJson::error_handler_t::replace);
}

/// The job where frames of this unit arrive: its peer, or the job itself.
const ReportJson& receiver_of(const Unit& unit) {
  for (const ReportJson* peer : unit.peers) {
    if (!peer->at("latency_ns").is_null()) return *peer;
  }
  return unit.peers.empty() || !unit.job->at("rx").is_null() ? *unit.job : *unit.peers[0];
}

/// A figure of an object that may be null.
std::optional<double> inner(const ReportJson& object, const char* key) {
  return object.is_null() ? std::nullopt : figure(object, key);
}

bool passed(const Unit& unit) {
  const auto fine = [](const ReportJson* job) { return job->at("passed").get<bool>(); };
  return fine(unit.job) && std::all_of(unit.peers.begin(), unit.peers.end(), fine);
}

Table::Row engine_row(const Unit& unit, const Requests& requests) {
  const ReportJson& job = *unit.job;
  const ReportJson& at = receiver_of(unit);
  const ReportJson& latency = at.at("latency_ns");
  return {words(job, "engine"),
          words(job, "jobname"),
          format_fps(inner(job.at("tx"), "offered_fps")),
          format_fps(inner(job.at("tx"), "rate_fps")),
          format_fps(inner(at.at("rx"), "rate_fps")),
          format_bps(inner(at.at("rx"), "rate_bps")),
          format_count(lost_of(unit, {&at}, requests).frames),
          format_ns(inner(latency, "p50")),
          format_ns(inner(latency, "p99")),
          format_ns(inner(latency, "p99_9")),
          format_ns(inner(latency, "max")),
          format_fps(inner(job.at("cpu"), "frames_per_busy_second")),
          format_share(figure(job, "limit_share"))};
}

}  // namespace

Requests requests_of(const ReportJson& report) {
  Requests requests;
  for (const ReportJson& job : report.at("jobs")) {
    if (job.at("loss").is_null()) continue;
    for (const ReportJson& flow : job.at("loss").at("flows")) {
      const std::uint64_t sent = count(flow, "sent_frames").value_or(0);
      if (flow.at("kind") != "request" || sent == 0) continue;
      Lost& of = requests[name_in(flow, "from")];
      of.sent = of.sent.value_or(0) + sent;
      of.frames = of.frames.value_or(0) + count(flow, "lost_frames").value_or(0);
    }
  }
  return requests;
}

Lost lost_of(const Unit& unit, const std::vector<const ReportJson*>& receivers,
             const Requests& requests) {
  const auto asked = requests.find(name_in(*unit.job, "jobname"));
  const bool asks = asked != requests.end();
  Lost lost;
  std::size_t counted = 0;
  // For a job that sends requests, the other receivers have only the requests, which are added
  // below.
  for (const ReportJson* const job : asks ? std::vector{unit.job} : receivers) {
    const ReportJson& loss = job->at("loss");
    if (loss.is_null()) continue;
    ++counted;
    lost.sent = lost.sent.value_or(0) + count(loss, "sent_frames").value_or(0);
    lost.frames = lost.frames.value_or(0) + count(loss, "lost_frames").value_or(0);
    lost.share = figure(loss, "lost_share");
  }
  if (asks) {
    lost.sent = asked->second.sent;
    lost.frames = lost.frames.value_or(0) + asked->second.frames.value_or(0);
  } else if (counted < 2) {
    return lost;  // with repetitions, the share of one receiver is a median
  }
  lost.share.reset();
  if (lost.frames && lost.sent.value_or(0) != 0) {
    lost.share = static_cast<double>(*lost.frames) / static_cast<double>(*lost.sent);
  }
  return lost;
}

std::string jobs_text(const std::vector<Unit>& units, const Requests& requests, std::size_t width) {
  Table table;
  table.add(
      {"job", "", "offered", "sent", "received", "", "lost", "", "p50", "p99", "p99.9", "max"});
  for (const Unit& unit : units) {
    const ReportJson& job = *unit.job;
    const ReportJson& at = receiver_of(unit);
    const Lost lost = lost_of(unit, {&at}, requests);
    const ReportJson& latency = at.at("latency_ns");
    table.add({words(job, "jobname"), passed(unit) ? "passed" : "FAILED",
               format_fps(inner(job.at("tx"), "offered_fps")),
               format_fps(inner(job.at("tx"), "rate_fps")),
               format_fps(inner(at.at("rx"), "rate_fps")),
               format_bps(inner(at.at("rx"), "rate_bps")), format_count(lost.frames),
               format_share(lost.share), format_ns(inner(latency, "p50")),
               format_ns(inner(latency, "p99")), format_ns(inner(latency, "p99_9")),
               format_ns(inner(latency, "max"))});
  }
  return table.text(width) + "  every figure of each job: --output-format=json\n\n";
}

std::string engines_text(const ReportJson& report, bool& all, std::size_t width) {
  const std::vector<Unit> units = units_of(report);
  const Requests requests = requests_of(report);
  std::map<std::string, std::vector<const Unit*>> loads;
  std::vector<std::string> order;
  for (const Unit& unit : units) {
    const std::string load = load_of(*unit.job);
    if (!loads.contains(load)) order.push_back(load);
    loads[load].push_back(&unit);
  }
  std::string out;
  std::size_t shown = 0;
  for (const std::string& load : order) {
    std::set<std::string> engines;
    for (const Unit* unit : loads[load]) engines.insert(name_in(*unit->job, "engine"));
    if (engines.size() < 2) continue;
    shown += loads[load].size();
    Table table;
    table.add({"engine", "job", "offered", "sent", "received", "", "lost", "p50", "p99", "p99.9",
               "max", "frames/CPU-s", "of own limit"});
    for (const Unit* unit : loads[load]) table.add(engine_row(*unit, requests));
    out += "the same load over " + format_count(engines.size()) + " engines\n" + table.text(width) +
           '\n';
  }
  all = shown == units.size();
  return out;
}

namespace {

const char* search_title(const std::string& kind) {
  if (kind == "ndr") return "highest rate without loss (RFC 2544)";
  if (kind == "pdr") return "highest rate within the permitted loss";
  if (kind == "latency_target") return "highest rate within the latency target";
  return "search";
}

/// The lowest failed rate above the found one. A rate below the found one may also have failed, and
/// passed when it was repeated.
std::optional<double> lowest_failed(const ReportJson& search) {
  const double found = figure(search, "found_fps").value_or(0);
  std::optional<double> min;
  for (const ReportJson& trial : search.at("trials")) {
    const auto offered = figure(trial, "offered_fps");
    if (trial.at("passed").get<bool>() || !offered || *offered <= found) continue;
    min = std::min(min.value_or(*offered), *offered);
  }
  return min;
}

}  // namespace

std::string searches_text(const ReportJson& report, std::size_t width, std::size_t max) {
  std::map<std::string, Table> tables;
  std::vector<std::string> order;
  std::size_t shown = 0;
  for (const ReportJson& search : report.at("searches")) {
    if (++shown > max) continue;
    const std::string title = search_title(name_in(search, "kind"));
    Table& table = tables[title];
    if (table.empty()) {
      order.push_back(title);
      table.add({"frame", "job", "found", "", "first too high", "trials", ""});
    }
    const auto bytes = count(search, "frame_bytes");
    const auto too_high = lowest_failed(search);
    // If the highest rate passed, the limit was not found.
    const bool open_end = search.at("limited_by_maximum").get<bool>();
    table.add({bytes ? format_count(bytes) + " B" : "mix", words(search, "jobname"),
               format_fps(figure(search, "found_fps")), format_bps(figure(search, "found_bps")),
               format_fps(too_high), format_count(search.at("trials").size()),
               open_end ? "the highest rate that was tried" : words(search, "why_none")});
  }
  std::string out;
  for (const std::string& title : order) out += title + '\n' + tables[title].text(width) + '\n';
  if (shown > max) {
    const std::size_t rest = shown - max;
    out.pop_back();  // the empty line
    out +=
        "  ... and " + format_count(rest) + (rest == 1 ? " more search\n\n" : " more searches\n\n");
  }
  return out;
}

namespace {

/// "trial 6 of 8 at 12.5 k/s, passed"; empty: not known.
std::string shown_trial_of(const ReportJson& search) {
  const auto shown = search.find("shown_trial");
  if (shown == search.end() || shown->is_null()) return "";
  const auto number = count(*shown, "number");
  const auto offered = figure(*shown, "offered_fps");
  if (!offered) return "a trial at full speed, with which the search began";
  if (!number) return "a trial at " + format_fps(offered) + " that was cut off";
  return "trial " + format_count(number) + " of " + format_count(search.at("trials").size()) +
         " at " + format_fps(offered) + (shown->at("passed") == true ? ", passed" : ", failed");
}

}  // namespace

std::string shown_trials_text(const ReportJson& report, std::size_t width) {
  std::string out;
  for (const ReportJson& search : report.at("searches")) {
    const std::string trial = shown_trial_of(search);
    if (trial.empty()) continue;
    out += wrapped("  figures of " + words(search, "jobname") + " below: " + trial, width, 4);
  }
  return out.empty() ? "" : out + '\n';
}

namespace {

/// Formats a value in the unit that the last part of the figure's name tells; the others are times.
std::string repeated(const std::string& figure_name, std::optional<double> value) {
  if (figure_name.ends_with("_fps")) return format_fps(value);
  if (figure_name.ends_with("_share")) return format_share(value);
  return format_ns(value);
}

}  // namespace

std::string repeats_text(const ReportJson& report, std::size_t width) {
  if (report.at("repeats").empty()) return "";
  Table table;
  table.add({"repetitions", "times", "median", "least", "most", "spread"});
  for (const ReportJson& r : report.at("repeats")) {
    const std::string name = words(r, "figure");
    const auto min = figure(r, "min");
    const auto max = figure(r, "max");
    const auto median = figure(r, "median");
    const bool divides = min && max && median && *median > 0;
    table.add({words(r, "jobname") + ' ' + name, format_count(r.at("values").size()),
               repeated(name, median), repeated(name, min), repeated(name, max),
               divides ? format_share((*max - *min) / *median) : "-"});
  }
  return table.text(width) + '\n';
}

std::string links_text(const ReportJson& report, std::size_t width) {
  if (report.at("links").empty()) return "";
  // If the options leave too little room beside them, they are printed below the table.
  const auto name_of_link = [](const ReportJson& l) {
    return words(l, "jobname") + ' ' + words(l, "direction");
  };
  const bool below =
      width != 0 && std::ranges::any_of(report.at("links"), [&](const ReportJson& l) {
        return base::columns_of(name_of_link(l) + words(l, "options")) > width / 2;
      });
  std::string options;
  Table table;
  table.add(head_of<FaultsMade>("faults on purpose"));
  for (const ReportJson& l : report.at("links")) {
    if (below) options += wrapped("  " + name_of_link(l) + ": " + words(l, "options"), width, 4);
    table.add(cells_of<FaultsMade>(name_of_link(l) + (below ? "" : ' ' + words(l, "options")), l));
  }
  return table.text(width) + options + '\n';
}

// ---- What held the jobs back, in sentences ----

namespace {

/// " in run 2", if there were several runs.
std::string of_run(const ReportJson& report) {
  const auto shown = report.find("shown_run");
  if (shown == report.end() || shown->is_null()) return "";
  return " in run " + format_count(shown->get<std::uint64_t>());
}

/// " (29 looks in 2.93 s; not seen: /proc/pressure/memory)"
std::string how_text(const ReportJson& report) {
  const auto why = report.find("why");
  if (why == report.end() || why->is_null()) return "";
  std::string text = " (" + format_counted(count(*why, "looks").value_or(0), "look") + " in " +
                     format_seconds(figure(*why, "seconds"));
  const char* before = "; not seen: ";
  for (const ReportJson& each : why->at("missing")) {
    text += before + words(each, "source");
    before = ", ";
  }
  return text + ')';
}

enum class CausesWith : std::uint8_t {
  sentences,
  evidence,  ///< also how they were found, and where to find the others
};

/// At most `max` causes.
std::string some_causes_text(const ReportJson& report, std::size_t width, std::size_t max,
                             CausesWith with) {
  const auto causes = report.find("causes");
  if (causes == report.end()) return "";  // a file of an earlier version
  if (causes->is_null()) {
    return wrapped("what held the jobs back is not known: " + words(report, "causes_reason"), width,
                   2);
  }
  if (causes->empty()) {
    const std::uint64_t lost = lost_frames(report);
    std::uint64_t overrun = 0;
    for (const ReportJson& job : report.at("jobs")) {
      overrun += count(job, "overrun_frames").value_or(0);
    }
    std::string unexplained;
    if (overrun != 0) unexplained = "; overruns lost " + format_counted(overrun, "frame");
    if (lost > overrun) {
      unexplained += "; what lost " + format_counted(lost - overrun, "frame") + " was not seen";
    }
    return wrapped("nothing held the jobs back" + of_run(report) + unexplained +
                       (with == CausesWith::evidence ? how_text(report) : ""),
                   width, 2);
  }
  std::string text = "what held the jobs back" + of_run(report) + ", the heaviest first\n";
  for (std::size_t i = 0; i < causes->size() && i < max; ++i) {
    text += wrapped("  " + words(causes->at(i), "sentence"), width, 4);
  }
  if (causes->size() <= max) return text;
  const std::size_t rest = causes->size() - max;
  return text + "  ... and " +
         (with == CausesWith::evidence ? format_count(rest) + " more: --output-format=json"
                                       : format_counted(rest, "more cause")) +
         '\n';
}

}  // namespace

std::string causes_text(const ReportJson& report, std::size_t width) {
  constexpr std::size_t kMax = 10;
  return some_causes_text(report, width, kMax, CausesWith::evidence);
}

std::string main_causes_text(const ReportJson& report, std::size_t width, std::size_t max) {
  return some_causes_text(report, width, max, CausesWith::sentences);
}

// ---- The machines of the jobs: this one, or the servers' ----

namespace {

std::string known(const std::string& text) {
  return text.empty() ? "-" : text;
}

/// "lab3: 4 x ..."
std::string description_of(const ReportJson& m) {
  const auto mhz = figure(m, "frequency_mhz");
  return known(words(m, "hostname")) + ": " + format_count(count(m, "cpus")) + " x " +
         known(words(m, "cpu_model")) +
         (mhz ? " at " + std::to_string(std::lround(*mhz)) + " MHz" : "") + ", " +
         format_memory(count(m, "memory_bytes")) + ", " + known(words(m, "kernel")) + ", clock " +
         known(words(m, "clock_source")) + ", virtualization " + known(words(m, "virtualization"));
}

std::string window_of(const ReportJson& m, std::size_t width) {
  if (m.at("cpu_window").empty()) return "";
  Table table;
  table.add({"measured window", "user", "system", "irq", "steal", "idle"});
  for (const ReportJson& c : m.at("cpu_window")) {
    table.add({"CPU " + format_count(count(c, "cpu")), format_share(figure(c, "user_share")),
               format_share(figure(c, "system_share")), format_share(figure(c, "irq_share")),
               format_share(figure(c, "steal_share")), format_share(figure(c, "idle_share"))});
  }
  return table.text(width);
}

/// Each server: how it ended, when its jobs were let go, and its machine. Each job begins later by
/// its start skew. No job ran on the client's machine.
std::string hosts_text(const ReportJson& report, std::size_t width) {
  Table table;
  table.add({"server", "", "exit code", "let go after the first", "+-"});
  std::string machines;
  for (const ReportJson& host : report.at("hosts")) {
    const bool passed = host.at("passed").get<bool>();
    table.add({words(host, "hostname"), passed ? "passed" : "FAILED",
               format_count(count(host, "exit_code")), format_ns(figure(host, "start_offset_ns")),
               format_ns(figure(host, "clock_error_ns"))});
    if (host.at("machine").is_null()) continue;
    machines +=
        wrapped("machine of " + words(host, "hostname") + ", " + description_of(host.at("machine")),
                width, 2) +
        window_of(host.at("machine"), width);
  }
  const std::string client = known(words(report.at("machine"), "hostname"));
  return table.text(width) + machines + "requested by " + client + ", which ran none of the jobs\n";
}

}  // namespace

std::string machine_text(const ReportJson& report, std::size_t width) {
  if (report.contains("hosts")) return hosts_text(report, width);
  const ReportJson& m = report.at("machine");
  return wrapped("machine " + description_of(m), width, 2) + window_of(m, width);
}

}  // namespace shmif::perf
