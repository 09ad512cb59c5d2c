#pragma once
// Trees of the kernel's files about processes, which a test writes between two looks.

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>

#include "instruments/why/why.hpp"
#include "tests/instruments/membw/trees.hpp"

namespace shmif::perf::test {

/// What the files of a thread say.
struct ThreadFiles {
  std::string name = "prog";
  char state = 'S';
  int minor = 0, major = 0, threads = 1, start_ticks = 7, cpu = 1, parent = 1;
  int run_us = 0, wait_us = 0, turns = 1;
  int migrations = 0, voluntary = 0, involuntary = 0;
  std::string allowed = "0-3";
  int user_ticks = 0, system_ticks = 0;
};

/// The files of processes, which change between two looks.
class FilesOfProcesses : public ::testing::Test {
 protected:
  FilesOfProcesses() {
    tree.put("/proc/self/schedstat", "5 5 5\n");
    tree.put("/proc/self/sched", "se.nr_migrations : 1\nnr_voluntary_switches : 1\n");
  }
  static std::string stat_text(int number, const ThreadFiles& files) {
    const std::map<int, int> fields{{4, files.parent},        {10, files.minor},
                                    {12, files.major},        {14, files.user_ticks},
                                    {15, files.system_ticks}, {20, files.threads},
                                    {22, files.start_ticks},  {39, files.cpu}};
    std::string line = std::to_string(number) + " (" + files.name + ") " + files.state;
    for (int field = 4; field <= 52; ++field) {
      const auto at = fields.find(field);
      line += ' ' + std::to_string(at == fields.end() ? 0 : at->second);
    }
    return line + '\n';
  }
  void put(int process, int thread, const ThreadFiles& files = {}) {
    const auto text = [](int value) { return std::to_string(value); };
    const std::string of_process = "/proc/" + text(process);
    const std::string folder = of_process + "/task/" + text(thread);
    if (process == thread) tree.put(of_process + "/stat", stat_text(process, files));
    if (!KernelFiles(tree.path()).has(of_process + "/status")) {
      tree.put(of_process + "/status", "Name:\tprog\n");
    }
    tree.put(folder + "/stat", stat_text(thread, files));
    tree.put(folder + "/schedstat",
             text(files.run_us) + "000 " + text(files.wait_us) + "000 " + text(files.turns) + '\n');
    if (has_sched) {
      tree.put(folder + "/sched", "se.nr_migrations : " + text(files.migrations) +
                                      "\nnr_voluntary_switches : " + text(files.voluntary) +
                                      "\nnr_involuntary_switches : " + text(files.involuntary) +
                                      '\n');
    }
    tree.put(folder + "/status",
             "Name:\t" + files.name + "\nCpus_allowed:\tf\nCpus_allowed_list:\t" + files.allowed +
                 "\nvoluntary_ctxt_switches:\t" + text(files.voluntary) +
                 "\nnonvoluntary_ctxt_switches:\t" + text(files.involuntary) + '\n');
  }
  /// What is open of it says that the number is another thread's, and its name is gone.
  void end(int process, int thread) {
    put(process, thread, {.start_ticks = 4711});
    tree.remove("/proc/" + std::to_string(process) + "/task/" + std::to_string(thread));
  }
  WhySampler& sampler() {
    if (!sampler_) sampler_.emplace(tree.files(), origin_ns);
    return *sampler_;
  }
  /// Job "rx", which is process 41, is looked at for the first time.
  void begin() {
    ASSERT_TRUE(sampler().add_process(sampler().add_job("rx"), 41));
    look();
  }
  /// Looks every 100 ms, beginning at the origin.
  void look() { sampler().sample(origin_ns + looks_++ * (kSecond / 10)); }
  const WhySeries& series() { return sampler().series(); }
  const TaskSeries& task(pid_t number) {
    const auto at = std::ranges::find(series().tasks, number,
                                      [](const TaskSeries& each) { return each.id.number; });
    if (at == series().tasks.end()) throw std::runtime_error("thread is not watched");
    return *at;
  }
  std::set<pid_t> numbers() {
    std::set<pid_t> all;
    for (const TaskSeries& each : series().tasks) all.insert(each.id.number);
    return all;
  }

  const Tree tree;
  std::uint64_t origin_ns = 0;
  bool has_sched = true;

 private:
  std::optional<WhySampler> sampler_;
  std::uint64_t looks_ = 0;
};

}  // namespace shmif::perf::test
