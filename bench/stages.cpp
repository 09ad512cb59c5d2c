// Where a frame's nanoseconds go, stage by stage, from send() to delivery.
//
//   shmif_bench_stages --bytes 60 --batch 32 --rounds 2000
//
// One thread does all the work, so no figure includes moving a cache line from one CPU to another.
// Two processes pay that in addition (shmif_bench_throughput). A figure is the least of many short
// rounds, because a disturbance can only make a round longer. Each round has as many batches as
// make about 256 frames.
//
// Ports call the code of a bus's format through the virtual functions of bus::Attachment. The
// figures of this seam compare these calls with direct ones, which would do for a single format.

#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bench/frame.hpp"
#include "bench/trial.hpp"
#include "bus/file/geometry.hpp"
#include "bus/file/mapping.hpp"
#include "bus/format/format.hpp"
#include "bus/port/doorbell.hpp"
#include "bus/port/native_attachment.hpp"
#include "bus/ring/batch.hpp"
#include "bus/ring/lock.hpp"
#include "bus/ring/ring.hpp"
#include "shmif/port.hpp"

namespace {

using namespace shmif;
using namespace shmif::bench;

struct Shape {
  std::size_t batch;
  unsigned batches;  // per round
  unsigned rounds;
};

/// The least nanoseconds per frame over all rounds. `before` prepares a round and is not timed.
template <class Before, class Work>
double min_ns(const Shape& shape, Before&& before, Work&& work) {
  using Clock = std::chrono::steady_clock;
  double min = std::numeric_limits<double>::max();
  for (unsigned round = 0; round < shape.rounds; ++round) {
    before();
    const Clock::time_point begin = Clock::now();
    for (unsigned i = 0; i < shape.batches; ++i) work();
    const std::chrono::duration<double, std::nano> time = Clock::now() - begin;
    min = std::min(min, time.count());
  }
  return min / static_cast<double>(shape.batches * shape.batch);
}

/// The parts of a bus, each of which can be used on its own.
class Parts {
 public:
  explicit Parts(const std::string& path)
      : bus_(bus::inspect_bus(path, Access::read_write).value()),
        info_(bus_->info()),
        mapping_(
            bus::Mapping::map(bus_->descriptor(), info_.ring_bytes, Access::read_write).value()),
        ring_(mapping_, bus::max_frame_bytes(info_.mtu)),
        lock(mapping_.header(), kSlot, bus_->descriptor()),
        writer(ring_, kSlot, 1),
        bell(ring_, kSlot, bus_->descriptor()),
        reader(ring_, nullptr, 0, 0, false) {
    if (!reader.seek_end()) give_up("the bus has no end");
  }

 private:
  static constexpr unsigned kSlot = 200;  // not the slot of any port
  std::unique_ptr<bus::Inspector> bus_;
  BusInfo info_;
  bus::Mapping mapping_;
  bus::Ring ring_;

 public:
  bus::BusLock lock;
  bus::RingWriter writer;
  bus::Bell bell;
  bus::RingReader reader;
};

Port port_on(const std::string& path) {
  Port port(PortOptions{.promiscuous = true});
  port.attach(path).value();
  if (port.up()) give_up("a port does not come up");
  return port;
}

std::unique_ptr<bus::Attachment> attached(const std::string& path) {
  auto attachment = bus::attach_to_bus(path, {.promiscuous = true}).value();
  if (attachment->up()) give_up("an attachment does not come up");
  return attachment;
}

struct SeamCost {
  double send, send_directly, receive, receive_directly, look, look_directly;
};

/// Measures both ways in turns, so a change in the machine's speed affects both.
SeamCost seam_cost(const std::string& path, const Shape& shape, std::span<const FrameView> frames) {
  constexpr unsigned kTurns = 8;
  const auto from = attached(path);
  const auto to = attached(path);
  bus::Attachment* sender = from.get();
  bus::Attachment* receiver = to.get();
  asm volatile("" : "+r"(sender), "+r"(receiver));  // hides their class from the compiler
  auto& direct_sender = static_cast<bus::NativeAttachment&>(*from);
  auto& direct_receiver = static_cast<bus::NativeAttachment&>(*to);
  FrameBatch heard(256, std::size_t{1} << 20U);
  const auto nothing = [] {};
  const auto send_round = [&] {
    for (unsigned i = 0; i < shape.batches; ++i)
      static_cast<void>(sender->send(frames, bus::WhenFull::wait));
  };
  const auto drain = [&] {
    do heard.clear();
    while (receiver->receive(heard).frames > 0);
  };
  const Shape turn{shape.batch, shape.batches, std::max(1U, shape.rounds / kTurns)};
  const Shape at_once{shape.batch * shape.batches, 1, turn.rounds};
  constexpr double kMax = std::numeric_limits<double>::max();
  SeamCost cost{kMax, kMax, kMax, kMax, kMax, kMax};
  const auto take = [](double& least, double now) { least = std::min(least, now); };
  for (unsigned i = 0; i < kTurns; ++i) {
    take(cost.send, min_ns(turn, nothing,
                           [&] { static_cast<void>(sender->send(frames, bus::WhenFull::wait)); }));
    take(cost.send_directly, min_ns(turn, nothing, [&] {
           static_cast<void>(direct_sender.send(frames, bus::WhenFull::wait));
         }));
    const auto before = [&] {
      drain();
      send_round();
      heard.clear();
    };
    take(cost.receive,
         min_ns(at_once, before, [&] { static_cast<void>(receiver->receive(heard)); }));
    take(cost.receive_directly,
         min_ns(at_once, before, [&] { static_cast<void>(direct_receiver.receive(heard)); }));
    drain();
    const Shape looks{1, 256, turn.rounds};
    take(cost.look, min_ns(looks, nothing, [&] { static_cast<void>(receiver->receive(heard)); }));
    take(cost.look_directly,
         min_ns(looks, nothing, [&] { static_cast<void>(direct_receiver.receive(heard)); }));
  }
  return cost;
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const std::size_t bytes = arguments.count("bytes", 60);
  const std::size_t batch = std::clamp(arguments.count("batch", 32), 1U, 256U);
  const Shape shape{batch, std::max(1U, 256U / static_cast<unsigned>(batch)),
                    arguments.count("rounds", 2000)};
  pin(static_cast<int>(arguments.number("cpu", -1)));
  const OwnFile file("stages");
  Bus::create(file.path(), {}).value();
  const std::vector<std::byte> frame = make_frame(bytes);
  const std::vector<FrameView> frames(batch, FrameView(frame));
  bus::BatchPlan plan;
  for (const FrameView& view : frames) plan.add(view, bus::kMaxRingBytes);
  const bus::Batch records = plan.of(frames);
  const auto nothing = [] {};
  FrameBatch heard(256, std::size_t{1} << 20U);

  Parts parts(file.path());
  const double clock = min_ns(shape, nothing, [] {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    asm volatile("" : : "r"(&now) : "memory");
  });
  const double lock = min_ns(shape, nothing, [&] { parts.lock.release(parts.lock.acquire()); });
  const double append = min_ns(shape, nothing, [&] {
    const std::uint64_t mine = parts.lock.acquire();
    if (parts.writer.append(mine, records, 1) != bus::AppendStatus::done) give_up("not appended");
    parts.lock.release(mine);
  });
  const double bell = min_ns(shape, nothing, [&] {
    parts.bell.wake_deep(frames);
    parts.bell.wake_deep(frames);
    parts.bell.wake(parts.bell.collect(frames, 0, 0));
  });
  bus::ReadTally tally;
  const auto one_more_round = [&] {
    static_cast<void>(parts.reader.seek_end());
    for (unsigned i = 0; i < shape.batches; ++i) {
      const std::uint64_t mine = parts.lock.acquire();
      static_cast<void>(parts.writer.append(mine, records, 1));
      parts.lock.release(mine);
    }
  };
  // Reads a whole round at once, like a reader that is behind.
  const Shape at_once{batch * shape.batches, 1, shape.rounds};
  const double read = min_ns(at_once, one_more_round, [&] {
    heard.clear();
    parts.reader.read_all(heard, tally);
  });

  Port from = port_on(file.path());
  const double send = min_ns(shape, nothing, [&] { static_cast<void>(from.send(frames)); });
  Port to = port_on(file.path());
  const double receive = min_ns(
      at_once,
      [&] {
        for (unsigned i = 0; i < shape.batches; ++i) static_cast<void>(from.send(frames));
      },
      [&] {
        heard.clear();
        static_cast<void>(to.receive(heard));
      });
  const SeamCost seam = seam_cost(file.path(), shape, frames);
  std::printf(
      "{\"clock_ns\": %.2f, \"lock_ns\": %.2f, \"append_ns\": %.2f, \"bell_ns\": %.2f, "
      "\"send_ns\": %.2f, "
      "\"read_ns\": %.2f, \"receive_ns\": %.2f, "
      "\"seam_send_ns\": %.2f, \"direct_send_ns\": %.2f, "
      "\"seam_receive_ns\": %.2f, \"direct_receive_ns\": %.2f, "
      "\"seam_look_ns\": %.2f, \"direct_look_ns\": %.2f}\n",
      clock, lock, append - lock, bell, send, read, receive, seam.send, seam.send_directly,
      seam.receive, seam.receive_directly, seam.look, seam.look_directly);
}
