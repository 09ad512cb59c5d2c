// What becomes of ports when somebody truncates, grows, deletes, replaces or overwrites their file,
// when its mount goes away or may be read only, when the disk is full, or when one of them dies of
// a limit of memory. Each answer is a clear error or service that goes on.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/own_namespaces.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

using std::chrono::milliseconds;

void copy_over(const std::string& from, const std::string& to) {
  std::filesystem::copy_file(from, to, std::filesystem::copy_options::overwrite_existing);
}

/// What who is attached gets then.
enum class Then : std::uint8_t {
  goes_on,  ///< as if nothing had happened
  error,    ///< every call answers with an error
  resumes,  ///< corruption is counted, and what is sent from then on arrives
};

/// What somebody does to the file of a bus that is in use.
struct Event {
  const char* name;
  std::function<void(const OwnTmpfs&, const std::string& bus)> happens;
  Then then;
  const char* attach_says;  ///< a part of the message for who attaches afterwards; nullptr: welcome
};

std::ostream& operator<<(std::ostream& out, const Event& event) {
  return out << event.name;
}

std::uint64_t half(const std::string& bus) {
  return std::filesystem::file_size(bus) / 2;
}

std::vector<Event> events() {
  using std::filesystem::file_size;
  using std::filesystem::resize_file;
  return {
      {"TruncatedToNothing", [](const auto&, const auto& bus) { resize_file(bus, 0); }, Then::error,
       nullptr},  // a bus of NetBSD's format is made there
      {"TruncatedToTheHeader", [](const auto&, const auto& bus) { resize_file(bus, 4096); },
       Then::error, "truncated"},
      {"TruncatedInTheMiddle", [](const auto&, const auto& bus) { resize_file(bus, half(bus)); },
       Then::error, "truncated"},
      {"TruncatedAndGrownAgain",
       [](const auto&, const auto& bus) {
         const std::uint64_t size = file_size(bus);
         resize_file(bus, 0);
         resize_file(bus, size);
       },
       Then::error, "is not a shmif bus"},
      {"Grown",
       [](const auto&, const auto& bus) { resize_file(bus, file_size(bus) + (1U << 20U)); },
       Then::goes_on, "extended"},
      {"Deleted", [](const auto&, const auto& bus) { std::filesystem::remove(bus); }, Then::goes_on,
       "No such file"},
      {"ReplacedByAnotherBus",
       [](const OwnTmpfs& tmpfs, const auto& bus) {
         Bus::create(tmpfs.file("other"), small_ring()).value();
         std::filesystem::rename(tmpfs.file("other"), bus);
       },
       Then::goes_on, nullptr},
      {"ReplacedByAnotherFile",
       [](const OwnTmpfs& tmpfs, const auto& bus) {
         std::ofstream(tmpfs.file("letter")) << "dear all";
         std::filesystem::rename(tmpfs.file("letter"), bus);
       },
       Then::goes_on, "is not a shmif bus"},
      {"ReplacedByACopyOfItself",
       [](const OwnTmpfs& tmpfs, const auto& bus) {
         std::filesystem::copy_file(bus, tmpfs.file("copy"));
         std::filesystem::rename(tmpfs.file("copy"), bus);
       },
       Then::goes_on, "is a copy"},
      {"Copied",
       [](const OwnTmpfs& tmpfs, const auto& bus) {
         std::filesystem::copy_file(bus, tmpfs.file("copy"));
       },
       Then::goes_on, nullptr},
      {"OverwrittenByAnotherBus",
       [](const OwnTmpfs& tmpfs, const auto& bus) {
         Bus::create(tmpfs.file("other"), small_ring()).value();
         copy_over(tmpfs.file("other"), bus);
       },
       Then::resumes, "is a copy"},
      {"OverwrittenByNoise",
       [](const auto&, const auto& bus) {
         std::fstream file(bus, std::ios::in | std::ios::out | std::ios::binary);
         for (std::uint64_t left = file_size(bus) / 4; left > 0; --left) {
           const int word = std::rand();  // NOLINT: any bytes will do
           file.write(reinterpret_cast<const char*>(&word), sizeof word);
         }
       },
       Then::error, "is not a shmif bus"},
  };
}

class VanishingFile : public ::testing::TestWithParam<Event> {
 protected:
  void SetUp() override {
    if (!tmpfs.missing().empty()) GTEST_SKIP() << tmpfs.missing();
    Bus::create(path(), small_ring()).value();
  }
  std::string path() const { return tmpfs.file("bus"); }

  OwnTmpfs tmpfs;
};

INSTANTIATE_TEST_SUITE_P(When, VanishingFile, ::testing::ValuesIn(events()),
                         [](const auto& each) { return each.param.name; });

/// Two ports and a follower. Says what they hear of a frame: that is `none` as long as it arrives.
struct Company {
  explicit Company(const std::string& path)
      : from(port_on(path, {.name = "from"})),
        to(port_on(path, {.name = "to"})),
        follower(Follower::open(path, Start::now).value()) {}

  /// Sends a frame and looks for it. Result: the first error; timed_out when none was told, and
  /// still nothing came.
  std::error_code exchange() {
    if (const SendResult sent = from.send(frames.make(1, sequence++, 1)); sent.error)
      return sent.error;
    for (const auto& receive :
         {std::function<ReceiveResult()>([&] { return to.receive(heard); }),
          std::function<ReceiveResult()>([&] { return follower.receive(heard); })}) {
      heard.clear();
      const ReceiveResult received = receive();
      if (received.error) return received.error;
      if (received.frames != 1) return Errc::timed_out;
    }
    return {};
  }
  /// Whether each of the three says that the bus is not what it was. A port that seems to be down,
  /// or to hear nothing, does not say so.
  bool all_say_so() {
    const std::error_code sent = from.send(frames.make(1, sequence++, 1)).error;
    const std::error_code to_heard = to.receive(heard).error;
    const std::error_code follower_heard = follower.receive(heard).error;
    const auto says_so = [](const std::error_code& error) {
      return error == Errc::bus_lost || error == Errc::corrupt;
    };
    return says_so(sent) && says_so(to_heard) && says_so(follower_heard);
  }
  /// So that the bus is no fresh one any more.
  std::error_code use_for_a_while() {
    std::error_code error;
    for (unsigned i = 0; i < 100 && !error; ++i) error = exchange();
    return error;
  }
  /// Everything else that a port can do; whatever it answers, it must answer.
  void do_the_rest() {
    static_cast<void>(to.wait(milliseconds(20)));
    static_cast<void>(follower.wait(milliseconds(20)));
    static_cast<void>(to.descriptor());
    if (!to.prepare_wait().ready) to.finish_wait();
    static_cast<void>(to.link());
    static_cast<void>(to.counters());
    static_cast<void>(to.set_mac(MacAddress::from_u64(0x020000000077)));
    static_cast<void>(to.set_promiscuous(true));
    static_cast<void>(to.down());
    static_cast<void>(to.up());
  }

  Port from;
  Port to;
  Follower follower;
  NumberedBatch frames{60};
  FrameBatch heard;
  std::uint32_t sequence = 0;
};

TEST_P(VanishingFile, PortsGoOnOrAnswerWithAnErrorAndWhoComesLaterIsTold) {
  const Shared<std::atomic<int>> step;
  Child child([&] {
    no_core();
    if (!install_sigbus_guard()) return 1;
    Company company(path());
    if (company.use_for_a_while()) return 2;
    *step = 1;
    while (*step == 1) std::this_thread::sleep_for(milliseconds(1));
    for (unsigned i = 0; i < (GetParam().then == Then::error ? 20 : 2000); ++i) {  // many laps
      const std::error_code error = company.exchange();
      if (GetParam().then == Then::resumes && i < 20) continue;
      if (error == Errc::timed_out ||
          static_cast<bool>(error) != (GetParam().then == Then::error)) {
        std::fprintf(stderr, "after %u frames: %s\n", i, error.message().c_str());
        return 3;
      }
    }
    if (GetParam().then == Then::error && !company.all_say_so()) return 6;
    if (GetParam().then == Then::resumes && company.to.counters().corrupt == 0) return 4;
    company.do_the_rest();
    const bool linked = company.from.link().value().still_named;
    for (Port* port : {&company.from, &company.to}) {
      if (port->down() || port->detach()) return 8;
    }
    const bool names_it = GetParam().then == Then::goes_on && GetParam().attach_says == nullptr &&
                          GetParam().name != std::string("ReplacedByAnotherBus");
    if (names_it && !linked) return 5;
    return 0;
  });
  ASSERT_TRUE(eventually([&] { return *step == 1; }));
  GetParam().happens(tmpfs, path());
  *step = 2;
  EXPECT_EQ(child.wait(), 0);
  Port late;
  const Result<void> attached = late.attach(path());
  if (GetParam().attach_says == nullptr) {
    EXPECT_TRUE(attached) << attached.error().message;
  } else {
    ASSERT_FALSE(attached);
    EXPECT_NE(attached.error().message.find(GetParam().attach_says), std::string::npos)
        << attached.error().message;
  }
}

TEST_P(VanishingFile, WithoutTheGuardOnlyATruncationEndsTheProcess) {
  const Shared<std::atomic<int>> step;
  Child child([&] {
    no_core();
    signal(SIGBUS, SIG_DFL);  // sanitizers have a handler
    Company company(path());
    if (company.use_for_a_while()) return 2;
    *step = 1;
    while (*step == 1) std::this_thread::sleep_for(milliseconds(1));
    const bool failed = static_cast<bool>(company.exchange());
    company.do_the_rest();
    return failed == (GetParam().then == Then::goes_on) ? 1 : 0;
  });
  ASSERT_TRUE(eventually([&] { return *step == 1; }));
  GetParam().happens(tmpfs, path());
  *step = 2;
  const std::string name = GetParam().name;
  const bool truncated = name == "TruncatedToNothing" || name == "TruncatedToTheHeader" ||
                         name == "TruncatedInTheMiddle";
  EXPECT_EQ(child.wait(), truncated ? 128 + SIGBUS : 0);
}

TEST_P(VanishingFile, FlatOutTrafficEndsInErrorsOrGoesOn) {
  constexpr unsigned kRounds = 3;
  constexpr int kTold = 10;  // no status that a crash or a sanitizer ends with
  for (unsigned round = 0; round < kRounds; ++round) {
    SCOPED_TRACE(round);
    std::filesystem::remove(path());
    std::filesystem::remove(tmpfs.file("copy"));
    std::filesystem::remove(tmpfs.file("other"));
    Bus::create(path(), small_ring()).value();
    const Shared<std::atomic<unsigned>> ready;
    const Shared<std::atomic<bool>> stop;
    const auto sends = [&](unsigned number) {
      no_core();
      if (!install_sigbus_guard()) return 1;
      Port port = port_on(path(), {.name = "s" + std::to_string(number)});
      NumberedBatch frames(1514);
      ++*ready;
      for (std::uint32_t i = 0; !*stop; i += 8) {
        if (port.send(frames.make(number, i, 8)).error) return kTold;
      }
      return 0;
    };
    const auto hears = [&](auto&& listener) {
      FrameBatch heard;
      ++*ready;
      while (!*stop) {
        heard.clear();
        const ReceiveResult received = listener.receive(heard);
        if (received.error) return kTold;
        for (const FrameView& frame : heard.frames()) {
          if (GetParam().then == Then::goes_on && !check_numbered(frame)) return 2;
        }
        if (received.frames == 0) listener.wait(milliseconds(50));
      }
      return 0;
    };
    std::vector<Child> children;
    children.emplace_back([&] { return sends(1); });
    children.emplace_back([&] { return sends(2); });
    children.emplace_back([&] {
      no_core();
      if (!install_sigbus_guard()) return 1;
      return hears(port_on(path(), {.name = "r"}));
    });
    children.emplace_back([&] {
      no_core();
      if (!install_sigbus_guard()) return 1;
      return hears(Follower::open(path(), Start::now).value());
    });
    ASSERT_TRUE(eventually([&] { return *ready == 4; }));
    std::this_thread::sleep_for(milliseconds(5));
    GetParam().happens(tmpfs, path());
    // Who was told stops by itself; the others go on until they are told to.
    std::this_thread::sleep_for(milliseconds(GetParam().then == Then::goes_on ? 20 : 100));
    *stop = true;
    for (Child& child : children) {
      const int status = child.wait();
      EXPECT_TRUE(status == 0 || status == kTold) << status << ": a crash, or a frame torn";
      if (GetParam().then == Then::goes_on) {
        EXPECT_EQ(status, 0);
      }
    }
  }
}

class OnATmpfs : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!tmpfs.missing().empty()) GTEST_SKIP() << tmpfs.missing();
  }
  std::string path() const { return tmpfs.file("bus"); }

  OwnTmpfs tmpfs;
};

TEST_F(OnATmpfs, APortDeepAsleepNoticesThatItsBusWasTruncated) {
  Bus::create(path(), small_ring()).value();
  const Shared<std::atomic<int>> step;
  Child child([&] {
    no_core();
    if (!install_sigbus_guard()) return 1;
    Port port = port_on(path());
    *step = 1;
    port.wait(std::chrono::nanoseconds::max());
    FrameBatch heard;
    return port.receive(heard).error == Errc::bus_lost ? 0 : 1;
  });
  ASSERT_TRUE(eventually([&] { return *step == 1; }));
  std::this_thread::sleep_for(milliseconds(1500));  // until it sleeps without looking up
  std::filesystem::resize_file(path(), 0);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  siginfo_t info{};
  while (waitid(P_PID, static_cast<id_t>(child.pid()), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid == 0 && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(milliseconds(10));
  }
  ASSERT_NE(info.si_pid, 0) << "it sleeps for ever";
  EXPECT_EQ(child.wait(), 0);
}

TEST_F(OnATmpfs, OnAFullDiskEverythingWorksButCreate) {
  Bus::create(path(), small_ring()).value();
  tmpfs.fill();
  Company company(path());
  for (unsigned i = 0; i < 2000; ++i) ASSERT_FALSE(company.exchange());
  // A sleeper with a descriptor is rung by a write into the file.
  pollfd bell{company.to.descriptor(), POLLIN, 0};
  ASSERT_GE(bell.fd, 0);
  ASSERT_FALSE(company.to.prepare_wait().ready);
  ASSERT_FALSE(company.from.send(company.frames.make(1, 0, 1)).error);
  EXPECT_EQ(poll(&bell, 1, 20000), 1);
  company.to.finish_wait();
  company.heard.clear();
  EXPECT_EQ(company.to.receive(company.heard).frames, 1U);
  EXPECT_EQ(company.follower.receive(company.heard).frames, 1U);
  EXPECT_TRUE(is_clean(Bus::open(path()).value().audit()));
  EXPECT_TRUE(Bus::open(path(), Access::read_write).value().repair());
  const Result<void> second = Bus::create(tmpfs.file("second"), small_ring());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, std::errc::no_space_on_device);
  EXPECT_FALSE(std::filesystem::exists(tmpfs.file("second")));
  EXPECT_TRUE(Bus::destroy(path(), true));
  EXPECT_FALSE(std::filesystem::exists(path()));
  EXPECT_FALSE(company.exchange()) << "who is attached goes on";
}

TEST_F(OnATmpfs, AMountWithLivePortsStaysWritable) {
  Bus::create(path(), small_ring()).value();
  Company company(path());
  EXPECT_EQ(tmpfs.remount(MS_RDONLY), EBUSY);
  EXPECT_EQ(tmpfs.remount(MS_RDONLY | MS_BIND), EBUSY);
  for (unsigned i = 0; i < 2000; ++i) ASSERT_FALSE(company.exchange());
}

TEST_F(OnATmpfs, ListenersOutliveAMountThatTurnsReadOnlyAndBack) {
  Bus::create(path(), small_ring()).value();
  Follower follower = Follower::open(path(), Start::now).value();
  FrameBatch heard;
  ASSERT_EQ(tmpfs.remount(MS_RDONLY), 0);
  EXPECT_FALSE(follower.receive(heard).error);
  Port port;
  const Result<void> refused = port.attach(path());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, std::errc::read_only_file_system);
  EXPECT_FALSE(Bus::destroy(path(), false));
  EXPECT_TRUE(is_clean(Bus::open(path()).value().audit()));
  ASSERT_EQ(tmpfs.remount(0), 0);
  ASSERT_TRUE(port.attach(path()));
  ASSERT_FALSE(port.up());
  NumberedBatch frames(60);
  ASSERT_FALSE(port.send(frames.make(1, 0, 1)).error);
  EXPECT_EQ(follower.receive(heard).frames, 1U);
}

TEST_F(OnATmpfs, AMountThatIsTakenAwayLeavesItsPortsAlone) {
  Bus::create(path(), small_ring()).value();
  Company company(path());
  ASSERT_EQ(tmpfs.unmount_lazily(), 0);
  for (unsigned i = 0; i < 2000; ++i) ASSERT_FALSE(company.exchange());
  EXPECT_FALSE(company.from.link().value().still_named);
}

/// A control group that may hold `bytes` of memory; none where groups cannot be made.
class MemoryGroup {
 public:
  explicit MemoryGroup(std::size_t bytes) {
    const std::string name = "/shmif-test-" + std::to_string(getpid());
    const bool second = access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0;
    const std::string path = (second ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory") + name;
    if (mkdir(path.c_str(), 0755) != 0) return;
    path_ = path;
    limited_ = write(second ? "memory.max" : "memory.limit_in_bytes", std::to_string(bytes));
    if (second) write("memory.swap.max", "0");
  }
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;
  ~MemoryGroup() {
    if (!path_.empty()) eventually([&] { return rmdir(path_.c_str()) == 0 || errno == ENOENT; });
  }
  bool works() const { return limited_; }
  bool enter() const { return write("cgroup.procs", std::to_string(getpid())); }

 private:
  bool write(const std::string& file, const std::string& text) const {
    std::ofstream out(path_ + '/' + file);
    out << text << std::flush;
    return out.good();
  }
  std::string path_;
  bool limited_ = false;
};

/// Sends flat out in one thread, and eats memory in another until that ends the process.
int eat_until_dead(const std::string& path, std::atomic<bool>& sends) {
  no_core();
  Port port = port_on(path, {.name = "hungry"});
  std::thread([&] {
    NumberedBatch frames(1514);
    for (std::uint32_t i = 0;; i += 8) {  // runs until the process is dead
      static_cast<void>(port.send(frames.make(2, i, 8)));
      sends = true;
    }
  }).detach();
  while (!sends) std::this_thread::yield();
  for (unsigned i = 0; i < 4096; ++i) {
    void* const eaten = std::malloc(1U << 20U);  // NOLINT: never given back
    if (eaten == nullptr) std::abort();
    std::memset(eaten, 1, 1U << 20U);
  }
  return 0;
}

void expect_others_work(Company& company, const std::string& path) {
  for (unsigned i = 0; i < 2000; ++i) ASSERT_FALSE(company.exchange());
  for (const PortInfo& each : Bus::open(path).value().info().ports) {
    EXPECT_EQ(each.live, each.name != "hungry") << each.name;
  }
  EXPECT_TRUE(is_clean(Bus::open(path).value().audit()));
}

TEST_F(OnATmpfs, AProcessThatTheKernelKillsForItsMemoryLeavesTheOthersWorking) {
  if (kSanitized) GTEST_SKIP() << "shadow memory needs more than the limit, under sanitizers";
  const MemoryGroup group(32U << 20U);
  if (!group.works()) GTEST_SKIP() << "no control group for memory can be made here";
  Bus::create(path(), small_ring()).value();
  for (unsigned round = 0; round < 3; ++round) {
    const Shared<std::atomic<bool>> sends;
    Child hungry([&] { return group.enter() ? eat_until_dead(path(), *sends) : 1; });
    ASSERT_EQ(hungry.wait(), 128 + SIGKILL);
    ASSERT_TRUE(*sends);
    Company company(path());
    EXPECT_FALSE(company.from.set_promiscuous(true));
    expect_others_work(company, path());
  }
}

TEST_F(OnATmpfs, AProcessThatGetsNoMoreMemoryLeavesTheOthersWorking) {
  if (kSanitized) GTEST_SKIP() << "address space is not limited under sanitizers";
  Bus::create(path(), small_ring()).value();
  const Shared<std::atomic<bool>> sends;
  Child hungry([&] {
    const rlimit little{256U << 20U, 256U << 20U};
    setrlimit(RLIMIT_AS, &little);
    return eat_until_dead(path(), *sends);
  });
  ASSERT_EQ(hungry.wait(), 128 + SIGABRT);
  ASSERT_TRUE(*sends);
  Company company(path());
  expect_others_work(company, path());
}

TEST_F(OnATmpfs, ABusThatItsCreatorsMemoryCannotHoldIsNotLeftHalfMade) {
  if (kSanitized) GTEST_SKIP() << "shadow memory needs more than the limit, under sanitizers";
  const MemoryGroup group(8U << 20U);
  if (!group.works()) GTEST_SKIP() << "no control group for memory can be made here";
  Child creator([&] {
    if (!group.enter()) return 1;
    return Bus::create(path(), {.ring_bytes = 8U << 20U}) ? 2 : 0;
  });
  const int status = creator.wait();
  EXPECT_TRUE(status == 0 || status == 128 + SIGKILL) << status;
  EXPECT_TRUE(std::filesystem::is_empty(tmpfs.path()));
}

}  // namespace
}  // namespace shmif::test
