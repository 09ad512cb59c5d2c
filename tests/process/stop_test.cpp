// Senders stopped at random, by a signal or by the freezer, while others send and witnesses check.
// What happens at every single instruction is in step_stop_test.cpp.
//
// SHMIF_STOPS: how many stops (default 40).

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/process/crowd.hpp"

namespace shmif::test {
namespace {

constexpr std::uint64_t kSmallRing = 1U << 20U;

/// A control group that its processes can be frozen in, of version 2 or 1.
class Freezer {
 public:
  Freezer() {
    const std::string name = "/shmif-test-" + std::to_string(getpid());
    for (const char* root :
         {"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/freezer"}) {
      std::error_code refused;
      if (!std::filesystem::exists(std::string(root) + "/cgroup.procs")) continue;
      std::filesystem::create_directory(root + name, refused);
      if (refused) continue;
      path_ = root + name;
      for (const char* file : {"/cgroup.freeze", "/freezer.state"}) {
        if (std::filesystem::exists(path_ + file)) file_ = path_ + file;
      }
      if (usable()) return;
      std::filesystem::remove(path_, refused);
      path_.clear();
    }
  }
  Freezer(const Freezer&) = delete;
  Freezer& operator=(const Freezer&) = delete;
  ~Freezer() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove(path_, ignored);
  }

  bool usable() const { return !path_.empty() && !file_.empty(); }
  bool add(pid_t pid) const {
    return bool(std::ofstream(path_ + "/cgroup.procs") << pid << std::flush);
  }
  /// Returns when the processes stand.
  bool freeze() const {
    std::ofstream(file_) << (version_2() ? "1" : "FROZEN") << std::flush;
    return soon([&] {
      return version_2() ? read("/cgroup.events").find("frozen 1") != std::string::npos
                         : read("/freezer.state") == "FROZEN\n";
    });
  }
  void thaw() const { std::ofstream(file_) << (version_2() ? "0" : "THAWED") << std::flush; }

 private:
  bool version_2() const { return file_.ends_with("cgroup.freeze"); }
  std::string read(const char* file) const {
    std::ifstream in(path_ + file);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::string path_, file_;
};

class Stop : public ::testing::Test {
 protected:
  void SetUp() override { random_.seed(announced_seed()); }

  /// Stops a sender that sends flat out, again and again, and if need be until it held the lock.
  /// `stop` returns when it stands.
  template <class StopIt, class Resume>
  void stop_at_random(std::uint64_t stops, bool until_held_up, Child& sender, StopIt stop,
                      Resume resume) {
    const std::uint64_t max = until_held_up ? 100 * stops : stops;
    for (std::uint64_t i = 0; i < stops || (i < max && held_up_ == 0); ++i) {
      SCOPED_TRACE("stop " + std::to_string(i));
      ASSERT_TRUE(stop());
      others_go_on();
      resume();
      if (HasFatalFailure()) return;
    }
    crowd_.pages().victims_done = true;
    EXPECT_EQ(sender.wait(), 0);
  }

  void others_go_on() {
    const bus::BusHeader& header = crowd_.raw().header();
    const std::uint64_t living = header.takeovers_living;
    for (SurvivorPage& page : crowd_.pages().survivors) page.longest_ns = 0;
    const bool held = !bus::lock_word::is_free(bus::load_seq_cst(header.lock));
    const std::uint64_t goal = bus::load_seq_cst(header.last) + 2 * kSmallRing;
    ASSERT_TRUE(soon([&] { return bus::load_seq_cst(header.last) >= goal; }));
    const std::uint64_t taken = header.takeovers_living - living;
    held_up_ += taken != 0 ? 1 : 0;
    more_than_once_ += taken > 1 ? 1 : 0;
    held_ += held ? 1 : 0;
    for (const SurvivorPage& page : crowd_.pages().survivors) {
      longest_.add(static_cast<double>(page.longest_ns) / 1e6);
      if (taken == 1 && page.longest_ns > 50'000'000) {
        cpu_share_.add(100.0 * static_cast<double>(page.longest_cpu_ns) /
                       static_cast<double>(page.longest_ns));
      }
    }
    ASSERT_TRUE(crowd_.all_is_well());
  }

  void judge() {
    EXPECT_TRUE(crowd_.finish());
    std::printf(
        "the lock was held %llu times; taken over %llu times, of these %llu more than once\n",
        static_cast<unsigned long long>(held_), static_cast<unsigned long long>(held_up_),
        static_cast<unsigned long long>(more_than_once_));
    longest_.print("longest send of each other", "ms");
    cpu_share_.print("CPU time of who was held up", "% of the time");
    for (const WitnessPage& page : crowd_.pages().witnesses) {
      std::printf("a witness heard %llu frames, lost %llu\n",
                  static_cast<unsigned long long>(page.all.load()),
                  static_cast<unsigned long long>(page.lost.load()));
      EXPECT_LT(page.lost, page.all / 100) << "the check of what is missing was empty";
    }
    // On a busy machine one that merely waits for a CPU may look stopped, too.
    EXPECT_LE(more_than_once_, 1 + held_up_ / 10);
    EXPECT_LT(longest_.max(), 10'000);
    EXPECT_LT(cpu_share_.max(), 50);
  }

  std::mt19937_64 random_;
  Crowd crowd_{kSmallRing};
  std::uint64_t held_ = 0, held_up_ = 0, more_than_once_ = 0;
  Figures longest_, cpu_share_;
};

TEST_F(Stop, ASenderStoppedAtRandomHoldsUpTheOthersOnceAndTearsNothing) {
  const std::uint64_t stops = from_environment("SHMIF_STOPS", kSanitized ? 10 : 40);
  Child sender([&] { return crowd_.send_flat_out(0); });
  ASSERT_TRUE(soon([&] { return crowd_.victim(0).fuse.has_burst(); }));
  const auto stop = [&] {
    crowd_.victim(0).fuse.set(SIGSTOP, random_);
    return sender.wait_until_stopped();
  };
  stop_at_random(stops, true, sender, stop, [&] { sender.resume(); });
  judge();
  EXPECT_GT(held_up_, 0U) << "never stopped with the lock";
}

TEST_F(Stop, ASenderInAFrozenControlGroupHoldsUpTheOthersOnceAndTearsNothing) {
  const Freezer freezer;
  if (!freezer.usable()) GTEST_SKIP() << "no control group that can be frozen";
  Child sender([&] { return crowd_.send_flat_out(0); });
  ASSERT_TRUE(freezer.add(sender.pid()));
  stop_at_random(
      from_environment("SHMIF_STOPS", kSanitized ? 10 : 40) / 4, false, sender,
      [&] { return freezer.freeze(); }, [&] { freezer.thaw(); });
  freezer.thaw();
  judge();
}

}  // namespace
}  // namespace shmif::test
