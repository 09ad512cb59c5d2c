// Files of older kernels, and files and directories that are not as they should be.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "instruments/heat/bus_heat.hpp"
#include "instruments/heat/monitor_socket.hpp"
#include "instruments/heat/page_scan.hpp"
#include "instruments/heat/source.hpp"
#include "tests/instruments/heat/monitor_rig.hpp"
#include "tests/instruments/heat/shared_pages.hpp"
#include "tests/instruments/membw/as_nobody.hpp"
#include "tests/instruments/membw/trees.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

AddressRange page_range(std::uint64_t begin, std::uint64_t end) {
  return {begin * page_bytes(), end * page_bytes()};
}

/// A file as the pagemap of a kernel before 6.7: an entry of eight bytes for each page.
class PagemapFile : public ::testing::Test {
 protected:
  static constexpr std::size_t kEntries = 10'000;
  PagemapFile() {
    std::vector<std::uint64_t> entries(kEntries);
    constexpr std::uint64_t kPresent = std::uint64_t{1} << 63U, kSwapped = std::uint64_t{1} << 62U;
    for (const auto& [begin, end] :
         {std::pair(3U, 6U), {7U, 8U}, {4094U, 4100U}, {9999U, 10'000U}}) {
      for (std::size_t i = begin; i < end; ++i) entries[i] = kPresent | i;
    }
    entries[6] = kSwapped | 6U;
    std::ofstream file(path(), std::ios::binary);
    file.write(reinterpret_cast<const char*>(entries.data()),
               static_cast<std::streamsize>(entries.size() * sizeof entries[0]));
  }
  std::string path() const { return dir_.file("pagemap"); }
  PageScan scan() const {
    return PageScan::over(UniqueFd(::open(path().c_str(), O_RDONLY | O_CLOEXEC))).value();
  }

 private:
  shmif::test::TempDir dir_;
};

TEST_F(PagemapFile, TellsThePagesThatArePresentAndNothingOfWrites) {
  const PageScan pages = scan();
  EXPECT_EQ(pages.means(), PageScan::Means::file);
  const auto told = [&](std::uint64_t begin, std::uint64_t end) {
    std::vector<AddressRange> found;
    const auto seen = pages.present(page_range(begin, end)).value();
    for (const SeenPages& each : seen) {
      EXPECT_TRUE(each.seen.accessed);
      EXPECT_EQ(each.seen.written, std::nullopt);
      found.push_back(each.range);
    }
    return found;
  };
  using Ranges = std::vector<AddressRange>;
  EXPECT_EQ(told(0, kEntries), (Ranges{page_range(3, 6), page_range(7, 8), page_range(4094, 4100),
                                       page_range(9999, 10'000)}));
  EXPECT_EQ(told(4, 8), (Ranges{page_range(4, 6), page_range(7, 8)}));
  EXPECT_EQ(told(8, 4094), Ranges{});
  EXPECT_EQ(told(5, 5), Ranges{});
  EXPECT_EQ(pages.present(page_range(9998, 10'001)).error().code, std::errc::no_such_process)
      << "the map ends with the memory";
}

TEST_F(PagemapFile, ThatIsEmptyIsOfAProcessThatHasEnded) {
  std::filesystem::resize_file(path(), 0);
  const PageScan pages = scan();
  EXPECT_EQ(pages.present(page_range(0, 1)).error().code, std::errc::no_such_process);
  // Also if no entry is missing, as behind a scan in which the kernel found no pages.
  const auto none = pages.present(std::vector<std::uint64_t>());
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, std::errc::no_such_process);
}

/// Whether the kernel refuses it then, or finds no pages, as of one that has touched none.
TEST(PagemapOfAProcess, ThatHasEndedSaysSo) {
  const SharedPages pages(4);
  const AddressRange range{pages.address(0), pages.address(4)};
  const std::vector<std::uint64_t> single{pages.address(1), pages.address(3)};
  shmif::test::Child process([]() -> int {
    for (;;) ::pause();  // until killed
  });
  const auto scan = PageScan::of(process.pid());
  ASSERT_TRUE(scan) << scan.error().message;
  EXPECT_TRUE(scan->present(range)) << "it lives, whether or not it has touched them";
  EXPECT_TRUE(scan->present(single));
  const bool scans = scan->means() == PageScan::Means::scan;  // not on a kernel before 6.7
  EXPECT_TRUE(!scans || scan->is_known(single[0]));
  process.kill_and_wait();
  const auto code_of = [](const auto& result) {
    return result ? std::error_code() : result.error().code;
  };
  EXPECT_EQ(code_of(scan->present(range)), std::errc::no_such_process);
  EXPECT_EQ(code_of(scan->present(single)), std::errc::no_such_process);
  if (!scans) return;
  EXPECT_EQ(code_of(scan->is_known(single[0])), std::errc::no_such_process);
  EXPECT_EQ(code_of(scan->take_written(range)), std::errc::no_such_process);
}

/// The files of a process that is about to end go one after another.
TEST(ClearRefsFiles, ThatAreMissingMeanThatTheProcessHasEnded) {
  const Tree tree;
  std::string stat = "41 (a) S";
  for (int field = 4; field <= 52; ++field) stat += field == 22 ? " 77" : " 0";
  tree.put("/proc/41/stat", stat + '\n');
  EXPECT_EQ(watch_by_clear_refs({41, 77}, tree.files()).error().code, std::errc::no_such_process);
  tree.put("/proc/41/clear_refs", "");
  EXPECT_EQ(watch_by_clear_refs({41, 78}, tree.files()).error().code, std::errc::no_such_process);
  const auto source = watch_by_clear_refs({41, 77}, tree.files());
  ASSERT_TRUE(source) << source.error().message;
  EXPECT_EQ(tree.text("/proc/41/clear_refs"), "1\n");
  Regions regions({}, (*source)->looking(), page_bytes(), 1);
  EXPECT_EQ((*source)->ranges().error().code, std::errc::no_such_process);
  EXPECT_EQ((*source)->look(regions).error().code, std::errc::no_such_process);
  tree.put("/proc/41/smaps",
           "00001000-00002000 r--p 00000000 08:01 7 /bin/a\nReferenced: 4 kB\n"
           "00002000-00003000 ---p 00000000 00:00 0 \nReferenced: 0 kB\n"
           "00003000-00005000 rw-p 00000000 00:00 0 [heap]\nReferenced: 0 kB\n"
           "00006000-00007000 r--p 00000000 00:00 0 [vvar]\nReferenced: 4 kB\n"
           "00007000-00008000 r-xp 00000000 00:00 0 [vdso]\nReferenced: 4 kB\n");
  const auto ranges = (*source)->ranges().value();
  EXPECT_EQ(ranges, (std::vector<NamedRange>{{{0x1000, 0x2000}, "/bin/a", 7},
                                             {{0x3000, 0x5000}, "[heap]", 0}}));
  std::vector<AddressRange> target;
  for (const NamedRange& each : ranges) target.push_back(each.range);
  regions.set_target(target);
  EXPECT_TRUE((*source)->look(regions));
  const auto found = regions.aggregate();
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].accesses, 1U);
  EXPECT_EQ(found[0].writes, std::nullopt);
  EXPECT_EQ(found[1].accesses, 0U);
  EXPECT_EQ((*source)->cost(std::chrono::microseconds(7)), std::chrono::microseconds(7));
}

/// Process 41 of a tree, which began at 77, with a mapping of which so much was referenced.
void put_process(const Tree& tree, int referenced_kb, int other_kb = 0) {
  std::string stat = "41 (a) S";
  for (int field = 4; field <= 52; ++field) stat += field == 22 ? " 77" : " 0";
  tree.put("/proc/41/stat", stat + '\n');
  tree.put("/proc/41/clear_refs", "");
  tree.put("/proc/41/smaps",
           "00001000-00009000 rw-p 00000000 08:01 7 /bin/a\nReferenced: " +
               std::to_string(referenced_kb) +
               " kB\n0000a000-0000b000 rw-p 00000000 00:00 0 [heap]\nReferenced: " +
               std::to_string(other_kb) + " kB\n");
}

TEST(ClearRefsFiles, TellTheLargestWorkingSetOfTheLooksOfAWindow) {
  const Tree tree;
  put_process(tree, 4);
  const auto source = watch_by_clear_refs({41, 77}, tree.files());
  ASSERT_TRUE(source) << source.error().message;
  EXPECT_EQ((*source)->take_working_set(), std::nullopt) << "before a look";
  Regions regions({}, (*source)->looking(), page_bytes(), 1);
  for (const auto& [first, second] : {std::pair(8, 4), {20, 4}, {12, 0}}) {
    put_process(tree, first, second);
    ASSERT_TRUE((*source)->forget(regions));
    EXPECT_EQ(tree.text("/proc/41/clear_refs"), "1\n");
    ASSERT_TRUE((*source)->look(regions));
  }
  EXPECT_EQ((*source)->take_working_set(), 24U << 10U) << "of all mappings";
  EXPECT_EQ((*source)->take_working_set(), std::nullopt);
  ASSERT_TRUE((*source)->look(regions));
  EXPECT_EQ((*source)->take_working_set(), 12U << 10U) << "of this window alone";
}

TEST(ClearRefsFiles, OfAnotherUsersProcessSayWhoMayUseThem) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const Tree tree;
  put_process(tree, 4);
  EXPECT_TRUE(as_nobody(tree, [&] {
    const auto refused = watch_by_clear_refs({41, 77}, tree.files());
    EXPECT_EQ(refused.error().code, std::errc::permission_denied);
    EXPECT_EQ(refused.error().message, "cannot open " + tree.at("/proc/41/clear_refs") +
                                           ": Permission denied (run as the process's user, or as "
                                           "root)");
  }));
}

TEST(BusPartiesOfThisProcess, SayThatItWasStartedWithoutTheVariable) {
  const shmif::test::TempBus bus;
  std::vector<Port> ports;
  for (const char* const name : {"rx", "tx"}) {
    ports.push_back(shmif::test::port_on(bus.path(), {.name = name}));
  }
  if (std::getenv("SHMIF_HEAT") != nullptr) GTEST_SKIP() << "SHMIF_HEAT is set";
  const auto parties = heat_parties(bus.info(), "");
  ASSERT_EQ(parties.size(), 1U);
  EXPECT_EQ(parties[0].pid, ::getpid());
  EXPECT_EQ(parties[0].ports, (std::vector<std::string>{"rx", "tx"}));
  EXPECT_EQ(parties[0].reason, "it was started without SHMIF_HEAT (start it with SHMIF_HEAT=DIR)");
  EXPECT_TRUE(heat_parties(bus.info(), "", KernelFiles(), [] { return true; }).empty());
}

TEST(BusMappings, AreOfTheSizeAndTheFileOfTheBus) {
  BusInfo bus;
  bus.ring_bytes = 1U << 20U;
  bus.inode = 77;
  const std::uint64_t size = (192U << 10U) + 2 * bus.ring_bytes;
  EXPECT_TRUE(is_of_bus({{4096, 4096 + size}, "rx@/b", 77}, bus));
  EXPECT_FALSE(is_of_bus({{4096, 4096 + size}, "rx@/b", 78}, bus));
  EXPECT_FALSE(is_of_bus({{4096, 8192 + size}, "rx@/b", 77}, bus));
  bus.mapped_as = "00:1b 77";
  EXPECT_TRUE(is_of_bus({{4096, 4096 + size}, "rx@/b", 77, 0x1b}, bus));
  EXPECT_FALSE(is_of_bus({{4096, 4096 + size}, "rx@/b", 77, 0x1c}, bus)) << "another file system";
  EXPECT_FALSE(is_of_bus({{4096, 4096 + size}, "rx@/b", 78, 0x1b}, bus));
  EXPECT_TRUE(is_of_bus({{4096, 4096 + size}, "rx@/b", 77}, bus)) << "of an older library";
  bus.mapped_as = "fd:10a 77";
  EXPECT_TRUE(is_of_bus({{4096, 4096 + size}, "rx@/b", 77, 0xfd0000010a}, bus));
}

/// The variable while it lives.
class RuntimeDirectory {
 public:
  explicit RuntimeDirectory(const char* value) {
    if (const char* const before = std::getenv(kName)) before_ = before;
    value != nullptr ? ::setenv(kName, value, 1) : ::unsetenv(kName);
  }
  RuntimeDirectory(const RuntimeDirectory&) = delete;
  RuntimeDirectory& operator=(const RuntimeDirectory&) = delete;
  ~RuntimeDirectory() { before_ ? ::setenv(kName, before_->c_str(), 1) : ::unsetenv(kName); }

 private:
  static constexpr const char* kName = "XDG_RUNTIME_DIR";
  std::optional<std::string> before_;
};

TEST(HeatControlFolder, IsThatOfTheUsersSessionOrInTmp) {
  const std::string in_tmp = "/tmp/shmif-heat-" + std::to_string(::geteuid());
  for (const auto& [value, wanted] :
       {std::pair<const char*, std::string>{"/run/user/7", "/run/user/7/shmif-heat"},
        {nullptr, in_tmp},
        {"", in_tmp},
        {"run/user/7", in_tmp}}) {
    const RuntimeDirectory directory(value);
    EXPECT_EQ(heat_control_path(), wanted);
  }
  const shmif::test::TempDir dir;
  const RuntimeDirectory directory(dir.path().c_str());
  EXPECT_EQ(heat_control_folder().value(), dir.path() + "/shmif-heat");
  const RuntimeDirectory none((dir.path() + "/none").c_str());
  const auto refused = heat_control_folder();
  EXPECT_EQ(refused.error().code, std::errc::no_such_file_or_directory);
  EXPECT_NE(refused.error().message.find("cannot make " + dir.path() + "/none/shmif-heat"),
            std::string::npos);
}

TEST(HeatControlSocket, IsOneForAFolderWhichItMakesIfItIsNotThere) {
  const shmif::test::TempDir dir;
  const std::string folder = dir.file("new");
  {
    const auto listener = HeatListener::open(folder);
    ASSERT_TRUE(listener) << listener.error().message;
    EXPECT_EQ(std::filesystem::status(folder).permissions(), std::filesystem::perms::owner_all);
    EXPECT_EQ(HeatListener::open(folder).error().message,
              "another monitor of access heat has " + folder);
    EXPECT_TRUE(std::ifstream(folder + "/lock").good());
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  EXPECT_EQ(HeatListener::open(dir.file("none/new")).error().message,
            "cannot make " + dir.file("none/new") + ": No such file or directory");
  // A file that leads elsewhere is not opened in its place.
  std::filesystem::create_symlink(dir.file("elsewhere"), folder + "/lock");
  EXPECT_EQ(HeatListener::open(folder).error().code, std::errc::too_many_symbolic_link_levels);
  EXPECT_FALSE(std::ifstream(dir.file("elsewhere")).good());
}

/// Whether a caller hears anything, as root or as another user.
bool hears_an_answer(const std::string& folder, bool as_other) {
  shmif::test::Child child([&] {
    // The folder stays open to it: only who asks is another one.
    if (as_other && (::seteuid(65534) != 0 || ::setfsuid(0) != 65534)) return 2;
    const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    (folder + "/control").copy(&address.sun_path[0], sizeof address.sun_path - 1);
    if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      return 3;
    }
    HeatRequest status;
    status.verb = HeatVerb::status;
    const std::string text = heat_request_text(status);
    (void)::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL);
    std::array<char, 16> answer{};
    return ::recv(socket.get(), answer.data(), answer.size(), 0) > 0 ? 0 : 1;
  });
  const int status = child.wait();
  EXPECT_LE(status, 1);
  return status == 0;
}

TEST(HeatControlSocket, AnswersNoOtherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const shmif::test::TempDir dir;
  const Listening listening(dir.path());
  EXPECT_TRUE(hears_an_answer(dir.path(), false));
  EXPECT_FALSE(hears_an_answer(dir.path(), true));
  EXPECT_TRUE(hears_an_answer(dir.path(), false)) << "it goes on";
}

TEST(HeatControlSocket, OfAMonitorThatDiesSaysSo) {
  const shmif::test::TempDir dir;
  const UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  dir.file("control").copy(&address.sun_path[0], sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  std::thread dies([&] { const UniqueFd caller(::accept(listener.get(), nullptr, nullptr)); });
  const auto answer = ask_heat_monitor(dir.path(), {});
  dies.join();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Errc::link_ended);
  EXPECT_EQ(answer.error().message, "the monitor of access heat has died");
}

}  // namespace
}  // namespace shmif::perf::test
