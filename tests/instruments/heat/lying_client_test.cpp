// A process that takes part and does not speak the truth.

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <vector>

#include "instruments/heat/bus_heat.hpp"
#include "instruments/heat/session.hpp"
#include "instruments/heat/source.hpp"
#include "shmif/port.hpp"
#include "tests/instruments/heat/fake_client.hpp"
#include "tests/instruments/heat/shared_pages.hpp"
#include "tests/support/holdings.hpp"
#include "tests/support/silent_files.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::test {
namespace {

constexpr const char* kNoPagemap =
    "the target gave no pagemap of its own: it sent a descriptor that is no pagemap";

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
    const FakeClient client(here.folder(), "/proc/self/pagemap", {}, 2);
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

/// Listens, and never answers.
UniqueFd silent_listener(const std::string& path) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(&address.sun_path[0], sizeof address.sun_path - 1);
  EXPECT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_EQ(::listen(socket.get(), 8), 0);
  return socket;
}

// However many are silent, those that answer are found within one second, and a signal ends it.
TEST(HeatClients, ThatDoNotAnswerKeepNobodyFromTheOthers) {
  const ClientsHere here;
  std::vector<UniqueFd> silent;
  for (int i = 0; i < 200; ++i)
    silent.push_back(silent_listener(here.folder() + "/0-" + std::to_string(i)));
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

}  // namespace
}  // namespace shmif::perf::test
