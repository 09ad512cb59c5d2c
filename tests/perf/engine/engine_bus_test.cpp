// What engine=bus leaves in the directory of buses, takes away from there, and tells of its ports.

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>

#include "perf/engine/engine.hpp"
#include "shmif/bus.hpp"
#include "shmif/port.hpp"
#include "tests/perf/engine/engine_rig.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::perf::rig {
namespace {

namespace fs = std::filesystem;
using shmif::test::same_frames;

JobOptions bus_job() {
  JobOptions job;
  job.name = "voice";
  job.engine = EngineKind::bus;
  return job;
}

/// A process that was, and has ended.
pid_t ended_process() {
  shmif::test::Child child([] { return 0; });
  const pid_t pid = child.pid();
  EXPECT_EQ(child.wait(), 0);
  return pid;
}

/// A file beside the buses of runs, which is taken away at the end.
class Beside {
 public:
  explicit Beside(const std::string& name) : path_("/dev/shm/" + name) {}
  Beside(const Beside&) = delete;
  Beside& operator=(const Beside&) = delete;
  ~Beside() {
    std::error_code gone;
    fs::remove(path_, gone);
  }
  const std::string& path() const { return path_; }
  bool is_there() const { return fs::exists(path_); }
  Beside& as_bus() {
    EXPECT_TRUE(Bus::create(path_, {.ring_bytes = 64U << 10U}));
    return *this;
  }
  Beside& as_empty() {
    std::ofstream{path_};
    return *this;
  }
  Beside& as_old() {
    fs::last_write_time(path_, fs::file_time_type::clock::now() - std::chrono::hours(1));
    return *this;
  }

 private:
  std::string path_;
};

TEST(BusesOfRuns, AreTakenAwayWhateverTheyHaveBecome) {
  auto wire = make_wire(bus_job(), 2).value();
  const std::string path = wire->address().substr(4);
  ASSERT_TRUE(fs::exists(path));
  fs::resize_file(path, 0);
  wire.reset();
  EXPECT_FALSE(fs::exists(path));
}

TEST(BusesOfRuns, ThatWereKilledAreTakenAwayByTheNextWhenTheyAreOldAndNobodyIsOnThem) {
  const std::string gone = "shmifperf-" + std::to_string(ended_process());
  Beside bus(gone + "-bus");
  Beside ruin(gone + "-ruin");
  Beside cut(gone + "-cut");
  Beside young(gone + "-young");
  Beside used(gone + "-used");
  Beside alive("shmifperf-" + std::to_string(::getppid()) + "-alive");
  Beside no_number(gone);
  Beside other(gone + ".other");
  for (Beside* const file : {&bus, &cut, &young, &used, &alive, &other}) file->as_bus();
  fs::resize_file(cut.path(), fs::file_size(cut.path()) / 2);
  for (Beside* const file : {&ruin, &no_number}) file->as_empty();
  Port port = shmif::test::port_on(used.path());
  for (Beside* const file : {&bus, &ruin, &cut, &used, &alive, &no_number, &other}) file->as_old();
  const auto wire = make_wire(bus_job(), 2).value();
  EXPECT_FALSE(bus.is_there());
  EXPECT_FALSE(ruin.is_there()) << "what was truncated";
  EXPECT_FALSE(cut.is_there()) << "or lost a part";
  EXPECT_TRUE(young.is_there()) << "its maker may be in another PID namespace";
  EXPECT_TRUE(used.is_there()) << "somebody is attached";
  EXPECT_TRUE(alive.is_there()) << "its maker lives";
  EXPECT_TRUE(no_number.is_there()) << "that is no name of a run's bus";
  EXPECT_TRUE(other.is_there()) << "nor is that";
}

TEST(BusWire, OnlyAPromiscuousEndHearsWhatIsForOthers) {
  const auto wire = make_wire(bus_job(), 3).value();
  const auto sender = wire->open_end(end_options(0)).value();
  const auto plain = wire->open_end(end_options(1)).value();
  EndOptions curious = end_options(2);
  curious.promiscuous = true;
  const auto all = wire->open_end(curious).value();
  // Behind a frame that is for another, one that is for the end itself: the first is not late.
  const std::vector<Bytes> frames{frame_to(9, 0, 60, 1), frame_to(1, 0, 60, 2),
                                  frame_to(2, 0, 60, 3)};
  EXPECT_EQ(sender->send(shmif::test::views(frames)).taken, 3U);
  EXPECT_TRUE(same_frames({frames[1]}, collect(*plain, 1)));
  EXPECT_TRUE(same_frames(frames, collect(*all, 3)));
}

}  // namespace
}  // namespace shmif::perf::rig
