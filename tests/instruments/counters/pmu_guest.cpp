// The only program of a virtual machine of 64-bit ARM, whose PMU counts the cycles and instructions
// of user code exactly (QEMU with -icount). It holds counter sessions against loops of known
// length, and prints a line for each value that is to be compared: "CASE NAME VALUE". pmu_test
// compares them.

#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include "instruments/counters/sample.hpp"
#include "instruments/counters/session.hpp"
#include "shmif/debug/debug.hpp"

// The guest has no spdlog, and nobody reads its debug lines.
namespace shmif::detail {
std::atomic<std::uint32_t> debug_mask;
void write_debug(Debug /*category*/, std::string_view /*text*/) noexcept {}
KeptErrno::KeptErrno() noexcept : number_(errno) {}
KeptErrno::~KeptErrno() {
  errno = number_;
}
}  // namespace shmif::detail

namespace shmif::perf {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kCyclesOf = PERF_COUNT_HW_CPU_CYCLES;
constexpr std::uint64_t kInstructionsOf = PERF_COUNT_HW_INSTRUCTIONS;
/// In instructions, and nanoseconds. QEMU delivers the interrupt of an overflow with the next tick
/// of the clock, which comes every 4 ms.
constexpr std::uint64_t kPeriod = 20'000'000;

/// Two instructions each round, and nothing else.
__attribute__((noinline)) void loop(std::uint64_t rounds) {
#ifdef __aarch64__
  __asm__ volatile("1: subs %0, %0, #1\n b.ne 1b" : "+r"(rounds)::"cc");
#else
  (void)rounds;
#endif
}
/// The same at another place.
__attribute__((noinline)) void other_loop(std::uint64_t rounds) {
#ifdef __aarch64__
  __asm__ volatile("1: subs %0, %0, #1\n b.ne 1b\n nop" : "+r"(rounds)::"cc");
#else
  (void)rounds;
#endif
}

void say(const std::string& name, std::uint64_t value) {
  std::printf("CASE %s %" PRIu64 "\n", name.c_str(), value);
}
void say(const std::string& name, bool value) {
  say(name, std::uint64_t{value ? 1U : 0U});
}
void say(const std::string& name, double value) {
  std::printf("CASE %s %.6f\n", name.c_str(), value);
}

[[noreturn]] void give_up(const std::string& why) {
  std::printf("CASE failed %s\n", why.c_str());
  std::fflush(stdout);
  ::sync();
  ::reboot(RB_POWER_OFF);
  for (;;) ::pause();  // until the power is off
}
template <class T>
T must(Result<T> result) {
  if (!result) give_up(result.error().message);
  return *std::move(result);
}
void must(const Result<void>& result) {
  if (!result) give_up(result.error().message);
}

CounterEvent hardware(std::uint64_t config) {
  CounterEvent event;
  event.name = config == kCyclesOf ? "cycles:u" : "instructions:u";
  event.type = PERF_TYPE_HARDWARE;
  event.config = config;
  event.exclude_kernel = true;
  event.exclude_hypervisor = true;
  return event;
}

CounterTarget self() {
  return CounterTarget::thread({::getpid(), 0});
}

/// What a session counts of a loop.
std::array<Reading, 2> count_loop(CounterSession& session, std::uint64_t rounds) {
  const std::array<ValueSetup, 2> zero{{{0, 0, {}}, {1, 0, {}}}};
  must(session.set_values(zero));
  must(session.start());
  loop(rounds);
  must(session.stop());
  std::array<Reading, 2> readings{};
  readings[0].event = 0;
  readings[1].event = 1;
  must(session.read(readings));
  return readings;
}

/// Counts of a loop grow with its length, and with nothing else.
void counts() {
  CounterSession session;
  const std::array<EventSetup, 2> events{
      {{hardware(kCyclesOf), 0, {}}, {hardware(kInstructionsOf), 0, {}}}};
  must(session.program(events));
  must(session.load(self()));
  count_loop(session, 1000);  // the pages of all code are there now
  const auto base = count_loop(session, 1'000'000);
  for (const std::uint64_t rounds : {2'000'000U, 4'000'000U, 8'000'000U}) {
    const auto now = count_loop(session, rounds);
    const std::string name = std::to_string(rounds);
    say("cycles_beyond_" + name, now[0].value - base[0].value - 2 * (rounds - 1'000'000));
    say("instructions_beyond_" + name, now[1].value - base[1].value - 2 * (rounds - 1'000'000));
    say("running_is_enabled_" + name, now[1].running_ns == now[1].enabled_ns);
    say("scaled_is_raw_" + name, *now[1].scaled == static_cast<double>(now[1].value));
  }
}

/// More events than the PMU has counters: the kernel takes turns, and scaled values still tell.
void multiplexing() {
  constexpr std::size_t kEvents = 12;
  CounterSession session({.group = false});
  const std::vector<EventSetup> events(kEvents, {hardware(kInstructionsOf), 0, {}});
  must(session.program(events));
  must(session.load(self()));
  must(session.start());
  constexpr std::uint64_t kRounds = 100'000'000;
  loop(kRounds);
  must(session.stop());
  std::array<Reading, kEvents> readings{};
  for (std::size_t i = 0; i < kEvents; ++i) readings[i].event = i;
  must(session.read(readings));
  std::uint64_t partly = 0;
  double worst = 0;
  for (const Reading& each : readings) {
    partly += each.running_ns < each.enabled_ns ? 1 : 0;
    if (!each.scaled) give_up("an event was never counted");
    const double ratio = *each.scaled / (2.0 * kRounds);
    worst = std::max(worst, ratio > 1 ? ratio - 1 : 1 - ratio);
  }
  say("counted_partly", partly);
  say("worst_error", worst);
}

/// Two sets take turns by time.
void sets() {
  CounterSession session;
  const std::array<SetSetup, 2> turns{{{0, 5ms}, {1, 5ms}}};
  must(session.create_sets(turns));
  const std::array<EventSetup, 2> events{
      {{hardware(kCyclesOf), 0, {}}, {hardware(kInstructionsOf), 1, {}}}};
  must(session.program(events));
  must(session.load(self()));
  must(session.start());
  constexpr std::uint64_t kRounds = 200'000'000;
  loop(kRounds);
  must(session.stop());
  std::array<Reading, 2> readings{};
  readings[1].event = 1;
  must(session.read(readings));
  for (const Reading& each : readings) {
    if (!each.scaled) give_up("a set was never active");
    say("scaled_" + std::to_string(each.event), *each.scaled / (2.0 * kRounds));
    say("raw_" + std::to_string(each.event), static_cast<double>(each.value) / (2.0 * kRounds));
  }
  std::array<SetQuery, 2> queries{};
  queries[1].id = 1;
  must(session.query_sets(queries));
  say("activations_0", queries[0].activations);
  say("activations_1", queries[1].activations);
}

struct CountSamples : SampleSink {
  void sample(const Sample& sample) override {
    const auto at = [&](auto* function) {
      const auto begin = reinterpret_cast<std::uintptr_t>(function);
      return sample.ip >= begin && sample.ip < begin + 8;
    };
    ++all;
    first += at(&loop) ? 1 : 0;
    second += at(&other_loop) ? 1 : 0;
  }
  std::uint64_t all = 0;
  std::uint64_t first = 0;
  std::uint64_t second = 0;
};

/// A sample for every so many instructions, at the place where they were.
void samples() {
  CounterSession session;
  const std::array<EventSetup, 1> events{{{hardware(kInstructionsOf), 0, {.period = kPeriod}}}};
  must(session.program(events));
  must(session.load(self()));
  must(session.start());
  for (int i = 0; i < 4; ++i) {
    loop(75'000'000);
    other_loop(25'000'000);
  }
  must(session.stop());
  CountSamples sink;
  const SampleCounts counts = must(session.read_samples(sink));
  say("samples", counts.samples);
  say("lost", counts.lost);
  say("all", sink.all);
  say("in_loop", sink.first);
  say("in_other_loop", sink.second);
}

/// The first overflow masks the session, until it is restarted.
void overflow() {
  CounterSession session;
  const std::array<EventSetup, 1> events{
      {{hardware(kInstructionsOf), 0, {.period = kPeriod, .mask = true}}}};
  must(session.program(events));
  must(session.load(self()));
  must(session.start());
  loop(50'000'000);
  std::array<Reading, 1> reading{};
  must(session.read(reading));
  say("masked", session.state() == SessionState::masked);
  say("value_when_masked", reading[0].value);
  must(session.restart());
  loop(100'000);
  must(session.stop());
  must(session.read(reading));
  say("value_after_restart", reading[0].value);
}

}  // namespace
}  // namespace shmif::perf

int main() {
  struct Place {
    const char* path;
    const char* type;
  };
  for (const Place& each : {Place{"/dev", "devtmpfs"}, {"/proc", "proc"}, {"/sys", "sysfs"}}) {
    ::mkdir(each.path, 0755);
    ::mount("none", each.path, each.type, 0, nullptr);
  }
  shmif::perf::counts();
  shmif::perf::multiplexing();
  shmif::perf::sets();
  shmif::perf::samples();
  shmif::perf::overflow();
  std::printf("CASE end 1\n");
  std::fflush(stdout);
  ::sync();
  ::reboot(RB_POWER_OFF);
  for (;;) ::pause();  // until the power is off
}
