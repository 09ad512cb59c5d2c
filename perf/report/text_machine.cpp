// The machines of the jobs: this one, or the servers'.

#include <cmath>
#include <nlohmann/json.hpp>

#include "perf/report/table.hpp"
#include "perf/report/text_blocks.hpp"
#include "perf/report/units.hpp"

namespace shmif::perf {

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

/// Each server: how it ended, when it started, and its machine. No job ran on the client's machine.
std::string hosts_text(const ReportJson& report, std::size_t width) {
  Table table;
  table.add({"server", "", "exit code", "began after the first", "+-"});
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
