// Planted truth on a bus: a neighbour holds the lock, or is too slow for a sender that waits.

#include <memory>
#include <thread>

#include "bus/file/liveness.hpp"
#include "bus/ring/lock.hpp"
#include "tests/instruments/why/planted_rig.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::perf::test {
namespace {

using shmif::test::Shared;
using shmif::test::TempBus;

/// Sends a frame each millisecond, if nobody holds it up.
Child sender_on(const std::string& path) {
  return Child([path]() -> int {
    Port port = shmif::test::port_on(path, {.name = "rx"});
    constexpr std::size_t kLargest = 1400;
    shmif::test::NumberedBatch batch(kLargest);
    batch.fix_size(kLargest);
    FrameBatch heard(64, 64U << 10U);
    go_first(kSubjectPriority);
    for (std::uint32_t next = 0;; ++next) {
      if (port.send(batch.make(0, next, 1)).error) return 1;
      // A sender would wait for itself, too.
      heard.clear();
      if (port.receive(heard).error) return 2;
      ::usleep(1000);
    }
  });
}

/// Takes the lock while `goes_on`, and stops with it. It goes on when another has taken the lock.
class Holder {
 public:
  explicit Holder(const std::string& path)
      : path_(path), child_([path, this]() -> int {
          constexpr unsigned kSlot = 40;
          const shmif::test::RawBus raw(path);
          if (!bus::take_liveness(raw.fd(), kSlot)) return 1;
          bus::BusLock lock(raw.header(), kSlot, raw.fd());
          for (;;) {
            while (!*goes_on_) ::usleep(1000);
            const std::uint64_t mine = lock.acquire();
            ::raise(SIGSTOP);
            lock.release(mine);
          }
        }) {}

  void begin() {
    *goes_on_ = true;
    driver_ = std::thread([this] {
      std::uint64_t seen = takeovers();
      while (*goes_on_) {
        ::usleep(2000);
        if (takeovers() == seen) continue;
        seen = takeovers();
        child_.signal(SIGCONT);
      }
    });
  }
  void end() {
    *goes_on_ = false;
    driver_.join();
    child_.signal(SIGCONT);
  }

 private:
  std::uint64_t takeovers() const { return Bus::open(path_).value().info().takeovers_living; }

  std::string path_;
  Shared<std::atomic<bool>> goes_on_;
  Child child_;
  std::thread driver_;
};

TEST(PlantedOnABus, AStoppedNeighbourThatHoldsTheLockIsNamed) {
  const TempBus bus;
  const Child rx = sender_on(bus.path());
  Holder holder(bus.path());
  ASSERT_TRUE(shmif::test::eventually([&] { return shmif::test::ports_up(bus.info()) == 1; }));
  const Planted planted =
      watch(rx.pid(), [&] { holder.begin(); }, [&] { holder.end(); }, bus.path());
  expect_first(planted, CauseKind::bus_lock);
  EXPECT_GT(planted.causes.at(0).share, 0.5) << told(planted);
}

}  // namespace
}  // namespace shmif::perf::test
