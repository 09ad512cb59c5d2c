// A process that takes part and does not speak the truth.

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "perf/heat/session.hpp"
#include "perf/heat/source.hpp"
#include "tests/perf/heat/fake_client.hpp"
#include "tests/perf/heat/shared_pages.hpp"

namespace shmif::perf::test {
namespace {

TEST(HeatClients, MustGiveAPagemapAndTheResultSaysWhyOthersAreNotWatchedByPage) {
  const ClientsHere here;
  for (const char* const file : {"/dev/zero", "/proc/self/maps", "/etc/passwd"}) {
    const FakeClient client(here.folder(), file);
    const auto source = watch_by_client(::getpid(), here.folder());
    ASSERT_FALSE(source) << file;
    EXPECT_EQ(source.error().message, "the target gave no pagemap of its own") << file;
    HeatOptions options;
    options.clients = here.folder();
    HeatSession session(options);
    session.add(Process::open(::getpid()).value());
    const HeatResult result = session.results()[0];
    EXPECT_EQ(result.provenance.source, "clear_refs") << result.reason;
    EXPECT_EQ(result.fallback_reason, "the target gave no pagemap of its own");
    std::filesystem::remove(here.folder() + "/1-1");
  }
}

}  // namespace
}  // namespace shmif::perf::test
