// The block of one job with the peers made for it, and the block of a group.

#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "perf/report/fields.hpp"
#include "perf/report/problems.hpp"
#include "perf/report/table.hpp"
#include "perf/result/run_result.hpp"

namespace shmif::perf {

namespace {

/// The label of a row; it has the job's name if a block has several jobs.
std::string label(const Unit& unit, const ReportJson& job, const std::string& what) {
  return unit.peers.empty() ? what : words(job, "jobname") + ' ' + what;
}

/// A table that has only a head is left out.
std::string unless_bare(const Table& table, std::size_t width) {
  return table.rows() > 1 ? table.text(width) : "";
}

template <class Do>
void for_each_job(const Unit& unit, const Do& act) {
  act(*unit.job);
  for (const ReportJson* peer : unit.peers) act(*peer);
}

Table::Row histogram_row(const std::string& name, const ReportJson& h) {
  Table::Row row = {name, format_count(count(h, "count"))};
  for (const char* key :
       {"min", "mean", "p50", "p90", "p99", "p99_9", "p99_99", "p99_999", "max"}) {
    row.push_back(format_ns(figure(h, key)));
  }
  return row;
}

const Table::Row kHistogramHead = {"time", "count", "min",    "mean",    "p50", "p90",
                                   "p99",  "p99.9", "p99.99", "p99.999", "max"};

std::string traffic_table(const Unit& unit, std::size_t width) {
  Table table;
  table.add(head_of<TrafficResult>("traffic"));
  for_each_job(unit, [&](const ReportJson& job) {
    if (!job.at("tx").is_null())
      table.add(cells_of<TrafficResult>(label(unit, job, "sent"), job.at("tx")));
    if (!job.at("rx").is_null()) {
      table.add(cells_of<TrafficResult>(label(unit, job, "received"), job.at("rx")));
    }
  });
  return table.text(width);
}

std::string histogram_table(const Unit& unit, std::size_t width) {
  Table table;
  table.add(kHistogramHead);
  std::string without;
  for_each_job(unit, [&](const ReportJson& job) {
    const auto add = [&](const char* key, const char* what) {
      if (!job.at(key).is_null()) table.add(histogram_row(label(unit, job, what), job.at(key)));
    };
    add("latency_ns", "latency");
    add("service_ns", "service");
    add("spacing_error_ns", "spacing error");
    const bool answers = name_in(job, "rw") == "echo";  // the pingpong job has the times
    if (job.at("latency_ns").is_null() && !job.at("rx").is_null() && !answers) {
      without += wrapped(
          "  " + label(unit, job, "latency") + "  -  (" + words(job, "latency_ns_reason") + ')',
          width, 4);
    }
  });
  return unless_bare(table, width) + without;
}

/// The percentiles of percentile_list.
std::string percentiles_text(const Unit& unit, std::size_t width) {
  std::string out;
  for_each_job(unit, [&](const ReportJson& job) {
    for (const auto& [key, name] :
         {std::pair{"latency_ns", "latency"}, {"service_ns", "service"}}) {
      const ReportJson& times = job.at(key);
      const auto found = times.is_null() ? times.end() : times.find("percentile");
      if (times.is_null() || found == times.end()) continue;
      // Sorted as texts, "99" would come before "9.5".
      std::map<double, std::pair<std::string, double>> by_value;
      for (const auto& [percentile, ns] : found->items()) {
        by_value[std::strtod(percentile.c_str(), nullptr)] = {percentile, ns.get<double>()};
      }
      std::string line;
      for (const auto& [value, of] : by_value) {
        std::string shown = of.first;
        shown.erase(shown.find_last_not_of('0') + 1);
        if (shown.ends_with('.')) shown.pop_back();
        line += (line.empty() ? "p" : ", p") + shown + ' ' + format_ns(of.second);
      }
      out += wrapped("  " + label(unit, job, name) + ": " + line, width, 4);
    }
  });
  return out;
}

/// TCP connections, for the jobs that send on them.
std::string tcp_table(const Unit& unit, std::size_t width) {
  Table table;
  table.add(head_of<TcpResult>("TCP"));
  for_each_job(unit, [&](const ReportJson& job) {
    const auto found = job.find("tcp");  // missing in older results
    if (found == job.end() || found->is_null() || job.at("tx").is_null()) return;
    table.add(cells_of<TcpResult>(label(unit, job, "sent"), *found));
  });
  return unless_bare(table, width);
}

/// Numbers that did not arrive: "17, 20-29".
std::string gaps_text(const ReportJson& gaps) {
  constexpr std::size_t kMax = 8;
  std::string out;
  for (std::size_t i = 0; i < gaps.size() && i < kMax; ++i) {
    const auto from = gaps[i][0].get<std::uint64_t>();
    const auto to = gaps[i][1].get<std::uint64_t>();
    out += (out.empty() ? "" : ", ") + format_count(from);
    if (to > from + 1) out += " to " + format_count(to - 1);
  }
  return gaps.size() > kMax ? out + ", ..." : out;
}

std::string loss_table(const Unit& unit, std::size_t width) {
  Table table;
  table.add(head_of<FlowResult>("frames"));
  std::string notes;
  for_each_job(unit, [&](const ReportJson& job) {
    if (job.at("loss").is_null()) return;
    for (const ReportJson& flow : job.at("loss").at("flows")) {
      const std::string kind = words(flow, "kind");
      const std::string name = words(flow, "from") + " -> " + words(flow, "to") +
                               (kind == "request" ? " requests"
                                : kind == "reply" ? " replies"
                                                  : "");
      table.add(cells_of<FlowResult>(name, flow));
      if (!flow.at("gaps").empty()) {
        notes += wrapped("  " + name + (kind == "reply" ? " lacked numbers " : " missed numbers ") +
                             gaps_text(flow.at("gaps")),
                         width, 4);
      }
      const auto corrupt = count(flow, "corrupt_copies").value_or(0);
      const auto truncated = count(flow, "truncated_copies").value_or(0);
      if (corrupt + truncated != 0) {
        notes +=
            wrapped("  " + name + ": damaged copies, not counted above: " + format_count(corrupt) +
                        " corrupt, " + format_count(truncated) + " truncated",
                    width, 4);
      }
      if (!flow.at("verification_complete").get<bool>()) {
        notes += wrapped("  " + name + ": verification is incomplete", width, 4);
      }
    }
  });
  return unless_bare(table, width) + notes;
}

/// Before a number of lost frames.
std::string at_least(const ReportJson& job) {
  return is_lower_bound(job) ? "at least " : "";
}

std::string arrivals_table(const Unit& unit, std::size_t width) {
  Table table;
  table.add({"arrivals", "overruns", "frames lost by them", "foreign", "stale"});
  for_each_job(unit, [&](const ReportJson& job) {
    if (job.at("rx").is_null()) return;
    table.add({label(unit, job, "received"), format_count(count(job, "overruns")),
               at_least(job) + format_count(count(job, "overrun_frames")),
               format_count(count(job.at("rx"), "foreign_frames")),
               format_count(count(job.at("rx"), "stale_frames"))});
  });
  return unless_bare(table, width);
}

/// The classes of errors (continue_on_error) that a job had.
std::string errors_table(const Unit& unit, std::size_t width) {
  Table table;
  table.add({"errors", "count", "first"});
  for_each_job(unit, [&](const ReportJson& job) {
    const auto found = job.find("errors_by_class");  // missing in older results
    if (found == job.end()) return;
    for (const ErrorClass error : kErrorClasses) {
      const ReportJson& of = found->at(word_of(error));
      if (count(of, "count").value_or(0) == 0) continue;
      table.add(
          {label(unit, job, word_of(error)), format_count(count(of, "count")), words(of, "first")});
    }
  });
  return unless_bare(table, width);
}

std::string counts_table(const Unit& unit, std::size_t width) {
  Table table;
  table.add(
      {"counts", "generator", "wire", "receiver", "foreign", "wire lost", "wire dropped", "agree"});
  for_each_job(unit, [&](const ReportJson& job) {
    const ReportJson& c = job.at("counts");
    const std::string agree = c.at("agree").is_null() ? "-" : c.at("agree") == true ? "yes" : "NO";
    const bool receives = !job.at("rx").is_null();
    if (!job.at("tx").is_null()) {
      // On a bus, the port of a job that does not read loses all frames of others, so its count is
      // meaningless.
      const auto dropped = receives ? std::nullopt : count(c, "wire_dropped_frames");
      table.add({label(unit, job, "sent"), format_count(count(c, "generator_tx_frames")),
                 format_count(count(c, "wire_tx_frames")), "-", "-", "-", format_count(dropped),
                 agree});
    }
    if (receives) {
      table.add({label(unit, job, "received"), "-", format_count(count(c, "wire_rx_frames")),
                 format_count(count(c, "receiver_rx_frames")),
                 format_count(count(c, "receiver_foreign_frames")),
                 at_least(job) + format_count(count(c, "wire_lost_frames")),
                 format_count(count(c, "wire_dropped_frames")), agree});
    }
  });
  return table.text(width);
}

std::string cpu_table(const Unit& unit, std::size_t width) {
  Table table;
  table.add(head_of<CpuResult>("CPU"));
  for_each_job(unit, [&](const ReportJson& job) {
    table.add(cells_of<CpuResult>(label(unit, job, "used"), job.at("cpu")));
  });
  return table.text(width);
}

/// How far the figures above can be trusted.
std::string limits_table(const Unit& unit, std::size_t width) {
  Table table;
  table.add({"trust", "start skew", "rate +- (95 %)", "harness's own limit", "used of it"});
  for_each_job(unit, [&](const ReportJson& job) {
    table.add({label(unit, job, "job"), format_ns(figure(job, "start_skew_ns")),
               format_share(figure(job, "rate_ci95_share")), format_fps(figure(job, "limit_fps")),
               format_share(figure(job, "limit_share"))});
  });
  return table.text(width);
}

/// What happened to the load after a stall, if the option was given or frames were given up.
std::string catchup_text(const Unit& unit, std::size_t width) {
  std::string out;
  for_each_job(unit, [&](const ReportJson& job) {
    const ReportJson& options = job.at("options");
    const ReportJson& tx = job.at("tx");
    if (tx.is_null()) return;
    const auto skipped = count(tx, "skipped_frames");
    const auto chosen = options.find("rate_catchup");
    if (skipped.value_or(0) == 0 && chosen == options.end()) return;
    out += wrapped("  " + label(unit, job, "after stalls") + ": rate_catchup=" +
                       (chosen == options.end() ? "skip" : words(options, "rate_catchup")) +
                       ", gave up " + format_count(skipped) + " of " +
                       format_counted(count(tx, "offered_frames"), "frame") + " offered",
                   width, 4);
  });
  return out;
}

}  // namespace

std::string unit_text(const Unit& unit, std::size_t width) {
  const ReportJson& job = *unit.job;
  const std::string address = words(job, "address");
  std::string out =
      words(job, "jobname") + ": rw=" + words(job, "rw") + " engine=" + words(job, "engine") +
      (address.empty() ? "" : " (" + address + ')') + ", group " + words(job, "groupname") + ", " +
      format_seconds(figure(job, "runtime_seconds")) + ", " +
      (job.at("passed").get<bool>() ? "passed" : "FAILED");
  out = wrapped(out, width, 4);
  if (job.at("tx").is_null() && job.at("rx").is_null() && unit.peers.empty()) {
    return out +
           wrapped("  nothing was sent or received; " + end_in(words(job, "state")), width, 4) +
           '\n';
  }
  return out + traffic_table(unit, width) + catchup_text(unit, width) +
         histogram_table(unit, width) + percentiles_text(unit, width) + loss_table(unit, width) +
         tcp_table(unit, width) + arrivals_table(unit, width) + errors_table(unit, width) +
         counts_table(unit, width) + cpu_table(unit, width) + counters_text(unit, width) +
         limits_table(unit, width) + '\n';
}

std::string group_text(const ReportJson& group, std::size_t width) {
  const std::size_t jobs = group.at("jobnames").size();
  const std::string out =
      wrapped("group " + words(group, "groupname") + ": " + format_counted(jobs, "job") +
                  ", start skew " + format_ns(figure(group, "start_skew_ns")),
              width, 2);
  Table traffic;
  traffic.add(head_of<TrafficResult>("traffic"));
  if (!group.at("tx").is_null()) traffic.add(cells_of<TrafficResult>("sent", group.at("tx")));
  if (!group.at("rx").is_null()) traffic.add(cells_of<TrafficResult>("received", group.at("rx")));
  Table times;
  times.add(kHistogramHead);
  for (const auto& [key, name] : {std::pair{"latency_ns", "latency"}, {"service_ns", "service"}}) {
    if (!group.at(key).is_null()) times.add(histogram_row(name, group.at(key)));
  }
  Table loss;
  loss.add(head_of<FlowResult>("frames"));
  if (!group.at("loss").is_null()) loss.add(cells_of<FlowResult>("all flows", group.at("loss")));
  if (traffic.rows() == 1) return out + '\n';
  Table cpu;
  cpu.add(head_of<CpuResult>("CPU"));
  cpu.add(cells_of<CpuResult>("used", group.at("cpu")));
  return out + unless_bare(traffic, width) + unless_bare(times, width) + unless_bare(loss, width) +
         cpu.text(width) + '\n';
}

}  // namespace shmif::perf
