// A test rig that counts its own cost: page faults and CPU time for each batch of frames that it
// handles. It keeps a copy of each batch in fresh memory, and every 100th page fault is an
// overflow. An overflow stops the counting and wakes the rig. The rig reads the sample, which says
// where the fault was, and restarts the counting. Exit status 0: all batches were counted, and all
// overflows were reported.

#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <string>

#include <shmif/instruments/counters/event_names.hpp>
#include <shmif/instruments/counters/sample.hpp>
#include <shmif/instruments/counters/session.hpp>
#include <shmif/port.hpp>

using namespace shmif::perf;

constexpr unsigned kBatches = 40;
constexpr unsigned kFrames = 64;  // in each batch
constexpr std::size_t kFrameBytes = 1514;
constexpr std::uint64_t kPeriod = 100;  // every 100th page fault is an overflow

/// Counts the samples, and shows where the first one was.
class Samples final : public SampleSink {
 public:
  void sample(const Sample& sample) override {
    if (count++ == 0) std::printf("the first overflow was at address %#llx\n", ip_of(sample));
  }
  unsigned count = 0;

 private:
  static unsigned long long ip_of(const Sample& sample) { return sample.ip; }
};

/// A session on the calling thread. The modifier u, "in user space", needs no privileges.
CounterSession make_session() {
  const auto events = EventNames().find_all("page-faults:u,task-clock:u").value();
  EventSetup faults{events[0]};
  faults.sampling = {.period = kPeriod, .mask = true};
  CounterSession session;
  session.program(std::array{faults, EventSetup{events[1]}}).value();
  session.load(CounterTarget::thread({})).value();  // if this fails, value() throws, with a message
  session.start().value();
  return session;
}

/// Copies the frames into memory that was never used, so each page of the copy costs a fault.
bool keep(const shmif::FrameBatch& batch) {
  const std::size_t bytes = kFrames * kFrameBytes;
  void* const memory =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  std::size_t at = 0;
  for (const shmif::FrameView& frame : batch.frames()) {
    std::memcpy(static_cast<char*>(memory) + at, frame.bytes.data(), frame.bytes.size());
    at += frame.bytes.size();
  }
  return munmap(memory, bytes) == 0;
}

/// Waits for all frames of a batch. `overflows`: how many overflows came and were handled
/// meanwhile.
bool receive(shmif::Port& port, CounterSession& session, Samples& samples, unsigned& overflows) {
  shmif::FrameBatch batch;
  std::array<pollfd, 2> ready{pollfd{port.level_descriptor().value(), POLLIN, 0},
                              pollfd{session.wake_descriptor(), POLLIN, 0}};
  while (batch.frames().size() < kFrames) {
    if (poll(ready.data(), ready.size(), 30'000) <= 0) return false;
    if (ready[1].revents != 0) session.read_samples(samples).value();
    if (session.state() == SessionState::masked) {
      ++overflows;
      session.restart().value();  // resumes the counting
    }
    if (ready[0].revents != 0 && port.receive(batch).frames == 0) continue;
  }
  return keep(batch);
}

int main() {
  const std::string path = "/dev/shm/self_counts." + std::to_string(getpid());
  shmif::Bus::create(path, {}).value();
  shmif::Port sender({.name = "sender"}), rig({.name = "rig"});
  for (shmif::Port* port : {&sender, &rig}) {
    port->attach(path).value();
    if (port->up()) return 1;
  }
  unlink(path.c_str());  // attached ports keep the bus

  std::array<std::byte, kFrameBytes> frame{};
  std::memset(frame.data(), 0xff, 6);  // broadcast
  CounterSession session = make_session();
  Samples samples;
  unsigned overflows = 0;
  std::array<Reading, 2> before{Reading{0}, Reading{1}};
  std::array<Reading, 2> now = before;
  for (unsigned batch = 0; batch < kBatches; ++batch) {
    for (unsigned each = 0; each < kFrames; ++each) {
      if (sender.send(shmif::FrameView(frame)).taken != 1) return std::puts("not sent"), 1;
    }
    if (!receive(rig, session, samples, overflows)) return std::puts("not received"), 1;
    session.read(now).value();
    const auto faults = now[0].value - before[0].value;
    const auto clock_ns = now[1].value - before[1].value;
    if (batch % 10 == 0) {
      std::printf("batch %u: %llu page faults, %llu ns of CPU time\n", batch,
                  static_cast<unsigned long long>(faults),
                  static_cast<unsigned long long>(clock_ns));
    }
    if (clock_ns == 0) return std::printf("batch %u was not counted\n", batch), 1;
    before = now;
  }
  session.read_samples(samples).value();
  std::printf("%llu page faults, %u overflows, %u samples\n",
              static_cast<unsigned long long>(now[0].value), overflows, samples.count);
  // Each overflow has a sample, and at least this many faults lie between two overflows.
  const bool right =
      overflows >= 5 && samples.count >= overflows && now[0].value >= overflows * kPeriod;
  return right ? 0 : 1;
}
