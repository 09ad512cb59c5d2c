// Event sets, as perfmon2 had them: one session has several lists of events, and one list counts at
// a time. The program counts each of its phases separately by switch_set(), clears the counts of
// its first round by set_values(), reads after unload(), and deletes a set. Then an overflow
// switches the sets, and at last a time does. close() ends the session. The program counts page
// faults and CPU time in user space, so it needs neither hardware counters nor privileges. Exit
// status 0: everything that it prints was counted.

#include <poll.h>
#include <sys/mman.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include <shmif/instruments/counters/event_names.hpp>
#include <shmif/instruments/counters/sample.hpp>
#include <shmif/instruments/counters/session.hpp>

using namespace shmif::perf;
using namespace std::chrono_literals;

constexpr std::uint64_t kPeriod = 1000;  // every 1000th page fault is an overflow

/// Ends the program if a count is not what the API promises.
void check(bool right, const char* what) {
  if (right) return;
  std::printf("wrong: %s\n", what);
  std::exit(1);
}

CounterEvent event(const char* name) {
  static const EventNames names;
  return names.find(name).value();  // if this fails, value() throws, with a message
}

/// Touches pages that were never used, so each page costs a fault.
void touch(std::size_t pages) {
  constexpr std::size_t kPage = 4096;
  void* const memory =
      mmap(nullptr, pages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  check(memory != MAP_FAILED, "no memory");
  madvise(memory, pages * kPage, MADV_NOHUGEPAGE);
  for (std::size_t at = 0; at < pages; ++at) static_cast<volatile char*>(memory)[at * kPage] = 1;
  munmap(memory, pages * kPage);
}

SetQuery query(CounterSession& session, unsigned set) {
  std::array queries{SetQuery{set}};
  session.query_sets(queries).value();
  return queries[0];
}

unsigned long long value(CounterSession& session, std::size_t number) {
  std::array readings{Reading{number}};
  session.read(readings).value();
  return readings[0].value;
}

/// Counts each phase with its own set. Event N belongs to set N.
void count_phases() {
  struct Phase {
    const char* name;
    std::size_t pages;
  };
  constexpr std::array kPhases{Phase{"prepare", 400}, Phase{"work", 200}, Phase{"clean up", 100}};
  CounterSession session;
  session.create_sets(std::array{SetSetup{1}, SetSetup{2}}).value();  // set 0 always exists
  for (unsigned set = 0; set < kPhases.size(); ++set) {
    session.program(std::array{EventSetup{event("page-faults:u"), set}}).value();
  }
  session.load(CounterTarget::thread({})).value();
  for (int round = 0; round < 4; ++round) {
    if (round == 1) {  // the first round was a warm-up
      session
          .set_values(std::array{ValueSetup{0, 0, {}}, ValueSetup{1, 0, {}}, ValueSetup{2, 0, {}}})
          .value();
    }
    for (unsigned set = 0; set < kPhases.size(); ++set) {
      session.switch_set(set).value();
      session.start().value();
      touch(kPhases[set].pages);
      session.stop().value();
    }
  }

  session.unload().value();  // the counts remain
  std::puts("phases, switched by switch_set(), without the first round:");
  for (unsigned set = 0; set < kPhases.size(); ++set) {
    const unsigned long long faults = value(session, set);
    std::printf("  set %u, %s: %llu turns, %llu page faults\n", set, kPhases[set].name,
                static_cast<unsigned long long>(query(session, set).activations), faults);
    check(faults >= 3 * kPhases[set].pages, "a phase has fewer page faults than pages");
  }

  session.delete_sets(std::array{2U}).value();
  std::array gone{Reading{2}};
  std::printf("after delete_sets(): %s\n", session.read(gone).error().message.c_str());
  // Loads a set again. It counts on from the value that it is given.
  session.set_values(std::array{ValueSetup{1, 1'000'000, {}}}).value();
  session.load(CounterTarget::thread({})).value();
  session.switch_set(1).value();
  session.start().value();
  touch(100);
  session.stop().value();
  check(value(session, 1) >= 1'000'100, "it did not count on from its value");
  std::puts("loaded again: set 1 counts on from 1000000");
}

/// Notes which event caused an overflow.
class Overflows final : public SampleSink {
 public:
  void sample(const Sample& sample) override {
    ++count;
    last = sample.event;
  }
  unsigned count = 0;
  std::size_t last = 0;
};

/// The kernel stops a set at its overflow. Then a thread of the session begins the turn of the next
/// set, and the wake descriptor becomes readable.
void switch_by_overflow() {
  CounterSession session;
  session.create_sets(std::array{SetSetup{1}}).value();
  const Sampling at_period{.period = kPeriod, .switch_set = true};
  session
      .program(std::array{EventSetup{event("page-faults:u"), 0, at_period},
                          EventSetup{event("minor-faults:u"), 1, at_period}})
      .value();
  session.load(CounterTarget::thread({})).value();
  session.start().value();
  std::puts("switched by an overflow:");
  Overflows overflows;
  for (unsigned round = 0; round < 4; ++round) {
    pollfd ready{session.wake_descriptor(), POLLIN, 0};
    const auto end = std::chrono::steady_clock::now() + 30s;
    while (poll(&ready, 1, 0) == 0) {  // a test rig does its work here
      touch(1);
      check(std::chrono::steady_clock::now() < end, "no overflow was told");
    }
    session.read_samples(overflows).value();
    std::printf("  sample %u is of event %zu; now it is the turn of set %d\n", overflows.count,
                overflows.last, query(session, 0).is_active ? 0 : 1);
    check(value(session, overflows.last) >= kPeriod, "an overflow came before its time");
  }
}

/// Each set counts for a millisecond at a time. `scaled` is what its event would have counted if
/// its set had counted all the time.
void switch_by_time() {
  CounterSession session;
  session.create_sets(std::array{SetSetup{0, 1ms}, SetSetup{1, 1ms}}).value();
  session
      .program(
          std::array{EventSetup{event("task-clock:u"), 0}, EventSetup{event("task-clock:u"), 1}})
      .value();
  session.load(CounterTarget::thread({})).value();
  session.start().value();
  const auto end = std::chrono::steady_clock::now() + 30s;
  while (query(session, 0).activations < 3 || query(session, 1).activations < 3) {
    touch(10);
    check(std::chrono::steady_clock::now() < end, "a set had no turn");
  }
  session.stop().value();
  std::array readings{Reading{0}, Reading{1}};
  session.read(readings).value();
  for (const Reading& reading : readings) {
    check(reading.scaled.has_value() && *reading.scaled > static_cast<double>(reading.value),
          "a value was not scaled");
  }
  std::puts("switched by time: both sets had their turns");
  session.close().value();  // also ends the thread that switches
  std::printf("after close(): %s\n", session.start().error().message.c_str());
}

int main() {
  count_phases();
  switch_by_overflow();
  switch_by_time();
  return 0;
}
