// Senders, readers, hosts and tools killed at random, while others send and witnesses check that
// every frame whose send had returned is there. What happens at every single instruction is in
// step_kill_test.cpp.
//
// SHMIF_KILLS and SHMIF_TOOL_KILLS: how many kills (default 276 and 24).

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "bus/file/liveness.hpp"
#include "tests/process/crowd.hpp"
#include "tests/support/run_tool.hpp"

namespace shmif::test {
namespace {

constexpr std::uint64_t kRingBytes = 4U << 20U;

/// A capture of frames that witnesses can check, 20 us apart.
void write_capture(const std::string& path, std::uint32_t count) {
  std::ofstream out(path, std::ios::binary);
  const auto put = [&](std::uint32_t v) { out.write(reinterpret_cast<const char*>(&v), 4); };
  for (const std::uint32_t v : {0xa1b23c4dU, 0x00040002U, 0U, 0U, 65535U, 1U}) put(v);
  std::vector<std::byte> frame(200);
  for (std::uint32_t i = 0; i < count; ++i) {
    write_numbered(frame, frame.size(), kRecorded, i);
    for (const std::uint32_t v : {0U, i * 20'000, 200U, 200U}) put(v);
    out.write(reinterpret_cast<const char*>(frame.data()), 200);
  }
}

class Kill : public ::testing::Test {
 protected:
  void SetUp() override {
    random_.seed(announced_seed());
    write_capture(capture_, 1000);
  }

  // What is killed. Each lets it live for a while of chance, and kills it.

  /// At any time, perhaps before it has attached.
  void kill_whenever(unsigned victim, const std::function<int()>& body) {
    crowd_.forget(victim);
    Child child(body);
    live_for(random_() % 4000);
    kill(child.pid(), slot_of(victim), [&] { child.wait(); });
  }
  void kill_attached(unsigned victim, const std::function<int()>& body) {
    crowd_.forget(victim);
    Child child(body);
    ASSERT_TRUE(soon([&] { return crowd_.victim(victim).attached.load(); }, kPatience));
    live_for(random_() % 1000);
    kill(child.pid(), slot_of(victim), [&] { child.wait(); });
  }
  Child start_sender(unsigned victim) {
    crowd_.forget(victim);
    Child child([this, victim] { return crowd_.send_flat_out(victim); });
    EXPECT_TRUE(soon([&] { return crowd_.victim(victim).fuse.has_burst(); }, kPatience));
    return child;
  }
  void strike(unsigned victim, Child& child) {
    live_for(random_() % 1000);
    crowd_.victim(victim).fuse.set(SIGKILL, random_);
    measure(*slot_of(victim), [&] { return crowd_.victim(victim).fuse.due_ns(); });
    child.kill_and_wait();  // it is dead, or the test has failed
    close_life(victim);
    ++kills_;
  }
  void kill_sender() {
    kind_ = "sender";
    Child child = start_sender(0);
    strike(0, child);
  }
  void kill_unready_sender() {
    kind_ = "sender";
    kill_whenever(0, [&] { return crowd_.send_flat_out(0); });
    close_life(0);
  }
  /// One is killed while the other may wait for the lock, and then the other.
  void kill_two_senders() {
    kind_ = "sender";
    Child first = start_sender(0), second = start_sender(1);
    strike(0, first);
    strike(1, second);
  }
  void kill_reader(WaitBy by) {
    kind_ = "reader";
    kill_attached(0, [&, by] { return crowd_.read_for_ever(0, by); });
  }
  void kill_attacher() {
    kind_ = "port that attaches and detaches";
    kill_whenever(0, [&] { return crowd_.attach_and_detach(0); });
  }
  void kill_tool(std::vector<std::string> arguments) {
    kind_ = "shmifctl " + arguments.front();
    arguments.insert(arguments.begin(), shmifctl_path());
    Tool tool(arguments);
    std::optional<unsigned> slot;
    ASSERT_TRUE(soon([&] { return (slot = slot_of_process(tool.pid())).has_value(); }, kPatience));
    live_for(random_() % 60'000);
    kill(tool.pid(), slot, [&] { tool.finish(); });
  }
  void kill_inject() { kill_tool({"inject", crowd_.bus().path(), capture_, "--loop", "0"}); }
  void kill_dump() { kill_tool({"dump", crowd_.bus().path(), "-w", "/dev/null"}); }
  void kill_host() {
    kill_tool({"exec", crowd_.bus().path(), "--ip", "198.18.0.2/24", "--", "ping", "-q", "-i",
               "0.002", "198.18.0.1"});
  }

  void kill(pid_t pid, std::optional<unsigned> slot, const std::function<void()>& reap) {
    const bool probe = slot && bus::is_alive(crowd_.raw().fd(), *slot);
    const std::uint64_t killed = now_ns();
    ::kill(pid, SIGKILL);
    if (probe) measure(*slot, [&] { return killed; });
    reap();
    ++kills_;
  }
  /// Measures how long each survivor's next send takes to return, from when the kernel has dropped
  /// the lock that says that the port of `slot` lives. `killed()`: when its process was.
  void measure(unsigned slot, const std::function<std::uint64_t()>& killed) {
    const std::uint64_t patience = now_ns() + 60'000'000'000;
    for (SurvivorPage& page : crowd_.pages().survivors) page.longest_ns = 0;
    // The kernel closes a TAP device and inotify before it drops the lock, and that may take long.
    for (unsigned looks = 0; bus::is_alive(crowd_.raw().fd(), slot); ++looks) {
      ASSERT_LT(now_ns(), patience) << "the victim lives";
      if (looks < 5000) {
        sched_yield();
      } else {
        crowd_.pages().hurry = false;
        std::this_thread::sleep_for(std::chrono::microseconds(20));
      }
    }
    const std::uint64_t dead = now_ns();
    teardown_[kind_].add(static_cast<double>(dead - std::min(dead, killed())) / 1e6);
    measure_delay(dead);
    crowd_.pages().hurry = false;
  }
  void measure_delay(std::uint64_t dead) {
    for (SurvivorPage& page : crowd_.pages().survivors) {
      page.returned_ns = 0;
      page.asked_ns = dead;
    }
    for (SurvivorPage& page : crowd_.pages().survivors) {
      ASSERT_TRUE(soon([&] { return page.returned_ns != 0; }, kPatience)) << "nobody can send";
      const double delay = static_cast<double>(page.returned_ns - dead) / 1e6;
      (page.slept ? delay_with_lock_ : delay_).add(delay);
      page.asked_ns = 0;
      longest_.add(static_cast<double>(page.longest_ns) / 1e6);
    }
  }

  void live_for(std::uint64_t us) {
    std::this_thread::sleep_for(std::chrono::microseconds(us));
    crowd_.pages().hurry = true;
    std::this_thread::sleep_for(std::chrono::microseconds(random_() % 200));
  }
  void close_life(unsigned victim) {
    SenderLedger& ledger = crowd_.ledger(victim);
    lives_that_sent_ += ledger.returned > ledger.life_begin ? 1 : 0;
    ledger.close_life();
  }
  std::optional<unsigned> slot_of(unsigned victim) {
    if (!crowd_.victim(victim).attached) return std::nullopt;
    return crowd_.victim(victim).slot.load();
  }
  std::optional<unsigned> slot_of_process(pid_t pid) {
    for (unsigned i = 0; i < bus::kSlots; ++i) {
      const bus::PortSlot& slot = crowd_.raw().slot(i);
      if (bus::state_of(bus::load_seq_cst(slot.state)) == bus::SlotState::live &&
          bus::load_relaxed(slot.pid) == static_cast<std::uint32_t>(pid) &&
          bus::is_alive(crowd_.raw().fd(), i)) {
        return i;
      }
    }
    return std::nullopt;
  }

  /// Calls `one_kill` until that many were made.
  void kill_at_random(std::uint64_t kills, const std::function<void()>& one_kill) {
    for (unsigned round = 0; kills_ < kills; ++round) {
      SCOPED_TRACE("round " + std::to_string(round));
      one_kill();
      if (round % 50 == 0) {
        ASSERT_TRUE(crowd_.all_is_well());
      }
      if (HasFatalFailure()) return;
    }
  }

  void judge() {
    // Room was made again for all that the dead held, once somebody came by.
    const bus::BusHeader& header = crowd_.raw().header();
    const std::uint64_t goal = bus::load_seq_cst(header.last) + 2 * kRingBytes;
    ASSERT_TRUE(soon([&] { return bus::load_seq_cst(header.last) >= goal; }));
    EXPECT_TRUE(crowd_.finish());
    for (const PortInfo& port : crowd_.bus().info().ports)
      EXPECT_FALSE(port.claim_bytes) << port.name;
    std::printf(
        "%llu kills, %llu of senders whose sends had returned; the lock was taken from the "
        "dead %llu times, from the living %llu times\n",
        ull(kills_), ull(lives_that_sent_), ull(header.takeovers_dead),
        ull(header.takeovers_living));
    for (auto& [kind, figures] : teardown_) {
      figures.print(("from the kill of a " + kind + " until the kernel dropped its lock").c_str(),
                    "ms");
    }
    delay_.print("from then until a survivor's next send returned that did not wait", "ms");
    delay_with_lock_.print("the same, of sends that had to wait for the lock", "ms");
    for (const WitnessPage& page : crowd_.pages().witnesses) {
      std::printf(
          "a witness heard %llu frames (%llu from a capture, %llu of hosts), lost %llu in "
          "%llu overruns\n",
          ull(page.all), ull(page.recorded), ull(page.foreign), ull(page.lost), ull(page.overruns));
      EXPECT_LT(page.lost, page.all / 2) << "most of it could not be checked";
    }
    longest_.print("longest send of a survivor from the kill on", "ms");
    EXPECT_GT(delay_.count(), 0U);
    EXPECT_LT(std::max(delay_.max(), delay_with_lock_.max()), 10'000);
  }
  static unsigned long long ull(std::uint64_t v) { return v; }

  static constexpr std::chrono::seconds kPatience{20};
  std::mt19937_64 random_;
  Crowd crowd_{kRingBytes};
  const std::string capture_ = crowd_.bus().file("capture.pcap");
  std::uint64_t kills_ = 0, lives_that_sent_ = 0;
  std::string kind_;  ///< what is being killed
  std::map<std::string, Figures> teardown_;
  Figures delay_, delay_with_lock_, longest_;
};

TEST_F(Kill, PortsKilledAtRandomLoseNoFrameWhoseSendHadReturnedAndDelayNobody) {
  kill_at_random(from_environment("SHMIF_KILLS", kSanitized ? 60 : 276), [&] {
    const std::uint64_t dice = random_() % 100;
    if (dice < 40)
      kill_sender();
    else if (dice < 45)
      kill_unready_sender();
    else if (dice < 70)
      kill_two_senders();
    else if (dice < 80)
      kill_reader(WaitBy::futex);
    else if (dice < 90)
      kill_reader(WaitBy::descriptor);
    else
      kill_attacher();
  });
  judge();
  EXPECT_GT(lives_that_sent_, 0U);
}

TEST_F(Kill, HostsAndToolsKilledAtRandomLoseNoFrameWhoseSendHadReturnedAndDelayNobody) {
  if (!std::filesystem::exists(shmifctl_path()))
    GTEST_SKIP() << "the tools are not built under sanitizers";
  Tool host({shmifctl_path(), "exec", crowd_.bus().path(), "--ip", "198.18.0.1/24", "--", "sleep",
             "600"});
  if (!soon([&] { return slot_of_process(host.pid()).has_value(); }, kPatience)) {
    GTEST_SKIP() << "no hosts here: " << host.finish(std::chrono::seconds(1)).err;
  }
  kill_at_random(from_environment("SHMIF_TOOL_KILLS", 24), [&] {
    const std::uint64_t dice = random_() % 4;
    if (dice == 0)
      kill_inject();
    else if (dice == 1)
      kill_dump();
    else if (dice == 2)
      kill_host();
    else
      kill_sender();
  });
  host.signal(SIGTERM);
  EXPECT_FALSE(host.finish().timed_out);
  judge();
}

}  // namespace
}  // namespace shmif::test
