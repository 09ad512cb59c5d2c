// The controller of a lab: its runs of shmifperf.

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <utility>

#include "tools/common/command.hpp"
#include "tools/lab/lab_run.hpp"
#include "tools/lab/reading.hpp"

namespace shmif::tools {

void LabRun::prepare_perfs() {
  perfs_.reserve(lab_.perfs.size());
  for (const LabPerf& each : lab_.perfs) {
    Perf& perf = perfs_.emplace_back();
    perf.spec = &each;
    perf.output.name = each.name;
    name_width_ = std::max(name_width_, std::min(each.name.size(), kWidestName));
    perf.is_of_event = std::ranges::any_of(lab_.events, [&](const LabEvent& event) {
      return event.what == LabEvent::What::start && event.host.value == each.name;
    });
  }
}

void LabRun::start_perf(Perf& perf) {
  const LabPerf& spec = *perf.spec;
  ChildWish wish{.folder = lab_.folder};
  const std::string program = find_shmifperf().value();
  std::vector<std::string> words = perf_words(lab_, spec, results_.folder());
  results_.file(spec.name + ".json");  // remove() removes these, too
  results_.file(spec.name + ".html");
  if (spec.host.value.empty()) {
    wish.program = program;
    wish.words = std::move(words);
    wish.environment = environment();
  } else {
    const LabHost& host = *lab_.find_hosts(spec.host.value).front();
    wish.words = enter_words(host);
    wish.words.push_back(program);
    wish.words.insert(wish.words.end(), words.begin(), words.end());
    wish.environment = environment_of(host);
  }
  perf.begun = Clock::now();
  perf.has_begun = true;
  perf.makes_page = false;
  perf.told_to_end = false;
  perf.status.reset();
  perf.kill.reset();
  perf.child.emplace(LabChild::start(wish).value());
}

/// After a run, makes its page. That this fails fails the run only if the run itself did not.
void LabRun::perf_ended(Perf& perf, int status) {
  take_rest(perf.output, *perf.child);
  perf.child.reset();
  perf.kill.reset();
  const std::string json = results_.file(perf.spec->name + ".json");
  if (!perf.makes_page) {
    if (status == 0 || !ending_) perf.status = status;
    perf.seconds = std::chrono::duration<double>(Clock::now() - perf.begun).count();
    const bool counts = !ending_ && !perf.told_to_end;
    if (status != 0 && counts && perf.failure.empty()) perf.failure = end_text(status);
    note("perf " + perf.spec->name, status == 0 || !counts, end_text(status));
    if (status != 0 && counts) say("perf " + perf.spec->name + ' ' + end_text(status));
    if (::access(json.c_str(), R_OK) == 0) {
      const std::string page = results_.file(perf.spec->name + ".html");
      const ChildWish wish{.program = find_shmifperf().value(),
                           .words = {"report", json, "-o", page},
                           .folder = lab_.folder};
      perf.makes_page = true;
      perf.child.emplace(LabChild::start(wish).value());
      return;
    }
  } else if (status != 0 && perf.failure.empty()) {
    perf.failure = "has no page: shmifperf report " + end_text(status);
  }
  trigger(LabTrigger::What::host_ended, perf.spec->name);
}

/// Whether no run of shmifperf is left to wait for. With a test, an event that has not come need
/// not come any more.
bool LabRun::perfs_are_over() const {
  return std::ranges::all_of(perfs_, [this](const Perf& perf) {
    if (perf.child) return false;
    if (perf.has_begun) return true;
    const auto may_start = [&](const Event& event) {
      return event.spec->what == LabEvent::What::start &&
             event.spec->host.value == perf.spec->name && !event.done &&
             (event.triggered || !lab_.test);
    };
    return std::ranges::none_of(events_, may_start);
  });
}

/// Does what an event wants of a run of shmifperf. Result: false if it wants something else.
bool LabRun::start_or_stop_perf(std::size_t index, const LabEvent& event) {
  const auto found = std::ranges::find_if(
      perfs_, [&](const Perf& each) { return each.spec->name == event.host.value; });
  if (found == perfs_.end()) return false;
  Perf& perf = *found;
  const bool runs = perf.child.has_value();
  if (event.what == LabEvent::What::start) {
    if (!runs) start_perf(perf);
    finish_event(index, !runs, runs ? "perf " + event.host.value + " runs already" : "started");
    return true;
  }
  if (runs && !perf.makes_page) {
    perf.told_to_end = true;
    perf.child->signal(SIGTERM);
    perf.kill = Clock::now() + kTimeForPerfs;
  }
  finish_event(index, runs,
               runs ? "it was told to end" : "perf " + event.host.value + " does not run");
  return true;
}

LabCase LabRun::case_of(const Perf& perf) const {
  LabCase row{"perf " + perf.spec->name, perf.failure, perf.seconds};
  row.output = perf.output.last_lines();
  if (row.failure.empty() && !perf.status) {
    (perf.has_begun && timed_out_ ? row.failure : row.skipped) =
        perf.has_begun ? "the lab ended before it" : "it was not started";
  }
  return row;
}

}  // namespace shmif::tools
