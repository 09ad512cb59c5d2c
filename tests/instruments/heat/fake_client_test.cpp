// Processes that take part and do not speak the truth, do not answer, leave, or begin late.

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <atomic>
#include <csignal>
#include <span>
#include <thread>
#include <vector>

#include "tests/instruments/heat/shared_pages.hpp"
#include "tests/instruments/membw/trees.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/fuse_files.hpp"
#include "tests/support/holdings.hpp"
#include "tests/support/rights.hpp"

namespace shmif::perf::test {
namespace {

// A process that takes part, with answers that a test chooses.

UniqueFd listening_socket(const std::string& path) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(&address.sun_path[0], sizeof address.sun_path - 1);
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(socket.get(), 8) != 0) {
    throw std::runtime_error("no socket");
  }
  return socket;
}

/// This process, as a monitor sees it: answers each hello with a descriptor of `file` and with one
/// range, if that is not empty. To any other request, it closes the connection.
class FakeClient {
 public:
  /// `count`: how often the descriptor comes with each answer. `head`: the answer, of which the
  /// number of ranges is added to.
  explicit FakeClient(const std::string& folder, const char* file = "/proc/self/pagemap",
                      heat::Range range = {}, std::size_t count = 1,
                      const heat::Answer& head = {heat::kVersion, 0, 1, 0})
      : count_(count),
        file_(::open(file, O_RDONLY | O_CLOEXEC)),
        listener_(listening_socket(folder + "/1-1")) {
    hello_.range.range = range;
    has_range_ = range.end > range.begin;
    hello_.head = head;
    hello_.head.count += has_range_ ? 1 : 0;
    thread_ = std::jthread([this] { serve(); });
  }
  ~FakeClient() { ::shutdown(listener_.get(), SHUT_RDWR); }
  FakeClient(const FakeClient&) = delete;
  FakeClient& operator=(const FakeClient&) = delete;

  /// Whether it has closed a connection because it was asked for more than a hello.
  bool has_left() const noexcept { return has_left_; }

 private:
  void serve() {
    for (;;) {  // until the listener is shut down
      UniqueFd monitor(::accept(listener_.get(), nullptr, nullptr));
      if (!monitor) return;
      heat::Request request{};
      while (::recv(monitor.get(), &request, sizeof request, 0) > 0) {
        if (request.ask != heat::Ask::hello) {
          monitor.reset();
          // It listens no more, as processes do that have left.
          ::shutdown(listener_.get(), SHUT_RDWR);
          has_left_ = true;
          return;
        }
        say_hello(monitor.get());
      }
    }
  }

  void say_hello(int monitor) {
    const std::size_t size = sizeof hello_.head + (has_range_ ? sizeof hello_.range : 0);
    const std::vector<int> descriptors(count_, file_.get());
    shmif::test::send_with_rights(monitor, std::as_bytes(std::span(&hello_, 1)).first(size),
                                  descriptors);
  }

  struct {
    heat::Answer head;
    heat::SharedRange range;
  } hello_{};
  bool has_range_ = false;
  std::size_t count_;  ///< 4 at most
  UniqueFd file_, listener_;
  std::atomic<bool> has_left_{false};
  std::jthread thread_;
};

constexpr const char* kPagemap = "/proc/self/pagemap";
constexpr const char* kNoPagemap =
    "the target gave no pagemap of its own: it sent a descriptor that is no pagemap";

TEST(HeatClients, ThatCannotBeWatchedSayWhy) {
  struct Case {
    heat::Answer head;
    std::size_t descriptors;
    std::error_code code;
    const char *thing, *remedy;
  };
  const std::error_code unknown = make_error_code(Errc::not_supported);
  for (const Case& c :
       {Case{{heat::kVersion + 1, 0, 1, 0}, 1, unknown, "unknown way", "other version"},
        {{heat::kVersion, 0, 1, 1}, 1, unknown, "unknown way", ""},  // its range is missing
        {{heat::kVersion, 0, 1, heat::kMaxShares + 1}, 1, unknown, "unknown way", ""},
        {{heat::kVersion, 0, 1, 0}, 0, unknown, "no pagemap", ""},
        {{heat::kVersion, EBUSY, 0, 0}, 0, make_error_code(Errc::busy), "another monitor", "end"},
        {{heat::kVersion, EPERM, 0, 0},
         0,
         std::make_error_code(std::errc::operation_not_permitted),
         "userfaultfd(2)",
         "sandbox"},
        {{heat::kVersion, EINVAL, 0, 0},
         0,
         std::make_error_code(std::errc::invalid_argument),
         "cannot tell",
         "CONFIG_USERFAULTFD"}}) {
    const ClientsHere here;
    const FakeClient client(here.folder(), kPagemap, {}, c.descriptors, c.head);
    const auto source = watch_by_client(::getpid(), here.folder());
    ASSERT_FALSE(source) << c.thing;
    EXPECT_EQ(source.error().code, c.code);
    for (const char* const word : {c.thing, c.remedy}) {
      EXPECT_NE(source.error().message.find(word), std::string::npos) << source.error().message;
    }
  }
  const ClientsHere here;
  std::ofstream(here.folder() + "/1-2") << "no socket";
  EXPECT_FALSE(heat_client_at(here.folder(), "1-2"));
  const auto none = watch_by_client(::getpid(), here.folder());
  ASSERT_FALSE(none) << "that file is passed over";
  EXPECT_NE(none.error().message.find("SHMIF_HEAT=" + here.folder()), std::string::npos);
  EXPECT_EQ(watch_by_client(::getpid(), "").error().code, Errc::not_supported);
}

TEST(HeatClients, SayByWhatAndHowWellTheyAreWatched) {
  const auto provenance_of = [](std::uint64_t pages, std::uint32_t tells_writes) {
    const ClientsHere here;
    const FakeClient client(here.folder(), kPagemap,
                            {1U << 30U, (1U << 30U) + pages * page_bytes()}, 1,
                            {heat::kVersion, 0, tells_writes, 0});
    const auto source = watch_by_client(::getpid(), here.folder());
    return source ? (*source)->provenance() : HeatProvenance{source.error().message, "", "", ""};
  };
  const HeatProvenance blind = provenance_of(1, 0);
  EXPECT_EQ(blind.source, "client");
  EXPECT_EQ(blind.precision, "page");
  EXPECT_NE(blind.writes_reason, "");
  EXPECT_EQ(provenance_of(kMaxPagesOfAll, 0).precision, "page");
  EXPECT_EQ(provenance_of(kMaxPagesOfAll + 1, 0).precision, "sampled page");
  if (PageScan::of(::getpid()).value().means() != PageScan::Means::scan) return;  // before 6.7
  EXPECT_EQ(provenance_of(1, 1).writes_reason, "");
}

TEST(HeatClients, HaveTheFolderOfTheEnvironmentInWhichTheyBegan) {
  const Tree tree;
  const auto folder_of = [&](const std::string& environment) {
    tree.put("/proc/41/environ", environment);
    return heat_folder_of(41, tree.files()).value();
  };
  EXPECT_EQ(folder_of(std::string("A=1\0SHMIF_HEAT=/run/heat\0B=2\0", 30)), "/run/heat");
  EXPECT_EQ(folder_of("SHMIF_HEAT=/first"), "/first") << "without an end";
  EXPECT_EQ(folder_of(std::string("XSHMIF_HEAT=/a\0SHMIF_HEATER=/b\0SHMIF_HEAT\0", 42)), "");
  EXPECT_EQ(folder_of(""), "");
  EXPECT_EQ(heat_folder_of(42, tree.files()).error().code, std::errc::no_such_file_or_directory);
}

TEST(HeatClients, MustGiveAPagemapAndTheResultSaysWhyOthersAreNotWatchedByPage) {
  const ClientsHere here;
  for (const char* const file : {"/dev/zero", "/proc/self/maps", "/etc/passwd"}) {
    const FakeClient client(here.folder(), file);
    const auto source = watch_by_client(::getpid(), here.folder());
    ASSERT_FALSE(source) << file;
    EXPECT_EQ(source.error().message, kNoPagemap) << file;
    HeatOptions options;
    options.clients = here.folder();
    HeatSession session(options);
    session.add(Process::open(::getpid()).value());
    const HeatResult result = session.results()[0];
    EXPECT_EQ(result.provenance.source, "clear_refs") << result.reason;
    EXPECT_TRUE(result.fallback_reason.starts_with(kNoPagemap)) << result.fallback_reason;
    std::filesystem::remove(here.folder() + "/1-1");
  }
}

TEST(HeatClients, ThatGiveTwoDescriptorsForOneLeaveNoneOpenHere) {
  const ClientsHere here;
  // Both are counted while no other thread runs: a check of UndefinedBehaviorSanitizer opens a pipe
  // for a moment.
  const auto before = shmif::test::holdings({}).descriptors;
  {
    const FakeClient client(here.folder(), kPagemap, {}, 2);
    const auto source = watch_by_client(::getpid(), here.folder());
    ASSERT_FALSE(source);
    EXPECT_EQ(source.error().message,
              "the target gave no pagemap of its own: it sent 2 descriptors with one message, "
              "which brings 1 at most");
  }
  EXPECT_EQ(shmif::test::holdings({}).descriptors, before);
}

TEST(HeatClients, WhoseFilesNeverAnswerKeepNoMonitor) {
  struct Case {
    const char *name, *why;
  };
  for (const Case& each :
       {Case{"file", kNoPagemap},
        Case{"pagemap",
             "the target gave no pagemap of its own: it sent a descriptor of a file "
             "system that does not answer"}}) {
    SCOPED_TRACE(each.name);
    const ClientsHere here;
    const shmif::test::TempDir directory;
    const shmif::test::Shared<std::atomic<pid_t>> liar;
    const auto give = [&](int) {
      static const FakeClient client(here.folder(), directory.file(each.name).c_str());
      *liar = ::getpid();
      return true;
    };
    const auto take = [&] {
      const auto source = watch_by_client(*liar, here.folder());
      if (source || source.error().message != each.why) return 1;
      const auto clients = heat_clients(here.folder()).value();
      return clients.size() == 1 && !clients[0].source && clients[0].reason == each.why ? 0 : 2;
    };
    const auto met = shmif::test::meet_silent_file(directory.path(), give, take, each.name);
    if (!met.could_mount) GTEST_SKIP() << "cannot mount a file system of FUSE";
    EXPECT_EQ(met.code, 0);
    EXPECT_TRUE(met.never_answered) << "the file system had ended before";
  }
}

// However many are silent, those that answer are found within one second, and a signal ends it.
TEST(HeatClients, ThatDoNotAnswerKeepNobodyFromTheOthers) {
  const ClientsHere here;
  std::vector<UniqueFd> silent;
  for (int i = 0; i < 200; ++i)
    silent.push_back(listening_socket(here.folder() + "/0-" + std::to_string(i)));
  const FakeClient client(here.folder());
  EXPECT_TRUE(heat_clients(here.folder(), [] { return true; }).value().empty());
  const auto clients = heat_clients(here.folder()).value();
  ASSERT_EQ(clients.size(), silent.size() + 1);
  std::size_t found = 0;
  for (const HeatClient& each : clients) {
    if (each.source) {
      ++found;
    } else {
      EXPECT_EQ(each.reason, "the target does not answer (is it stopped?)");
    }
  }
  EXPECT_EQ(found, 1U);
}

HeatSession session_in(const std::string& folder) {
  HeatOptions options;
  options.backend = HeatBackend::client;
  options.clients = folder;
  return HeatSession(options);
}

/// It leaves when it is asked for more than a hello.
TEST(HeatOfAProcessThatLeft, SaysSoAndThatItHasEndedIfItDidSoBeforeTheWatchWasOver) {
  for (const bool ends : {false, true}) {
    const ClientsHere here;
    const SharedPages pages(4);
    const FakeClient client(here.folder(), kPagemap, {pages.address(0), pages.address(4)});
    shmif::test::Child process([]() -> int {
      for (;;) ::pause();  // until killed
    });
    HeatSession session = session_in(here.folder());
    session.add(Process::open(process.pid()).value(),
                watch_by_client(::getpid(), here.folder()).value());
    ASSERT_TRUE(session.is_watching()) << session.results()[0].reason;
    while (session.is_watching()) session.step();
    EXPECT_TRUE(shmif::test::eventually([&] { return client.has_left(); }));
    EXPECT_TRUE(session.results()[0].has_left) << session.results()[0].reason;
    EXPECT_FALSE(session.results()[0].has_ended) << "it lives";
    if (ends) process.kill_and_wait();
    session.finish();
    const HeatResult result = session.results()[0];
    EXPECT_EQ(result.has_left, !ends);
    EXPECT_EQ(result.has_ended, ends);
    EXPECT_EQ(result.reason, ends ? "the process has ended"
                                  : "the process shares its access heat no longer (it left its "
                                    "bus, or it is about to end)");
  }
}

TEST(HeatOfAProcessThatJoins, HasNoWindowOfTheSourceBefore) {
  const ClientsHere here;
  const SharedPages pages(4);
  HeatOptions options;
  options.backend = HeatBackend::automatic;
  options.clients = here.folder();
  options.attributes.sampling = std::chrono::milliseconds(1);
  options.attributes.aggregation = std::chrono::milliseconds(2);
  HeatSession session(options);
  session.add(Process::open(::getpid()).value());
  ASSERT_EQ(session.results()[0].provenance.source, "clear_refs") << session.results()[0].reason;
  const std::string fallback = session.results()[0].fallback_reason;
  for (const std::string& part : {"shares no access heat in " + here.folder(),
                                  std::string("; heat sees the pages only of a program")}) {
    EXPECT_NE(fallback.find(part), std::string::npos) << fallback;
  }
  while (session.results()[0].windows.empty()) session.step();
  // From now on it takes part, until it is asked for more than a hello.
  const FakeClient client(here.folder(), kPagemap, {pages.address(0), pages.address(4)});
  while (session.results()[0].provenance.source == "clear_refs") session.step();
  EXPECT_EQ(session.results()[0].provenance.source, "client");
  EXPECT_EQ(session.results()[0].windows.size(), 0U) << "they were of the other source";
  EXPECT_EQ(session.results()[0].fallback_reason, "") << "its pages are known now";
}

/// Whether or not its parent has waited for it.
TEST(HeatOfAProcessThatJoins, EndsWithTheProcessThatNeverDid) {
  for (const bool stays_zombie : {false, true}) {
    const ClientsHere here;
    shmif::test::Child process([]() -> int {
      for (;;) ::pause();  // until killed
    });
    HeatSession session = session_in(here.folder());
    session.add(Process::open(process.pid()).value());
    session.step();
    EXPECT_TRUE(session.is_watching()) << "it may take part yet";
    EXPECT_FALSE(session.results()[0].has_ended);
    if (stays_zombie) {
      process.signal(SIGKILL);
      siginfo_t seen{};
      ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(process.pid()), &seen, WEXITED | WNOWAIT), 0);
    } else {
      process.kill_and_wait();
    }
    EXPECT_TRUE(shmif::test::eventually([&] { return session.step(), !session.is_watching(); }));
    const HeatResult result = session.results()[0];
    EXPECT_TRUE(result.has_ended) << stays_zombie;
    EXPECT_FALSE(result.has_left) << "it has never been there";
    EXPECT_EQ(result.reason, "the process has ended");
    EXPECT_TRUE(result.windows.empty());
  }
}

}  // namespace

}  // namespace shmif::perf::test
