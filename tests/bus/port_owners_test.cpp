// Which process has a port, whatever the writers of the bus put into the port table.

#include "bus/repair/port_owners.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/files.hpp"
#include "bus/file/liveness.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/own_namespaces.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

/// A process with a port, which lives until the test kills it. `more` runs in it afterwards.
class Peer {
 public:
  Peer(
      const std::string& path, const std::string& name,
      const std::function<bool()>& more = [] { return true; })
      : child_([&] {
          static Port port;
          port = port_on(path, {.name = name});
          return more();
        }) {
    EXPECT_TRUE(child_.works());
  }
  pid_t pid() const { return child_.pid(); }
  bool lives() const { return ::kill(pid(), 0) == 0; }

 private:
  StayingChild child_;
};

/// The row that has this name now.
PortInfo row(const BusInfo& info, std::string_view name) {
  for (const PortInfo& each : info.ports) {
    if (each.name == name) return each;
  }
  ADD_FAILURE() << "no row " << name;
  return {};
}

void rename_row(const RawBus& raw, unsigned slot, const std::string& name) {
  char padded[bus::kNameBytes] = {};
  name.copy(padded, sizeof padded - 1);
  std::memcpy(raw.slot(slot).name, padded, sizeof padded);
}

/// Whether the pid in the row is proven; `why` is part of the reason if it is not.
void expect_refused(const BusInfo& info, const PortInfo& port, int number, const std::string& why) {
  bus::PortOwners owners(info);
  const auto proven = owners.prove(port);
  ASSERT_FALSE(proven) << port.name << ' ' << port.pid;
  EXPECT_EQ(proven.error().code, std::error_code(number, std::generic_category()));
  EXPECT_NE(proven.error().message.find(why), std::string::npos) << proven.error().message;
}

/// Takes a port's nameplate away, as if an older library had attached it.
bool take_nameplates_down() {
  std::ifstream maps("/proc/self/maps");
  bool any = false;
  for (std::string line; std::getline(maps, line);) {
    if (line.find("/memfd:shmif-port:") == std::string::npos) continue;
    const auto range = base::read_maps_line(line);
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel tells addresses as numbers
    any = ::munmap(reinterpret_cast<void*>(range->begin), range->end - range->begin) == 0;
  }
  return any;
}

bool shows_nameplate(const std::string& pid, const std::string& name) {
  std::ifstream maps("/proc/" + pid + "/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("/memfd:shmif-port:") != std::string::npos &&
        line.find(name + " (deleted)") != std::string::npos)
      return true;
  }
  return false;
}

TEST(Nameplate, StandsWhileThePortIsAttachedAndIsNoChilds) {
  const TempBus bus(small_ring());
  {
    const Port port = port_on(bus.path(), {.name = "web"});
    EXPECT_TRUE(shows_nameplate("self", ":web"));
    EXPECT_EQ(Child([] { return shows_nameplate("self", ":web") ? 1 : 0; }).wait(), 0);
  }
  EXPECT_FALSE(shows_nameplate("self", ":web"));
}

/// What a killed process leaves in the table.
void leave_a_dead_port(const TempBus& bus, const std::string& name) {
  EXPECT_EQ(Child([&] {
              const Port port = port_on(bus.path(), {.name = name});
              return raise(SIGKILL);
            }).wait(),
            128 + SIGKILL);
}

/// The process behind the pidfd, as the kernel shows it.
pid_t pid_of(const bus::PortOwner& owner) {
  std::ifstream info("/proc/self/fdinfo/" + std::to_string(owner.descriptor()));
  for (std::string word; info >> word;) {
    pid_t pid = -1;
    if (word == "Pid:" && info >> pid) return pid;
  }
  return -1;
}

TEST(PortOwners, KnowTheProcessesOfAllPortsAndSignalThem) {
  const TempBus bus(small_ring());
  const Port own = port_on(bus.path(), {.name = "own"});
  const Peer web(bus.path(), "web");
  const Peer db(bus.path(), "db");
  const BusInfo info = bus.info();
  bus::PortOwners owners(info);
  EXPECT_EQ(pid_of(owners.owner_of(row(info, "db")).value()), db.pid());
  const bus::PortOwner owner = owners.owner_of(row(info, "web")).value();
  EXPECT_EQ(pid_of(owner), web.pid());
  EXPECT_FALSE(owner.has_ended());
  ASSERT_TRUE(owner.signal(SIGKILL));
  EXPECT_TRUE(eventually([&] { return owner.has_ended(); }));
  // It is a zombie now.
  EXPECT_TRUE(owner.signal(SIGTERM)) << "what has ended needs no signal";
  bus::PortOwners later(info);
  EXPECT_NE(later.prove(row(info, "web")).error().message.find("has ended"), std::string::npos);
  const bus::PortOwner self = owners.owner_of(row(info, "own")).value();
  EXPECT_EQ(self.signal(0).error().code, Errc::bad_argument);
}

TEST(PortOwners, BelieveNoPidThatAWriterPutsIntoTheTable) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  const Peer web(bus.path(), "web");
  const Peer db(bus.path(), "db");
  const StayingChild bystander([] { return true; });
  const StayingChild looker([&] {
    static const RawBus other(bus.path());
    return true;
  });
  const unsigned slot = row(bus.info(), "web").slot;
  const auto expect = [&](pid_t pid, int number, const std::string& why) {
    raw.slot(slot).pid = static_cast<std::uint32_t>(pid);
    const BusInfo info = bus.info();
    expect_refused(info, row(info, "web"), number, why);
  };
  expect(bystander.pid(), ESRCH, "does not use this bus");
  expect(looker.pid(), ESRCH, "does not use this bus");
  expect(db.pid(), ESRCH, "other ports on this bus");
  expect(::getpid(), ESRCH, "does not use this bus");
  expect(0, ESRCH, "names no process");
  expect(-1, ESRCH, "names no process");
  expect(INT32_MIN, ESRCH, "names no process");
  constexpr pid_t kNoKernelHas = pid_t{1} << 22;  // PID_MAX_LIMIT
  expect(kNoKernelHas, ESRCH, "names no process");
  expect(INT32_MAX, ESRCH, "names no process");
  expect(kNoKernelHas - 1, ESRCH, "is not visible here");
  raw.slot(slot).pid = 1;
  const BusInfo info = bus.info();
  bus::PortOwners owners(info);
  EXPECT_FALSE(owners.prove(row(info, "web")));
}

TEST(PortOwners, AreNotMixedUpWhenRowsExchangeNames) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  const Peer web(bus.path(), "web");
  const Peer evil(bus.path(), "evil");
  const unsigned first = row(bus.info(), "web").slot;
  const unsigned second = row(bus.info(), "evil").slot;
  rename_row(raw, first, "evil");
  rename_row(raw, second, "web");
  const BusInfo info = bus.info();
  expect_refused(info, row(info, "web"), ESRCH, "other ports on this bus");
  expect_refused(info, row(info, "evil"), ESRCH, "other ports on this bus");
  std::swap(raw.slot(first).pid, raw.slot(second).pid);
  const BusInfo both = bus.info();
  expect_refused(both, row(both, "web"), ESRCH, "other ports on this bus");
}

TEST(PortOwners, BelieveNoMemfdThatAProgramMapsForOthers) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  const bus::FileId id{bus.info().device, bus.info().inode};
  const Peer device(bus.path(), "device", [&] {
    const int file = ::memfd_create(bus::nameplate_text(id, 0, "web").c_str(), MFD_CLOEXEC);
    return ::ftruncate(file, 4096) == 0 &&
           ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) != MAP_FAILED;
  });
  ASSERT_EQ(row(bus.info(), "device").slot, 0U);
  ASSERT_TRUE(shows_nameplate(std::to_string(device.pid()), ":web"));
  rename_row(raw, 0, "web");
  const BusInfo info = bus.info();
  expect_refused(info, row(info, "web"), ESRCH, "other ports on this bus");
}

TEST(PortOwners, AreNotMixedUpWhenTwoBusesHaveTheSameInodeNumber) {
  const OwnTmpfs here;
  const OwnTmpfs there;
  if (!here.missing().empty()) GTEST_SKIP() << here.missing();
  const std::string first = here.file("bus");
  const std::string second = there.file("bus");
  Bus::create(first, small_ring()).value();
  Bus::create(second, small_ring()).value();
  const auto info_of = [](const std::string& path) { return Bus::open(path).value().info(); };
  ASSERT_EQ(info_of(first).inode, info_of(second).inode) << "each tmpfs counts for itself";
  ASSERT_NE(info_of(first).device, info_of(second).device);
  const Peer peer(first, "web", [&] {
    static Port other;
    other = port_on(second, {.name = "db"});
    return true;
  });
  const BusInfo before = info_of(second);
  EXPECT_EQ(pid_of(bus::PortOwners(before).owner_of(row(before, "db")).value()), peer.pid());
  // Its nameplate "web" is that of the other bus.
  rename_row(RawBus(second), row(before, "db").slot, "web");
  const BusInfo after = info_of(second);
  expect_refused(after, row(after, "web"), ESRCH, "other ports on this bus");
}

TEST(PortOwners, BelieveNoNameplateThatDoesNotTellTheDevice) {
  const TempBus bus(small_ring());
  const std::string text = "shmif-port:" + std::to_string(bus.info().inode) + ":0:web";
  const Peer old(bus.path(), "web", [&] {
    const int file = ::memfd_create(text.c_str(), MFD_CLOEXEC);
    return take_nameplates_down() &&
           ::mmap(nullptr, 4096, PROT_NONE, MAP_SHARED, file, 0) != MAP_FAILED;
  });
  ASSERT_TRUE(shows_nameplate(std::to_string(old.pid()), ":0:web"));
  const BusInfo info = bus.info();
  expect_refused(info, row(info, "web"), EPERM, "do not tell on which device");
}

TEST(PortOwners, WithoutNameplatesAreKnownIfNoOtherRowNamesThem) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  const Peer old(bus.path(), "old", take_nameplates_down);
  const Peer web(bus.path(), "web");
  BusInfo info = bus.info();
  EXPECT_EQ(pid_of(bus::PortOwners(info).owner_of(row(info, "old")).value()), old.pid());
  raw.slot(row(info, "web").slot).pid = static_cast<std::uint32_t>(old.pid());
  info = bus.info();
  expect_refused(info, row(info, "web"), ESRCH, "more ports name it");
  expect_refused(info, row(info, "old"), ESRCH, "more ports name it");
}

TEST(PortOwners, WithoutNameplatesAreKnownBesideDeadRowsThatNameThem) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  leave_a_dead_port(bus, "web");
  const unsigned dead = row(bus.info(), "web").slot;
  const Peer old(bus.path(), "old", take_nameplates_down);
  ASSERT_NE(row(bus.info(), "old").slot, dead);
  raw.slot(dead).pid = static_cast<std::uint32_t>(old.pid());
  const BusInfo info = bus.info();
  ASSERT_FALSE(row(info, "web").live);
  EXPECT_EQ(pid_of(bus::PortOwners(info).owner_of(row(info, "old")).value()), old.pid());
}

TEST(PortOwners, WithoutNameplatesAreNotKnownIfTheyAreAnotherUsers) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: has two users";
  const TempBus bus(small_ring());
  const Peer old(bus.path(), "old",
                 [] { return take_nameplates_down() && ::setresuid(65001, 65001, 65001) == 0; });
  const BusInfo info = bus.info();
  expect_refused(info, row(info, "old"), EPERM, "is not yours");
}

TEST(PortOwners, OfDeadPortsAreNobodyAlsoIfTheNumberIsInUse) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  leave_a_dead_port(bus, "web");
  const Peer db(bus.path(), "db");
  raw.slot(row(bus.info(), "web").slot).pid = static_cast<std::uint32_t>(db.pid());
  const BusInfo info = bus.info();
  expect_refused(info, row(info, "web"), ESRCH, "is dead");
}

/// By all calls of read(2), of any file.
std::uint64_t bytes_this_thread_read() {
  std::ifstream file("/proc/thread-self/io");
  std::string word;
  std::uint64_t bytes = 0;
  file >> word >> bytes;
  EXPECT_EQ(word, "rchar:");
  return bytes;
}
/// What PortOwners reads beside the mappings, and the test itself; less than a process's part.
constexpr std::uint64_t kOtherFiles = 1U << 16U;

/// Maps a file so often, and under so long a name, that /proc/PID/maps has tens of megabytes.
bool map_without_end(const std::string& directory) {
  constexpr int kDepth = 15;
  constexpr int kMappings = 2000;
  const std::string name(250, '\n');  // of which the kernel makes "\012"
  if (::chdir(directory.c_str()) != 0) return false;
  for (int i = 0; i < kDepth; ++i) {
    if (::mkdir(name.c_str(), 0700) != 0 || ::chdir(name.c_str()) != 0) return false;
  }
  std::ofstream("x") << std::string(8192, 'x');
  const int file = ::open("x", O_RDWR | O_CLOEXEC);
  for (int i = 0; i < kMappings; ++i) {
    const int protection = i % 2 == 0 ? PROT_READ : PROT_READ | PROT_WRITE;  // else they join
    if (::mmap(nullptr, 4096, protection, MAP_SHARED, file, 0) == MAP_FAILED) return false;
  }
  return true;
}

TEST(PortOwners, ReadNoMoreOfAProcessThanTheySay) {
  const TempBus bus(small_ring());
  const TempDir directory;
  const RawBus raw(bus.path());
  const Peer web(bus.path(), "web");
  const StayingChild large([&] { return map_without_end(directory.path()); });
  ASSERT_TRUE(large.works());
  raw.slot(row(bus.info(), "web").slot).pid = static_cast<std::uint32_t>(large.pid());
  const BusInfo info = bus.info();
  bus::PortOwners owners(info);
  const std::uint64_t before = bytes_this_thread_read();
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(owners.prove(row(info, "web")).error().code.value(), E2BIG);
  }
  const std::uint64_t read = bytes_this_thread_read() - before;
  EXPECT_GE(read, bus::PortOwners::kMaxBytes);
  EXPECT_LE(read, bus::PortOwners::kMaxBytes + kOtherFiles);
}

/// Files as those of /proc, and a bus whose only port they may prove.
class OwnersByFiles : public ::testing::Test {
 protected:
  OwnersByFiles() {
    info_.device = ::makedev(0, 0x1a);
    info_.inode = 4711;
    info_.mapped_as = "00:1a 4711";
    set_self(std::to_string(::getpid()));
  }

  void set_self(const std::string& target) const {
    ::unlink(proc_.file("self").c_str());
    ASSERT_EQ(::symlink(target.c_str(), proc_.file("self").c_str()), 0);
  }
  std::string folder(pid_t pid) const { return proc_.file(std::to_string(pid)); }
  /// What a process shows: its mappings, and its users.
  void show(pid_t pid, const std::string& maps, const std::string& users) const {
    ::mkdir(folder(pid).c_str(), 0700);
    std::ofstream(folder(pid) + "/maps") << maps;
    std::ofstream(folder(pid) + "/status") << "Name:\tx\nUid:\t" << users << '\n';
  }
  /// The reason why the port is not that process's, or "proven".
  std::string looked(pid_t pid, int number = 0) {
    PortInfo port;
    port.slot = 3;
    port.name = "web";
    port.pid = pid;
    port.live = true;
    info_.ports = {port};
    const auto proven = bus::PortOwners(info_, proc_.path()).prove(port);
    if (proven) return "proven";
    EXPECT_EQ(proven.error().code, std::error_code(number, std::generic_category()));
    return proven.error().message;
  }
  std::string plate(const std::string& name) const {
    const bus::FileId id{.device = info_.device, .inode = info_.inode};
    return "7000-8000 ---s 00000000 00:01 99   /memfd:" + bus::nameplate_text(id, 3, name);
  }

  static constexpr const char* kLifeline = "1000-2000 ---s 00000000 00:1a 4711   /dev/shm/bus0\n";
  const std::string me_ = std::to_string(::geteuid());
  const std::string mine_ = me_ + ' ' + me_ + ' ' + me_ + ' ' + me_;
  const std::string name_ = "process " + std::to_string(::getpid());
  const TempDir proc_;
  BusInfo info_;
};

TEST_F(OwnersByFiles, AreThoseWhoseRealAndEffectiveUserWeAre) {
  const std::string other = std::to_string(::geteuid() + 1);
  const std::string why = name_ +
                          " shows no nameplate of its ports (an older shmif?), and is not yours "
                          "(ask its user, or end that process)";
  show(::getpid(), kLifeline, mine_);
  EXPECT_EQ(looked(::getpid()), "proven");
  show(::getpid(), kLifeline, other + ' ' + me_ + ' ' + me_ + ' ' + me_);
  EXPECT_EQ(looked(::getpid(), EPERM), why) << "the real user";
  show(::getpid(), kLifeline, me_ + ' ' + other + ' ' + me_ + ' ' + me_);
  EXPECT_EQ(looked(::getpid(), EPERM), why) << "the effective user";
  show(::getpid(), kLifeline, me_ + ' ' + me_ + ' ' + other + ' ' + other);
  EXPECT_EQ(looked(::getpid()), "proven") << "the other two do not matter";
  show(::getpid(), kLifeline, me_ + ' ' + me_);
  EXPECT_EQ(looked(::getpid(), EPERM), why) << "too few";
}

TEST_F(OwnersByFiles, AreNotTheFirstProcessWithoutANameplate) {
  show(1, kLifeline, mine_);
  EXPECT_EQ(looked(1, EPERM),
            "process 1 shows no nameplate of its ports (an older shmif?), and is not yours (ask "
            "its user, or end that process)");
  show(1, kLifeline + plate("web") + " (deleted)\n", mine_);
  EXPECT_EQ(looked(1), "proven") << "a nameplate proves it of any process";
}

TEST_F(OwnersByFiles, AreUnknownWhereProcessesHaveOtherNumbers) {
  show(::getpid(), kLifeline, mine_);
  const char* const kWhy = "/proc is not mounted, or that of another pid namespace";
  set_self(std::to_string(::getpid() + 1));
  EXPECT_EQ(looked(::getpid(), ENOENT), kWhy);
  set_self(std::to_string(::getpid()) + "x");
  EXPECT_EQ(looked(::getpid()), "proven") << "no number";
  ::unlink(proc_.file("self").c_str());
  EXPECT_EQ(looked(::getpid()), "proven") << "it says nothing";
  info_.mapped_as.clear();
  EXPECT_EQ(looked(::getpid(), ENOENT), kWhy);
}

TEST_F(OwnersByFiles, AreUnknownIfTheirMappingsCannotBeRead) {
  ASSERT_EQ(::mkdir(folder(::getpid()).c_str(), 0700), 0);
  EXPECT_EQ(looked(::getpid(), ENOENT),
            "the mappings of " + name_ + " cannot be read: No such file or directory");
  ASSERT_EQ(::mkdir((folder(::getpid()) + "/maps").c_str(), 0700), 0);
  EXPECT_EQ(looked(::getpid(), EISDIR),
            "the mappings of " + name_ + " cannot be read: Is a directory");
}

TEST_F(OwnersByFiles, AreKnownByPagesThatNobodyCanAccessFromTheBeginningOfTheFile) {
  const std::string none = name_ + " is another process here, which does not use this bus";
  for (const char* const kNoLifeline :
       {"1000-2000 rw-s 00000000 00:1a 4711   /dev/shm/bus0\n",
        "1000-2000 ---p 00000000 00:1a 4711   /dev/shm/bus0\n",
        "1000-2000 ---s 00001000 00:1a 4711   /dev/shm/bus0\n",
        "1000-2000 ---s 00000000 00:1b 4711   /dev/shm/bus0\n",
        "1000-2000 ---s 00000000 00:1a 47110   /dev/shm/bus0\n", ""}) {
    show(::getpid(), kNoLifeline, mine_);
    EXPECT_EQ(looked(::getpid(), ESRCH), none) << kNoLifeline;
  }
  const std::string others = name_ +
                             " has other ports on this bus, and not this one (somebody has "
                             "overwritten the port table)";
  show(::getpid(), kLifeline + plate("db") + " (deleted)\n" + plate("web") + " (renamed)\n",
       "9 9 9 9");
  EXPECT_EQ(looked(::getpid(), ESRCH), others) << "a file of that name is no memfd";
  show(::getpid(), kLifeline + plate("db") + " (deleted)\n" + plate("web") + " (deleted)\n",
       "9 9 9 9");
  EXPECT_EQ(looked(::getpid()), "proven") << "the second nameplate";
}

/// Lines do not end where a read does, and one that is too long is left out, and no other.
TEST_F(OwnersByFiles, AreKnownByLinesWhereverTheyStand) {
  const std::string line = kLifeline + plate("web") + " (deleted)\n";
  for (std::size_t before = 16384 - line.size(); before <= 16384; ++before) {
    show(::getpid(), std::string(before - 1, 'x') + '\n' + line, "9 9 9 9");
    ASSERT_EQ(looked(::getpid()), "proven") << before;
  }
}

TEST_F(OwnersByFiles, AreReadNoFurtherThanAllOfThemMayHaveInAll) {
  std::vector<std::unique_ptr<StayingChild>> children;
  std::vector<PortInfo> ports;
  for (unsigned i = 0; i < 10; ++i) {
    children.push_back(std::make_unique<StayingChild>([] { return true; }));
    ports.emplace_back();
    ports.back().live = true;
    ports.back().pid = children.back()->pid();
    show(ports.back().pid, "", mine_);
    ASSERT_EQ(
        ::truncate((folder(ports.back().pid) + "/maps").c_str(), 2 * bus::PortOwners::kMaxBytes),
        0);
  }
  info_.ports = ports;
  bus::PortOwners owners(info_, proc_.path());
  const std::uint64_t before = bytes_this_thread_read();
  for (const PortInfo& port : ports) {
    EXPECT_EQ(owners.prove(port).error().code, std::error_code(E2BIG, std::generic_category()));
  }
  const std::uint64_t read = bytes_this_thread_read() - before;
  EXPECT_GT(read, bus::PortOwners::kMaxBytes);
  EXPECT_LE(read, bus::PortOwners::kMaxBytesInAll + kOtherFiles);
}

TEST(PortOwners, AreNoThreadsOfOtherProcesses) {
  const TempBus bus(small_ring());
  const RawBus raw(bus.path());
  const Peer web(bus.path(), "web");
  std::atomic<pid_t> thread{0};
  std::atomic<bool> done{false};
  std::jthread other([&] {
    thread = static_cast<pid_t>(::syscall(SYS_gettid));
    thread.notify_one();
    done.wait(false);
  });
  thread.wait(0);
  raw.slot(row(bus.info(), "web").slot).pid = static_cast<std::uint32_t>(thread.load());
  const BusInfo info = bus.info();
  expect_refused(info, row(info, "web"), ESRCH,
                 "process " + std::to_string(thread) + " is a thread of another process here");
  done = true;
  done.notify_one();
}

TEST(PortOwner, SignalsNeitherTheFirstProcessNorItself) {
  const StayingChild child([] { return true; });
  const auto held = [&] {
    return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, child.pid(), 0U)));
  };
  const auto first = bus::PortOwner(1, held()).signal(SIGTERM);
  ASSERT_FALSE(first);
  EXPECT_EQ(first.error().code, Errc::bad_argument);
  EXPECT_EQ(first.error().message, "process 1 keeps the others alive");
  const auto self = bus::PortOwner(::getpid(), held()).signal(SIGTERM);
  ASSERT_FALSE(self);
  EXPECT_EQ(self.error().code, Errc::bad_argument);
  EXPECT_EQ(self.error().message, "that is this process itself");
  EXPECT_TRUE(bus::PortOwner(child.pid(), held()).signal(0));
}

}  // namespace
}  // namespace shmif::test
