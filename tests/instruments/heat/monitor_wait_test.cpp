// Nobody waits for a look at a target, or for another caller.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>

#include "instruments/heat/page_scan.hpp"
#include "tests/instruments/heat/monitor_rig.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

using shmif::test::eventually;
using shmif::test::TempDir;

/// A process whose memory cannot be looked at while a test holds it: a tree of files in which a
/// write to its clear_refs waits.
class HeldTarget {
 public:
  explicit HeldTarget(pid_t pid) : folder_(tree_.path() + "/proc/" + std::to_string(pid)) {
    std::filesystem::create_directories(folder_);
    for (const char* const each : {"stat", "smaps", "maps", "comm", "environ"}) {
      std::filesystem::create_symlink("/proc/" + std::to_string(pid) + '/' + each,
                                      folder_ + '/' + each);
    }
    put_file();
  }

  const std::string& root() const { return tree_.path(); }

  /// The next look waits: it writes to a pipe that is full.
  void hold() {
    const std::string pipe = folder_ + "/pipe";
    ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
    pipe_.reset(::open(pipe.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
    const std::array<char, 4096> bytes{};
    while (::write(pipe_.get(), bytes.data(), bytes.size()) > 0) {
    }
    notices_.reset(::inotify_init1(IN_CLOEXEC));
    ASSERT_GE(::inotify_add_watch(notices_.get(), pipe.c_str(), IN_OPEN), 0);
    std::filesystem::rename(pipe, folder_ + "/clear_refs");
  }
  /// Whether a look has come to the pipe.
  bool wait_until_held() const {
    constexpr int kPatienceMs = 60'000;
    pollfd opened{notices_.get(), POLLIN, 0};
    return ::poll(&opened, 1, kPatienceMs) == 1;
  }
  void release() {
    put_file();
    std::array<char, 65536> bytes{};
    while (::read(pipe_.get(), bytes.data(), bytes.size()) > 0) {
    }
  }

 private:
  void put_file() const {
    std::ofstream(folder_ + "/file") << '\n';
    std::filesystem::rename(folder_ + "/file", folder_ + "/clear_refs");
  }

  const shmif::test::TempDir tree_;
  const std::string folder_;
  UniqueFd pipe_;
  UniqueFd notices_;
};

/// The answers of a monitor in `folder`; an error shows as its message.
class Asking {
 public:
  explicit Asking(std::string folder) : folder_(std::move(folder)) {}
  Result<std::string> operator()(const HeatRequest& asked) const {
    return ask_heat_monitor(folder_, asked);
  }
  std::string operator()(HeatVerb verb) const {
    const auto answer = (*this)(request(verb));
    return answer ? *answer : answer.error().message;
  }

 private:
  std::string folder_;
};

TEST(HeatMonitorWaits, ForNoLookWhenItIsAsked) {
  const TempDir dir;
  const Sleeper sleeper;
  HeldTarget target(sleeper.pid());
  const Listening listening(dir.path(), KernelFiles(target.root()));
  const Asking ask(dir.path());
  ASSERT_TRUE(ask(watching(HeatVerb::on, {sleeper.pid()})));
  ASSERT_TRUE(
      eventually([&] { return ask(HeatVerb::show).find("mapping\n") != std::string::npos; }));
  target.hold();
  ASSERT_TRUE(target.wait_until_held());
  // The look goes on until the monitor is told to give it up. These are answered meanwhile.
  EXPECT_EQ(ask(HeatVerb::status).substr(0, 3), "on\n");
  EXPECT_NE(ask(HeatVerb::show).find("process " + std::to_string(sleeper.pid())),
            std::string::npos);
  const UniqueFd silent = connection_to(dir.path());
  EXPECT_EQ(ask(HeatVerb::status).substr(0, 3), "on\n") << "a second client";
  EXPECT_EQ(ask(watching(HeatVerb::set, {sleeper.pid()})).error().code, Errc::busy);
  EXPECT_EQ(ask(HeatVerb::off), "");
  EXPECT_EQ(ask(HeatVerb::status).substr(0, 4), "off\n");
  EXPECT_TRUE(eventually([&] { return ask(request(HeatVerb::on)).has_value(); }))
      << "the target still does not answer";
  target.release();
}

TEST(HeatMonitorWaits, ForNoneOfManyCallersThatSayNothing) {
  const TempDir dir;
  const Listening listening(dir.path());
  std::vector<UniqueFd> silent;
  constexpr std::size_t kCallers = 64;
  while (silent.size() < kCallers) {
    silent.push_back(connection_to(dir.path()));
    // Each second one says half a line.
    if (silent.size() % 2 != 0) continue;
    ASSERT_EQ(::send(silent.back().get(), "stat", 4, MSG_NOSIGNAL), 4);
  }
  const Asking ask(dir.path());
  EXPECT_EQ(ask(HeatVerb::status).substr(0, 4), "off\n");
  // Those that came last may still finish.
  ASSERT_EQ(::send(silent.back().get(), "us\n\n", 4, MSG_NOSIGNAL), 4);
  std::array<char, 4> answer{};
  ASSERT_EQ(::recv(silent.back().get(), answer.data(), 3, MSG_WAITALL), 3);
  EXPECT_STREQ(answer.data(), "ok ");
}

/// So many mappings that an answer about them does not fit into the buffer of a socket.
class ManyMappings {
 public:
  ManyMappings() {
    if (begin_ == MAP_FAILED) return;
    for (std::size_t at = 0; at < kPages; at += 2) {
      ::mprotect(static_cast<char*>(begin_) + at * page_bytes(), page_bytes(), PROT_READ);
    }
  }
  ManyMappings(const ManyMappings&) = delete;
  ManyMappings& operator=(const ManyMappings&) = delete;
  ~ManyMappings() { ::munmap(begin_, kPages * page_bytes()); }
  bool are_there() const { return begin_ != MAP_FAILED; }

 private:
  static constexpr std::size_t kPages = 4000;
  void* begin_ = ::mmap(nullptr, kPages* page_bytes(), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
};

/// All that comes until the end.
std::string rest_of(const UniqueFd& socket) {
  std::string text;
  std::array<char, 65536> part{};
  for (ssize_t got = 0; (got = ::recv(socket.get(), part.data(), part.size(), 0)) > 0;) {
    text.append(part.data(), static_cast<std::size_t>(got));
  }
  return text;
}

/// Where there are too many callers, those leave that have asked nothing yet.
TEST(HeatMonitorWaits, ForSilentCallersAndGivesOthersTheirWholeAnswers) {
  const ManyMappings mappings;
  ASSERT_TRUE(mappings.are_there());
  const TempDir dir;
  const Sleeper sleeper;
  const Listening listening(dir.path());
  const Asking ask(dir.path());
  ASSERT_TRUE(ask(watching(HeatVerb::on, {sleeper.pid()})));
  HeatRequest show = request(HeatVerb::show);
  show.as_json = true;
  constexpr std::size_t kMoreThanABuffer = std::size_t{300} << 10U;
  ASSERT_TRUE(eventually([&] {
    const auto answer = ask(show);
    return answer && answer->size() > kMoreThanABuffer;
  }));
  ask(HeatVerb::off);
  const std::string asked = heat_request_text(show);
  using Clock = std::chrono::steady_clock;
  bool in_time = false;
  for (int round = 0; round < 4 && !in_time; ++round) {  // a caller may take 10 s
    const auto then = Clock::now();
    const UniqueFd slow = connection_to(dir.path());
    ASSERT_EQ(::send(slow.get(), asked.data(), asked.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(asked.size()));
    ASSERT_TRUE(ask(request(HeatVerb::status))) << "the request before it was taken, too";
    std::vector<UniqueFd> silent;
    for (int i = 0; i < 40; ++i) silent.push_back(connection_to(dir.path()));
    ASSERT_TRUE(ask(request(HeatVerb::status))) << "all of them were taken";
    const std::string answer = rest_of(slow);
    in_time = Clock::now() - then < std::chrono::seconds(8);
    if (!in_time) continue;
    const auto whole = read_heat_answer(answer);
    ASSERT_TRUE(whole) << answer.size() << " bytes: " << whole.error().message;
    EXPECT_GT(whole->size(), kMoreThanABuffer);
  }
}

TEST(HeatMonitorWaits, ForNoEndOfAnEndlessRequest) {
  const TempDir dir;
  const Listening listening(dir.path());
  const UniqueFd endless = connection_to(dir.path());
  const std::string junk(1U << 20U, 'x');
  std::size_t sent = 0;
  while (sent < junk.size()) {
    const ssize_t part = ::send(endless.get(), &junk[sent], junk.size() - sent, MSG_NOSIGNAL);
    if (part <= 0) break;
    sent += static_cast<std::size_t>(part);
  }
  EXPECT_LT(sent, junk.size()) << "it was refused before its end";
  EXPECT_EQ(Asking(dir.path())(HeatVerb::status).substr(0, 4), "off\n");
}

}  // namespace
}  // namespace shmif::perf::test
