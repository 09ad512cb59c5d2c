// Users who share a machine: what the file's mode keeps others out of, and what nobody achieves by
// putting links, FIFOs and other files where a bus is, or is about to be.

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <vector>

#include "tests/support/child_process.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

namespace fs = std::filesystem;

struct User {
  uid_t uid;
  gid_t gid;
};
constexpr User kAlice{1000, 1000};
constexpr User kInHerGroup{1001, 1000};
constexpr User kStranger{1001, 1001};

/// Turns this process into one of `user`'s, as logging in would.
void become(const User& user) {
  if (setgroups(0, nullptr) != 0 || setresgid(user.gid, user.gid, user.gid) != 0 ||
      setresuid(user.uid, user.uid, user.uid) != 0) {
    throw std::runtime_error("cannot become another user");
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // changed credentials clear it
  prctl(PR_SET_DUMPABLE, 1);         // what exec would do; without it /proc/self belongs to root
}

/// Runs `body` as `user`. Result: what it returned, or 128 plus the signal that ended it.
int as(const User& user, const std::function<int()>& body) {
  Child child([&] {
    become(user);
    return body();
  });
  return child.wait();
}

bool was_denied(const Error& error) {
  return error.code == std::errc::permission_denied ||
         error.code == std::errc::operation_not_permitted;
}

/// Which of the things that one can do with a bus somebody was let do, a letter each.
std::string what_may_be_done(const std::string& path) {
  std::string done;
  Port port;
  if (const Result<void> r = port.attach(path)) {
    done += 'a';
    if (!port.up()) {
      NumberedBatch frames(60);
      if (!port.send(frames.make(1, 0, 1)).error) done += 's';
    }
  } else if (!was_denied(r.error())) {
    return r.error().message;
  }
  if (const auto r = Follower::open(path, Start::now)) {
    done += 'f';
  } else if (!was_denied(r.error())) {
    return r.error().message;
  }
  if (const auto r = Bus::open(path)) {
    done += 'l';
    if (r->audit().clean()) done += 'u';
  } else if (!was_denied(r.error())) {
    return r.error().message;
  }
  if (auto r = Bus::open(path, Access::read_write)) {
    if (r->repair()) done += 'r';
  } else if (!was_denied(r.error())) {
    return r.error().message;
  }
  return done;
}
constexpr const char* kEverything = "asflur";
constexpr const char* kOnlyLooking = "flu";
constexpr const char* kNothing = "";

/// A port that is gone has freed its slot, but the table still says how far it was used.
bool nobody_ever_attached(const RawBus& bus) {
  return bus.header().slots_used == 0;
}
bool nobody_ever_attached(const std::string& path) {
  return nobody_ever_attached(RawBus(path));
}

class TwoUsers : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root, to be two users";
    ASSERT_EQ(chmod(dir.path().c_str(), 01777), 0);
  }
  void alice_makes(const std::string& path, std::uint32_t mode) const {
    ASSERT_EQ(as(kAlice,
                 [&] {
                   umask(0777);  // the mode is what was asked for, whatever this says
                   BusOptions options = small_ring();
                   options.mode = mode;
                   return Bus::create(path, options) ? 0 : 1;
                 }),
              0);
  }
  void expect_may(const User& user, const std::string& path, const char* what) const {
    const Shared<std::array<char, 256>> said;
    EXPECT_EQ(as(user,
                 [&] {
                   what_may_be_done(path).copy(said->data(), said->size() - 1);
                   return 0;
                 }),
              0);
    EXPECT_STREQ(said->data(), what) << "as user " << user.uid << ", group " << user.gid;
  }
  ino_t inode_of(const std::string& path) const {
    struct stat status{};
    return lstat(path.c_str(), &status) == 0 ? status.st_ino : 0;
  }

  TempDir dir;
};

TEST_F(TwoUsers, TheModeOfTheFileSaysWhoMayDoWhat) {
  struct Row {
    std::uint32_t mode;
    const char* group;
    const char* others;
  };
  for (const Row& row : {Row{0600, kNothing, kNothing}, Row{0640, kOnlyLooking, kNothing},
                         Row{0660, kEverything, kNothing}, Row{0644, kOnlyLooking, kOnlyLooking},
                         Row{0666, kEverything, kEverything}}) {
    SCOPED_TRACE(testing::Message() << "mode " << std::oct << row.mode);
    const std::string path = dir.file("bus" + std::to_string(row.mode));
    alice_makes(path, row.mode);
    struct stat status{};
    ASSERT_EQ(stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, row.mode);
    expect_may(kAlice, path, kEverything);
    expect_may(kInHerGroup, path, row.group);
    expect_may(kStranger, path, row.others);
  }
}

TEST_F(TwoUsers, ABusOfMode0600IsNeitherMadeOverNorRemovedByOthers) {
  const std::string path = dir.file("bus");
  for (const mode_t directory : {mode_t{01777}, mode_t{0777}}) {
    ASSERT_EQ(chmod(dir.path().c_str(), directory), 0);
    alice_makes(path, 0600);
    const ino_t inode = inode_of(path);
    EXPECT_EQ(as(kStranger,
                 [&] {
                   const Result<void> made = Bus::create(path, small_ring());
                   if (made || made.error().code != make_error_code(Errc::exists)) return 1;
                   if (Bus::create_if_missing(path, small_ring(), false, false)) return 2;
                   for (const bool force : {false, true}) {
                     const Result<void> gone = Bus::destroy(path, force);
                     if (gone || !was_denied(gone.error())) return 3;
                   }
                   return 0;
                 }),
              0);
    EXPECT_EQ(inode_of(path), inode);
    EXPECT_TRUE(is_clean(Bus::open(path).value().audit()));
    ASSERT_EQ(as(kAlice, [&] { return Bus::destroy(path, false) ? 0 : 1; }), 0);
  }
}

TEST_F(TwoUsers, WhoWantsABusOfHisOwnWhereAllMayPutFilesTakesThatOfTheOwnerOfTheDirectory) {
  const std::string path = dir.file("bus");
  ASSERT_EQ(chmod(dir.path().c_str(), 01777), 0);
  alice_makes(path, 0666);
  const auto refused = [&] {
    return as(kStranger, [&] {
      const auto made = Bus::create_if_missing(path, small_ring(), false, false);
      return made ? 0 : was_denied(made.error()) ? 1 : 2;
    });
  };
  EXPECT_EQ(refused(), 1) << "somebody else's may be a trap";
  ASSERT_EQ(chown(path.c_str(), 0, 0), 0);
  EXPECT_EQ(refused(), 0) << "as in /dev/shm, which is root's";
  ASSERT_EQ(chown(dir.path().c_str(), kAlice.uid, kAlice.gid), 0);
  EXPECT_EQ(refused(), 1);
  ASSERT_EQ(chown(path.c_str(), kAlice.uid, kAlice.gid), 0);
  EXPECT_EQ(refused(), 0);
  ASSERT_EQ(chown(dir.path().c_str(), 0, 0), 0);
  ASSERT_EQ(chown(path.c_str(), kStranger.uid, kStranger.gid), 0);
  EXPECT_EQ(refused(), 0) << "his own";
}

TEST_F(TwoUsers, WhoMayUseABusInAStickyDirectoryMayNotRemoveIt) {
  const std::string path = dir.file("bus");
  alice_makes(path, 0666);
  EXPECT_EQ(as(kStranger,
               [&] {
                 const Result<void> gone = Bus::destroy(path, false);
                 if (gone || !was_denied(gone.error())) return 1;
                 constexpr const char* kWhoMay =
                     "only the file's owner, user 1000, and the directory's owner, user 0, ";
                 return gone.error().message.find(kWhoMay) != std::string::npos ? 0 : 2;
               }),
            0);
  EXPECT_TRUE(is_clean(Bus::open(path).value().audit()));
}

TEST_F(TwoUsers, WhoMayOnlyReadHoldsUpNewPortsAtMostAndNeverThoseThatAreThere) {
  const std::string path = dir.file("bus");
  alice_makes(path, 0644);
  Port from = port_on(path, {.name = "from"});
  Port to = port_on(path, {.name = "to"});
  ASSERT_EQ(Child([&] {
              const Port port = port_on(path);
              return raise(SIGKILL);
            }).wait(),
            128 + SIGKILL);
  const Shared<std::atomic<bool>> locked;
  Child reader([&] {
    become(kStranger);
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct flock all{};
    all.l_type = F_RDLCK;
    all.l_whence = SEEK_SET;
    *locked = fcntl(fd, F_OFD_SETLK, &all) == 0;
    if (!*locked) {  // those that live have write locks there; the rest it can have
      all.l_start = static_cast<off_t>(sizeof(bus::BusHeader) + 2 * sizeof(bus::PortSlot));
      *locked = fcntl(fd, F_OFD_SETLK, &all) == 0;
    }
    for (;;) pause();
    return 0;
  });
  ASSERT_TRUE(eventually([&] { return locked->load(); }));
  Port late;
  EXPECT_FALSE(late.attach(path)) << "documented in docs/security.md";
  NumberedBatch frames(60);
  FrameBatch heard;
  for (std::uint32_t i = 0; i < 2000; ++i) {
    ASSERT_FALSE(from.send(frames.make(1, i, 1)).error);
    heard.clear();
    ASSERT_EQ(to.receive(heard).frames, 1U);
  }
  const std::vector<PortInfo> ports = Bus::open(path).value().info().ports;
  EXPECT_EQ(std::ranges::count(ports, true, &PortInfo::live), 2) << "it poses as nobody";
  reader.kill_and_wait();
  EXPECT_TRUE(late.attach(path));
}

TEST_F(TwoUsers, InAStickyDirectoryNobodyIsGivenAFileThatSomebodyElseMadeInsteadOfABusOfTheirOwn) {
  const std::string empty = dir.file("empty");
  const std::string full = dir.file("full");
  ASSERT_EQ(as(kStranger,
               [&] {
                 std::ofstream(empty).close();
                 chmod(empty.c_str(), 0666);
                 BusOptions options = small_ring();
                 options.mode = 0666;
                 return Bus::create(full, options) ? 0 : 1;
               }),
            0);
  for (const std::string& path : {empty, full}) {
    EXPECT_EQ(
        as(kAlice,
           [&] {
             const auto made = Bus::create_if_missing(path, small_ring(), false, false);
             if (made) return 1;
             const std::string& why = made.error().message;
             return was_denied(made.error()) && why.find("user 1001") != std::string::npos ? 0 : 2;
           }),
        0);
  }
  EXPECT_EQ(fs::file_size(empty), 0U);
  // Who names the bus as somebody else's, by not asking to make one, gets it.
  EXPECT_EQ(as(kAlice, [&] { return Port().attach(full) ? 0 : 1; }), 0);
  // Elsewhere, others' files are as good as one's own: so are directories of a group.
  ASSERT_EQ(chmod(dir.path().c_str(), 0777), 0);
  for (const std::string& path : {empty, full}) {
    EXPECT_EQ(as(kAlice,
                 [&] { return Bus::create_if_missing(path, small_ring(), false, false) ? 0 : 1; }),
              0);
  }
}

TEST_F(TwoUsers, AHardLinkToOnesOwnBusIsNotTakenForTheBusThatWasMeant) {
  const std::string open = dir.file("open");
  const std::string link = dir.file("link");
  BusOptions options = small_ring();
  options.mode = 0666;
  Bus::create(open, options).value();
  ASSERT_EQ(as(kStranger, [&] { return ::link(open.c_str(), link.c_str()); }), 0);
  for (const mode_t mode : {01777, 0777, 01775, 0775}) {
    ASSERT_EQ(chmod(dir.path().c_str(), mode), 0);
    const auto made = Bus::create_if_missing(link, small_ring(), false, false);
    ASSERT_FALSE(made) << std::oct << mode;
    EXPECT_TRUE(was_denied(made.error()));
    for (const std::string part :
         {"2 names", "-samefile", "with 'shmifctl destroy'", "without --create"})
      EXPECT_NE(made.error().message.find(part), std::string::npos) << made.error().message;
  }
  EXPECT_TRUE(Port().attach(link)) << "who asks for no bus of his own gets it";
  // Nobody else can put a link into a directory of one's own.
  ASSERT_EQ(chmod(dir.path().c_str(), 0755), 0);
  EXPECT_TRUE(Bus::create_if_missing(link, small_ring(), false, false));
  ASSERT_EQ(chown(dir.path().c_str(), kStranger.uid, kStranger.gid), 0);  // a stranger's is not
  EXPECT_FALSE(Bus::create_if_missing(link, small_ring(), false, false));
  ASSERT_EQ(chown(dir.path().c_str(), 0, 0), 0);
  // What is advised helps whoever is kept out by a link to his bus.
  EXPECT_TRUE(Bus::destroy(link, false));
  EXPECT_TRUE(Bus::create_if_missing(link, small_ring(), false, false));
  ASSERT_EQ(unlink(link.c_str()), 0);
  ASSERT_EQ(::link(open.c_str(), link.c_str()), 0);
  ASSERT_EQ(chmod(dir.path().c_str(), 01777), 0);
  ASSERT_EQ(unlink(open.c_str()), 0);
  EXPECT_TRUE(Bus::create_if_missing(link, small_ring(), false, false)) << "one name again";
}

TEST(Paths, FifosAndDevicesAreRefusedAndBlockNobody) {
  const TempDir dir;
  const std::string fifo = dir.file("fifo");
  const std::string device = dir.file("device");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0666), 0);
  std::vector<std::string> paths{fifo, "/dev/zero", "/dev/ptmx"};
  if (geteuid() == 0 && mknod(device.c_str(), S_IFCHR | 0666, makedev(1, 5)) == 0)
    paths.push_back(device);
  for (const std::string& path : paths) {
    SCOPED_TRACE(path);
    Port port;
    const auto made = Bus::create_if_missing(path, small_ring(), false, false);
    for (const Result<void>& refused :
         {port.attach(path), Bus::destroy(path, false), Bus::destroy(path, true),
          made ? Result<void>() : Result<void>(made.error())}) {
      ASSERT_FALSE(refused);
      EXPECT_EQ(refused.error().code, make_error_code(Errc::not_a_regular_file))
          << refused.error().message;
    }
    EXPECT_FALSE(Bus::open(path));
    EXPECT_FALSE(Follower::open(path, Start::now));
    EXPECT_FALSE(Bus::create(path, small_ring()));
  }
}

int exchange(const std::string& a, const std::string& b) {
  return static_cast<int>(
      syscall(SYS_renameat2, AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE));
}
int move(const std::string& from, const std::string& to) {
  return static_cast<int>(
      syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE));
}

/// What a program does that wants a bus of its own at `path`, whoever made it. Result: whether it
/// has one.
bool attach_to_own(const std::string& path) {
  const auto bus = Bus::create_if_missing(path, small_ring(), false, false);
  usleep(10);  // what else it has to do
  return bus && Port().attach(*bus);
}

/// A bus of a stranger's that comes and goes at the path where Alice wants one of her own.
class Swapped : public TwoUsers {
 protected:
  void SetUp() override {
    TwoUsers::SetUp();
    ASSERT_EQ(as(kStranger,
                 [&] {
                   BusOptions options = small_ring();
                   options.mode = 0666;
                   return Bus::create(trap, options) ? 0 : 1;
                 }),
              0);
    opened_trap.emplace(trap);
  }
  /// Alice makes her bus, attaches and removes it, while `swap` runs again and again.
  void expect_alice_meets_none_but_her_own(const std::function<void()>& swap) {
    constexpr unsigned kRounds = kSanitized ? 100 : 600;
    Child swapper([&] {
      for (;; ++*swaps) swap();  // runs until killed
      return 0;
    });
    ASSERT_TRUE(eventually([&] { return *swaps > 100; }));
    EXPECT_EQ(as(kAlice,
                 [&] {
                   for (unsigned i = 0; i < kRounds; ++i) {
                     if (attach_to_own(path)) ++*attached;
                     static_cast<void>(Bus::destroy(path, false));
                   }
                   return 0;
                 }),
              0);
    swapper.kill_and_wait();
    EXPECT_GT(*attached, 0U);
    EXPECT_TRUE(nobody_ever_attached(*opened_trap)) << "Alice attached to the bus of a stranger";
  }

  const std::string path = dir.file("bus");
  const std::string trap = dir.file("trap");
  std::optional<RawBus> opened_trap;  // its name may be another bus's in the end
  const Shared<std::atomic<unsigned>> swaps;
  const Shared<std::atomic<unsigned>> attached;
};

TEST_F(Swapped, AHardLinkThatAStrangerMakesAndRemovesLeadsNobodyToTheStrangersBus) {
  expect_alice_meets_none_but_her_own([&] {
    if (geteuid() == 0) become(kStranger);
    static_cast<void>(link(trap.c_str(), path.c_str()));
    unlink(path.c_str());
  });
}

TEST_F(Swapped, ABusThatTakesThePlaceOfAnotherIsNotTakenForIt) {
  expect_alice_meets_none_but_her_own([&] {  // as root, who may do so in a sticky directory
    exchange(path, trap);
    exchange(path, trap);
  });
}

/// A directory in which one process puts a foreign file, a link to another bus and the bus itself
/// at one path, in turn and as fast as it can.
class Race : public ::testing::TestWithParam<mode_t> {
 protected:
  Race() {
    chmod(dir.path().c_str(), GetParam());
    std::ofstream(foreign) << "precious";
    Bus::create(other, small_ring()).value();
    Bus::create(path, small_ring()).value();
    fs::create_symlink(other, link);
    inode = fs_inode(foreign);
  }
  static ino_t fs_inode(const std::string& at) {
    struct stat status{};
    return lstat(at.c_str(), &status) == 0 ? status.st_ino : 0;
  }
  /// Moves names and never removes or replaces one.
  int juggle() const {
    for (;;) {  // runs until killed
      for (const std::string& each : {foreign, link}) {
        if (exchange(path, each) != 0) move(each, path);
        ++*juggled;
        if (exchange(path, each) != 0) move(path, each);
      }
    }
  }
  /// Whether the foreign file and the link are in the directory, whatever their names.
  void expect_nothing_foreign_is_gone() const {
    unsigned files = 0;
    unsigned links = 0;
    for (const auto& entry : fs::directory_iterator(dir.path())) {
      if (entry.is_symlink()) {
        ++links;
        EXPECT_EQ(fs::read_symlink(entry.path()), other);
      } else if (fs_inode(entry.path()) == inode) {
        ++files;
        std::string text;
        std::ifstream(entry.path()) >> text;
        EXPECT_EQ(text, "precious");
      }
    }
    EXPECT_EQ(files, 1U);
    EXPECT_EQ(links, 1U);
    EXPECT_TRUE(nobody_ever_attached(other)) << "a link was followed";
    EXPECT_TRUE(is_clean(Bus::open(other).value().audit()));
  }

  TempDir dir;
  const std::string path = dir.file("bus");
  const std::string foreign = dir.file("foreign");
  const std::string link = dir.file("link");
  const std::string other = dir.file("other");
  ino_t inode = 0;
  Shared<std::atomic<std::uint64_t>> juggled;
};

INSTANTIATE_TEST_SUITE_P(In, Race, ::testing::Values(0777, 01777), [](const auto& each) {
  return each.param == 0777 ? "AnOpenDirectory" : "AStickyDirectory";
});

TEST_P(Race, CreateAttachAndDestroyTouchNothingButTheBusTheyLookedAt) {
  constexpr unsigned kRounds = kSanitized ? 500 : 5000;
  Child juggler([&] { return juggle(); });
  ASSERT_TRUE(eventually([&] { return *juggled > 100; }));
  unsigned made = 0;
  unsigned attached = 0;
  unsigned removed = 0;
  unsigned refused = 0;
  const auto was_a_race = [&] { return made > 0 && attached > 0 && removed > 0 && refused > 0; };
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(40);
  for (unsigned i = 0; i < kRounds || (!was_a_race() && std::chrono::steady_clock::now() < end);
       ++i) {
    if (Bus::create(path, small_ring())) ++made;
    if (Port().attach(path)) ++attached;
    static_cast<void>(Follower::open(path, Start::now));
    (Bus::destroy(path, i % 2 == 0) ? removed : refused)++;
  }
  juggler.kill_and_wait();
  EXPECT_TRUE(was_a_race()) << made << ' ' << attached << ' ' << removed << ' ' << refused;
  expect_nothing_foreign_is_gone();
}

TEST_F(TwoUsers, LinksOfAStrangerInAStickyDirectoryLeadNobodyAstray) {
  constexpr unsigned kRounds = kSanitized ? 300 : 3000;
  const std::string path = dir.file("bus");
  const std::string treasure = dir.file("treasure");
  alice_makes(treasure, 0600);
  const ino_t inode = inode_of(treasure);
  const Shared<std::atomic<std::uint64_t>> laid;
  Child stranger([&] {
    become(kStranger);
    for (;;) {  // runs until killed
      if (symlink(treasure.c_str(), path.c_str()) == 0) ++*laid;
      unlink(path.c_str());
      if (mkfifo(path.c_str(), 0666) == 0) ++*laid;
      unlink(path.c_str());
      exchange(path, treasure);  // refused: neither is the stranger's
    }
    return 0;
  });
  ASSERT_TRUE(eventually([&] { return *laid > 100; }));
  const Shared<std::atomic<unsigned>> made;
  EXPECT_EQ(as(kAlice,
               [&] {
                 // A stranger that always has something lying there only keeps Alice from
                 // making a bus; she goes on until she met both.
                 const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(40);
                 for (unsigned i = 0;
                      i < kRounds || (*made == 0 && std::chrono::steady_clock::now() < end); ++i) {
                   if (Bus::create(path, small_ring())) ++*made;
                   static_cast<void>(Port().attach(path));
                   static_cast<void>(Bus::destroy(path, i % 2 == 0));
                 }
                 return 0;
               }),
            0);
  stranger.kill_and_wait();
  EXPECT_GT(*made, 0U);
  EXPECT_EQ(inode_of(treasure), inode);
  EXPECT_TRUE(nobody_ever_attached(treasure)) << "a link was followed";
}

}  // namespace
}  // namespace shmif::test
