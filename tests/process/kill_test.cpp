// Senders, readers, hosts and tools killed at random, while others send and witnesses check that
// every frame whose send had returned is there. What happens at every single instruction is in
// step_test.cpp.
//
// SHMIF_KILLS and SHMIF_TOOL_KILLS: how many kills (default 276 and 24).

#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>

#include "bus/file/liveness.hpp"
#include "shmif/receiver.hpp"
#include "tests/process/crowd.hpp"
#include "tests/process/witness.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_bus.hpp"

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

// Senders stopped at random, by a signal or by the freezer, while others send and witnesses check.
// What happens at every single instruction is in step_test.cpp.
//
// SHMIF_STOPS: how many stops (default 40).

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

// A process that overwrites random words of a live bus as fast as it can, while eight others use
// it in every way: none crashes, hangs or leaves the bus; they say `corrupt`; and a repair brings
// the traffic back.
//
// SHMIF_SCRIBBLE_SECONDS sets how long it scribbles; SHMIF_SCRIBBLE_SEED repeats a run's choices
// (not its interleaving).

using std::chrono::milliseconds;
using std::chrono::seconds;

/// In which everybody must have ended when told so, whatever stands in the file.
constexpr seconds kCeiling{60};
constexpr std::uint32_t kAfterRepair = 1000;  // frames that must come through then

enum class Phase : unsigned { scribble, settle, traffic, end };

struct Rig {
  std::atomic<Phase> phase{Phase::scribble};
  std::atomic<unsigned> ready{0}, settled{0}, ended{0};
  std::atomic<std::uint64_t> scribbles{0};
  std::atomic<std::uint64_t> sent{0}, refused{0}, heard{0}, corrupt{0}, looks{0}, cycles{0};
  std::array<std::atomic<std::uint32_t>, 3> next{};  ///< of each listener after the repair
  std::atomic<std::uint32_t> wrong{0};
};

/// Waits until the phase has come. Result: false when the test is over before that.
bool await_phase(const Rig& rig, Phase phase) {
  while (rig.phase < phase) std::this_thread::sleep_for(milliseconds(1));
  return rig.phase == phase;
}

// ---- The scribbler ----

/// A value that gets past the first check as often as not.
std::uint64_t nasty(std::mt19937_64& random, const bus::BusHeader& h, std::uint64_t old) {
  const std::uint64_t near = h.last + random() % 64 * bus::kRecordAlign;
  switch (random() % 9) {
    case 0: return random();
    case 1: return 0;
    case 2: return UINT64_MAX - random() % 4096;
    case 3: return old + random() % 128 - 64;
    case 4: return old ^ 1ULL << random() % 64;
    case 5: return bus::lock_word::next_held_by(old, static_cast<unsigned>(random() % 1023));
    case 6: return bus::word::pad(near, random() % 4096 * bus::kRecordAlign);
    case 7: return bus::word::frame(near, random() % 70000);
    default: return near;
  }
}

int scribble(const std::string& path, Rig& rig, std::uint64_t seed) {
  const RawBus raw(path);
  std::mt19937_64 random(seed);
  const bus::BusHeader& h = raw.header();
  auto* const words = reinterpret_cast<std::uint64_t*>(&raw.header());
  const std::size_t ring_words = raw.ring().bytes() / 8;
  ++rig.ready;
  for (std::uint64_t n = 0; rig.phase == Phase::scribble; ++n) {
    std::size_t at = 0;
    switch (random() % 4) {
      case 0: at = random() % 64; break;  // the words of the header
      case 1: at = (bus::kHeaderBytes + random() % 16 * 512) / 8 + random() % 64; break;
      case 2: at = random() % ((bus::kHeaderBytes + bus::kTableBytes) / 8); break;
      default: at = bus::kRingOffset / 8 + random() % ring_words; break;
    }
    if (random() % 4 == 0) {  // where the readers are just now
      const std::uint64_t p = h.last & (raw.ring().bytes() - 1) & ~std::uint64_t{7};
      at = (bus::kRingOffset + p) / 8 + random() % 8;
    }
    bus::store_relaxed(words[at], nasty(random, h, bus::load_relaxed(words[at])));
    ++rig.scribbles;
    // Bursts and pauses: without them nobody gets past the first check.
    if (n % 512 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 2000));
  }
  return 0;
}

// ---- The users ----

/// Counts what a listener is told in the traffic after the repair.
class Listener {
 public:
  Listener(Rig& rig, unsigned index) : rig_(rig), index_(index) {}
  void take(std::span<const FrameView> frames) {
    for (const FrameView& f : frames) {
      unsigned sum = 0;
      for (const std::byte b : f.bytes) sum += std::to_integer<unsigned>(b);
      if (f.size() > 1522 || sum > 1522 * 255) ++rig_.wrong;
      if (rig_.phase != Phase::traffic) continue;
      const auto n = check_numbered(f);
      if (!n || n->sender != kWitness) continue;  // of a sender from before the repair
      auto& next = rig_.next.at(index_);
      if (n->sequence != next) ++rig_.wrong;
      next = n->sequence + 1;
    }
    rig_.heard += frames.size();
  }
  static constexpr unsigned kWitness = 77;

 private:
  Rig& rig_;
  unsigned index_;
};

int listen(const std::string& path, Rig& rig, unsigned index, bool by_descriptor) {
  Port port = port_on(path, {.promiscuous = true});
  Listener listener(rig, index);
  FrameBatch batch;
  ++rig.ready;
  bool settled = false;
  while (rig.phase != Phase::end) {
    if (!settled && rig.phase == Phase::settle) settled = ++rig.settled != 0;
    batch.clear();
    const ReceiveResult got = port.receive(batch);
    listener.take(batch.frames());
    if (got.error) std::this_thread::sleep_for(milliseconds(1));
    if (got.frames != 0 || got.error) continue;
    if (!by_descriptor) {
      port.wait(milliseconds(20));
      continue;
    }
    const WaitHint hint = port.prepare_wait();
    pollfd entry{port.descriptor(), POLLIN, 0};
    if (!hint.ready) poll(&entry, 1, 20);
    port.finish_wait();
  }
  rig.corrupt += port.counters().corrupt;
  return 0;
}

int listen_by_thread(const std::string& path, Rig& rig, unsigned index) {
  Port port = port_on(path, {.promiscuous = true});
  Listener listener(rig, index);
  std::optional<Receiver> receiver;
  const auto callback = [&](std::span<const FrameView> frames) { listener.take(frames); };
  receiver.emplace(port, callback);
  ++rig.ready;
  bool settled = false;
  while (rig.phase != Phase::end) {
    if (!settled && rig.phase == Phase::settle) settled = ++rig.settled != 0;
    // It gives up after a second without anything but corruption.
    if (!receiver->running()) receiver.emplace(port, callback);
    std::this_thread::sleep_for(milliseconds(5));
  }
  receiver.reset();
  rig.corrupt += port.counters().corrupt;
  return 0;
}

int send(const std::string& path, Rig& rig, unsigned sender) {
  Port port = port_on(path);
  NumberedBatch batch(sender % 2 == 0 ? port.max_frame_bytes() : 560);  // these share records
  ++rig.ready;
  for (std::uint32_t sequence = 0; rig.phase == Phase::scribble; sequence += 16) {
    const SendResult sent = port.send(batch.make(sender, sequence, 16));
    rig.sent += sent.taken;
    if (sent.error) ++rig.refused;
    if (sent.error) std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  ++rig.settled;
  const bool traffic = await_phase(rig, Phase::traffic);
  static_cast<void>(port.send({}));  // any call shows again in the slot who the port is
  if (sender == 0 && traffic) {
    for (std::uint32_t n = 0; n < kAfterRepair;) {
      const SendResult sent = port.send(batch.make(Listener::kWitness, n, 4));
      if (sent.error) {
        std::fprintf(stderr, "after the repair: %s\n", sent.error.message().c_str());
        return 1;
      }
      n += static_cast<std::uint32_t>(sent.taken);
      // So slowly that nobody is overrun.
      while (rig.phase == Phase::traffic &&
             (n > rig.next[0] + 16 || n > rig.next[1] + 16 || n > rig.next[2] + 16)) {
        std::this_thread::sleep_for(std::chrono::microseconds(100));
      }
    }
  }
  await_phase(rig, Phase::end);
  rig.corrupt += port.counters().corrupt;
  return 0;
}

/// What the tools do: open, look, audit; and follow without a slot.
int look(const std::string& path, Rig& rig) {
  const Bus bus = Bus::open(path).value();
  FrameBatch batch;
  ++rig.ready;
  while (rig.phase == Phase::scribble) {
    static_cast<void>(bus.info());
    static_cast<void>(bus.audit());
    if (const auto again = Bus::open(path)) static_cast<void>(again->info());
    if (auto follower = Follower::open(path, Start::oldest)) {
      for (int i = 0; i < 20; ++i) {
        batch.clear();
        if (follower->receive(batch).error) break;
        follower->wait(milliseconds(1));
      }
    }
    ++rig.looks;
  }
  ++rig.settled;
  return 0;
}

/// Attaches and detaches; most often it is refused, the header being a scribble.
int come_and_go(const std::string& path, Rig& rig) {
  ++rig.ready;
  while (rig.phase == Phase::scribble) {
    Port port({.learn = true});
    if (port.attach(path)) {
      static_cast<void>(port.up());
      NumberedBatch batch(560);
      FrameBatch got;
      static_cast<void>(port.send(batch.make(9, 0, 4)));
      static_cast<void>(port.receive(got));
      static_cast<void>(port.set_promiscuous(true));
      static_cast<void>(port.down());
      ++rig.cycles;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  ++rig.settled;
  return 0;
}

// ---- The test ----

TEST(Scribbler, HarmsNobodyAndIsRepaired) {
  const std::uint64_t seed = from_environment("SHMIF_SCRIBBLE_SEED", std::random_device{}());
  const seconds time(from_environment("SHMIF_SCRIBBLE_SECONDS", 3));
  std::printf("SHMIF_SCRIBBLE_SEED=%llu\n", static_cast<unsigned long long>(seed));
  const TempBus bus(small_ring());
  Bus inside = Bus::open(bus.path(), Access::read_write).value();
  const Shared<Rig> rig;
  std::vector<Child> users;
  for (unsigned s = 0; s < 3; ++s) users.emplace_back([&, s] { return send(bus.path(), *rig, s); });
  users.emplace_back([&] { return listen(bus.path(), *rig, 0, false); });
  users.emplace_back([&] { return listen(bus.path(), *rig, 1, true); });
  users.emplace_back([&] { return listen_by_thread(bus.path(), *rig, 2); });
  users.emplace_back([&] { return look(bus.path(), *rig); });
  users.emplace_back([&] { return come_and_go(bus.path(), *rig); });
  ASSERT_TRUE(eventually([&] { return rig->ready == users.size(); }));
  Child scribbler([&] { return scribble(bus.path(), *rig, seed); });
  std::this_thread::sleep_for(time);

  rig->phase = Phase::settle;
  EXPECT_EQ(scribbler.wait(), 0);
  ASSERT_TRUE(eventually([&] { return rig->settled == users.size(); }, kCeiling))
      << "only " << rig->settled << " of " << users.size() << " came back";

  const auto repaired = inside.repair();
  ASSERT_TRUE(repaired) << repaired.error().message;
  rig->phase = Phase::traffic;
  EXPECT_TRUE(eventually(
      [&] {
        return rig->next[0] == kAfterRepair && rig->next[1] == kAfterRepair &&
               rig->next[2] == kAfterRepair;
      },
      kCeiling))
      << rig->next[0] << ", " << rig->next[1] << " and " << rig->next[2] << " frames were heard";
  EXPECT_TRUE(eventually([&] { return inside.audit().clean(); }));
  EXPECT_TRUE(is_clean(inside.audit()));
  EXPECT_TRUE(Bus::open(bus.path())) << "the header is not what it was";
  rig->phase = Phase::end;
  for (Child& user : users) EXPECT_EQ(user.wait(), 0);
  EXPECT_EQ(rig->wrong, 0U);
  EXPECT_GT(rig->corrupt, 0U);
  const auto number = [](std::uint64_t n) { return static_cast<unsigned long long>(n); };
  std::printf(
      "%llu scribbles; %llu frames sent, %llu batches refused, %llu frames heard, %llu times "
      "corrupt, %llu looks, %llu attaches\n",
      number(rig->scribbles), number(rig->sent), number(rig->refused), number(rig->heard),
      number(rig->corrupt), number(rig->looks), number(rig->cycles));
}

}  // namespace
}  // namespace shmif::test
