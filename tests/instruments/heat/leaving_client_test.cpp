// Processes that stop taking part and live on for a while, and others that begin late or never.

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include "instruments/heat/session.hpp"
#include "tests/instruments/heat/fake_client.hpp"
#include "tests/instruments/heat/shared_pages.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/eventually.hpp"

namespace shmif::perf::test {
namespace {

HeatSession session_in(const std::string& folder) {
  HeatOptions options;
  options.backend = HeatBackend::client;
  options.clients = folder;
  return HeatSession(options);
}

TEST(HeatOfAProcessThatLeft, SaysSoAndNotThatItHasEnded) {
  const ClientsHere here;
  const SharedPages pages(4);
  const FakeClient client(here.folder(), "/proc/self/pagemap",
                          {pages.address(0), pages.address(4)});
  HeatSession session = session_in(here.folder());
  session.add(Process::open(::getpid()).value());
  ASSERT_TRUE(session.is_watching()) << session.results()[0].reason;
  while (session.is_watching()) session.step();
  session.finish();
  const HeatResult result = session.results()[0];
  EXPECT_TRUE(shmif::test::eventually([&] { return client.has_left(); }));
  EXPECT_TRUE(result.has_left);
  EXPECT_FALSE(result.has_ended) << "this process lives";
  EXPECT_EQ(result.reason,
            "the process shares its access heat no longer (it left its bus, or it is about to "
            "end)");
}

TEST(HeatOfAProcessThatLeft, SaysThatItHasEndedIfItDidSoBeforeTheWatchWasOver) {
  const ClientsHere here;
  const SharedPages pages(4);
  const FakeClient client(here.folder(), "/proc/self/pagemap",
                          {pages.address(0), pages.address(4)});
  shmif::test::Child process([]() -> int {
    for (;;) ::pause();  // until killed
  });
  HeatSession session = session_in(here.folder());
  session.add(Process::open(process.pid()).value(),
              watch_by_client(::getpid(), here.folder()).value());
  while (session.is_watching()) session.step();
  EXPECT_TRUE(session.results()[0].has_left) << session.results()[0].reason;
  EXPECT_FALSE(session.results()[0].has_ended) << "it lives";
  process.kill_and_wait();
  session.finish();
  const HeatResult result = session.results()[0];
  EXPECT_FALSE(result.has_left);
  EXPECT_TRUE(result.has_ended);
  EXPECT_EQ(result.reason, "the process has ended");
}

/// How the reason begins why this process is not watched by page.
std::string nowhere_in(const std::string& folder) {
  return "process " + std::to_string(::getpid()) + " shares no access heat in " + folder;
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
  EXPECT_TRUE(fallback.starts_with(nowhere_in(here.folder()))) << fallback;
  EXPECT_NE(fallback.find("; heat sees the pages only of a program"), std::string::npos)
      << fallback;
  while (session.results()[0].windows.empty()) session.step();
  // From now on it takes part, until it is asked for more than a hello.
  const FakeClient client(here.folder(), "/proc/self/pagemap",
                          {pages.address(0), pages.address(4)});
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
