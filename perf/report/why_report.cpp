#include "perf/report/why_report.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <utility>

#include "perf/report/json_figures.hpp"
#include "perf/report/table.hpp"

namespace shmif::perf {
namespace {

/// "rx 4711", the job and thread number; with the thread's name if that differs: "rx send 4712".
std::string label_of(const TaskSummary& task) {
  std::string label = task.job;
  if (task.name != task.job) label += ' ' + task.name;
  return printable(label) + ' ' + std::to_string(task.thread);
}

/// For how long a thread ran, waited for a CPU, or was stopped.
double busy_seconds(const TaskSummary& task) {
  return (task.running + task.waiting.value_or(0) + task.stopped) * task.seconds;
}

/// The busiest threads, in the order of `tasks`: enough for 99 % of the busy time, but at least 5
/// and at most 20.
std::vector<const TaskSummary*> busiest_of(std::span<const TaskSummary> tasks) {
  constexpr std::size_t kMax = 20, kFew = 5;
  constexpr double kNearlyAll = 0.99;
  std::vector<std::size_t> order(tasks.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, [tasks](std::size_t a, std::size_t b) {
    const double busy_a = busy_seconds(tasks[a]), busy_b = busy_seconds(tasks[b]);
    return busy_a != busy_b ? busy_a > busy_b : a < b;
  });
  double all = 0, sum = 0;
  for (const TaskSummary& task : tasks) all += busy_seconds(task);
  std::size_t shown = 0;
  while (shown < std::min(order.size(), kMax) && (shown < kFew || sum < kNearlyAll * all)) {
    sum += busy_seconds(tasks[order[shown++]]);
  }
  order.resize(shown);
  std::ranges::sort(order);
  std::vector<const TaskSummary*> busiest;
  busiest.reserve(order.size());
  for (const std::size_t i : order) busiest.push_back(&tasks[i]);
  return busiest;
}

/// "and 37 more threads, with 0.4 % of the time in which threads ran, waited or were stopped:
/// --json"
std::string others_line(std::span<const TaskSummary> tasks,
                        std::span<const TaskSummary* const> shown) {
  double all = 0, sum = 0;
  for (const TaskSummary& task : tasks) all += busy_seconds(task);
  for (const TaskSummary* task : shown) sum += busy_seconds(*task);
  const double others = all > 0 ? std::max(0.0, 1 - sum / all) : 0;
  return "and " + format_counted(tasks.size() - shown.size(), "more thread") + ", with " +
         format_share(others) + " of the time in which threads ran, waited or were stopped: --json";
}

/// A share of the time in which a thread was seen; empty if it was seen for less than an interval.
std::optional<double> seen(const TaskSummary& task, double share) {
  return task.seconds > 0 ? std::optional(share) : std::nullopt;
}

/// Why a source could not be read; `otherwise` if the result has no reason.
std::string reason_for(const WhyResult& result, const std::string& source,
                       const std::string& otherwise) {
  const auto at = std::ranges::find(result.missing, source, &MissingSource::source);
  return at == result.missing.end() ? otherwise : at->reason;
}

std::string table_of(const WhyResult& result, std::size_t width) {
  Table table;
  table.add({"thread", "running", "waiting", "asleep", "stopped", "slept", "interrupted",
             "migrations", "faults", "major faults"});
  const std::vector<const TaskSummary*> shown = busiest_of(result.tasks);
  for (const TaskSummary* task : shown) {
    table.add({label_of(*task), format_share(seen(*task, task->running)),
               format_share(task->waiting), format_share(seen(*task, task->asleep)),
               format_share(seen(*task, task->stopped)), format_count(task->voluntary),
               format_count(task->involuntary), format_count(task->migrations),
               format_count(task->minor_faults), format_count(task->major_faults)});
  }
  std::string text = table.text(width);
  if (shown.size() < result.tasks.size()) {
    text += wrapped(others_line(result.tasks, shown), width, 2);
  }
  return text;
}

std::string machine_line(const MachineSummary& machine) {
  std::string line = "machine: steal " + format_share(machine.steal) + ", softirqs " +
                     format_share(machine.softirq) + " of a CPU";
  line += "; pressure of CPU " + format_share(machine.cpu_pressure) + ", memory " +
          format_share(machine.memory_pressure) + ", disk " + format_share(machine.io_pressure);
  if (machine.queue_drops.value_or(0) + machine.squeezes.value_or(0) > 0) {
    line += "; queues of CPUs dropped " + format_counted(machine.queue_drops, "packet") +
            ", were left early " + format_counted(machine.squeezes, "time");
  }
  return line;
}

std::string bus_line(const BusSummary& bus) {
  // The reason is in the list of what was not seen.
  const std::string until =
      bus.trouble.empty() ? "" : ", until " + format_seconds(bus.known_until_s);
  return "bus " + printable(bus.bus) + until + ": " + format_counted(bus.lock_sleeps, "sleep") +
         " for the lock, " + format_counted(bus.takeovers, "takeover") + ", " +
         format_counted(bus.pauses, "pause") + " (" + format_seconds(bus.paused_s) + "), " +
         format_counted(bus.stalls, "stall") + ", " + format_counted(bus.overruns, "overrun");
}

/// What the busiest thread did, for a watch that found no cause.
std::string quiet_line(const WhyResult& result) {
  if (result.tasks.empty()) {
    return result.tasks_missed ? "nothing was seen: the files of the threads could not be read"
                               : "nothing was seen: it ended before the first look";
  }
  const TaskSummary& busiest =
      *std::ranges::max_element(result.tasks, {}, [](const TaskSummary& task) {
        return (task.running + task.waiting.value_or(0)) * task.seconds;
      });
  if (busiest.seconds <= 0) {
    return "what it did is not known: " + label_of(busiest) + " was not seen for a whole interval";
  }
  std::string line =
      result.tasks_missed ? "in what was seen, nothing held it back: " : "nothing held it back: ";
  line += label_of(busiest) + " ran for " + format_share(busiest.running) + " of its time";
  if (busiest.waiting) line += ", waited for a CPU for " + format_share(busiest.waiting);
  return line + " and slept for " + format_share(busiest.asleep);
}

OrderedJson tasks_json(const WhyResult& result) {
  const std::string no_waits =
      reason_for(result, "/proc/PID/schedstat", "the kernel tells no run delays (schedstat)");
  auto list = OrderedJson::array();
  for (const TaskSummary& task : result.tasks) {
    OrderedJson one;
    one["job"] = task.job;
    one["name"] = task.name;
    one["process"] = task.process;
    one["thread"] = task.thread;
    one["ended"] = task.ended;
    one["seconds"] = json_number(task.seconds);
    constexpr const char* kUnseen = "the thread was not seen for a whole interval";
    put_or_reason(one, "running_share", json_number(seen(task, task.running)), kUnseen);
    put_or_reason(one, "waiting_share", json_number(task.waiting),
                  task.seconds > 0 ? no_waits.c_str() : kUnseen);
    put_or_reason(one, "asleep_share", json_number(seen(task, task.asleep)), kUnseen);
    put_or_reason(one, "stopped_share", json_number(seen(task, task.stopped)), kUnseen);
    one["voluntary_switches"] = task.voluntary;
    one["involuntary_switches"] = task.involuntary;
    one["migrations"] = task.migrations;
    one["minor_faults"] = task.minor_faults;
    one["major_faults"] = task.major_faults;
    list.push_back(std::move(one));
  }
  return list;
}

OrderedJson machine_json(const WhyResult& result) {
  const MachineSummary& machine = result.machine;
  OrderedJson one;
  const auto put = [&](const char* key, OrderedJson value, const char* source) {
    put_or_reason(one, key, std::move(value),
                  reason_for(result, source,
                             std::string(source) + " was not read at both ends of an interval")
                      .c_str());
  };
  put("steal_share", json_number(machine.steal), "/proc/stat");
  put("softirq_share", json_number(machine.softirq), "/proc/stat");
  put("queue_drops", json_integer(machine.queue_drops), "/proc/net/softnet_stat");
  put("queue_squeezes", json_integer(machine.squeezes), "/proc/net/softnet_stat");
  put("cpu_pressure_share", json_number(machine.cpu_pressure), "/proc/pressure/cpu");
  put("memory_pressure_share", json_number(machine.memory_pressure), "/proc/pressure/memory");
  put("io_pressure_share", json_number(machine.io_pressure), "/proc/pressure/io");
  return one;
}

OrderedJson buses_json(const WhyResult& result) {
  auto list = OrderedJson::array();
  for (const BusSummary& bus : result.buses) {
    OrderedJson one{{"bus", bus.bus},
                    {"lock_sleeps", bus.lock_sleeps},
                    {"takeovers", bus.takeovers},
                    {"pauses", bus.pauses},
                    {"paused_s", json_number(bus.paused_s)},
                    {"stalls", bus.stalls},
                    {"overruns", bus.overruns}};
    one["known_until_s"] = bus.trouble.empty() ? OrderedJson() : json_number(bus.known_until_s);
    one["reason"] = json_text(bus.trouble);
    list.push_back(std::move(one));
  }
  return list;
}

}  // namespace

OrderedJson causes_json(std::span<const Cause> causes) {
  auto list = OrderedJson::array();
  for (const Cause& cause : causes) {
    list.push_back({{"job", cause.job},
                    {"cause", word_of(cause.cause)},
                    {"begin_s", json_number(cause.begin_s)},
                    {"end_s", json_number(cause.end_s)},
                    {"share", json_number(cause.share)},
                    {"of_losses_share", json_number(cause.of_losses_share)},
                    {"counted", cause.counted},
                    {"sentence", cause.sentence}});
  }
  return list;
}

OrderedJson missing_json(std::span<const MissingSource> missing) {
  auto list = OrderedJson::array();
  for (const MissingSource& each : missing) {
    list.push_back({{"source", each.source}, {"reason", each.reason}});
  }
  return list;
}

std::string why_json(const WhyResult& result) {
  OrderedJson whole;
  whole["seconds"] = json_number(result.seconds);
  whole["looks"] = result.looks;
  whole["partial"] = result.partial;
  whole["own_cpu_share"] = json_number(result.own_share);
  whole["causes"] = causes_json(result.causes);
  whole["tasks"] = tasks_json(result);
  whole["machine"] = machine_json(result);
  whole["buses"] = buses_json(result);
  whole["missing"] = missing_json(result.missing);
  constexpr int kIndent = 2;
  return whole.dump(kIndent, ' ', true, OrderedJson::error_handler_t::replace) + '\n';
}

std::string why_text(const WhyResult& result, std::size_t width) {
  std::string head = result.partial ? "partial: stopped after " : "watched for ";
  head += format_seconds(result.seconds) + ", " + format_counted(result.tasks.size(), "thread") +
          ", " + format_counted(result.looks, "look") + " that took " +
          format_share(result.own_share) + " of a CPU";
  std::string out = wrapped(head, width, 2);
  if (!result.tasks.empty()) out += table_of(result, width);
  out += wrapped(machine_line(result.machine), width, 2);
  for (const BusSummary& bus : result.buses) out += wrapped(bus_line(bus), width, 2);
  for (const MissingSource& each : result.missing) {
    out += wrapped("not seen: " + printable(each.reason), width, 2);
  }
  for (const Cause& cause : result.causes) out += wrapped(cause.sentence, width, 2);
  if (result.causes.empty()) out += wrapped(quiet_line(result), width, 2);
  return out;
}

}  // namespace shmif::perf
