// What the commands that look after a bus say: names, numbers and plurals.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/support/raw_bus.hpp"
#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {
namespace {

TEST(BusMessages, OfWaitTellWhatKeepsAPortFromBeingUp) {
  const BusRig rig;
  Port port = rig.port("web");
  const auto waited = [&] {
    return run_tool({"wait", rig.path(), "--port", "web", "--timeout", "0"});
  };
  EXPECT_EQ(waited().status, 0);
  ASSERT_FALSE(port.set_carrier(false));
  const ToolResult cut = waited();
  EXPECT_EQ(cut.status, 1);
  EXPECT_EQ(cut.err, "shmifctl: cannot see port \"web\" up on bus \"" + rig.path() +
                         "\" within 0 s: the port is up, but the network interface of its host is "
                         "down (see 'shmifctl stat " +
                         rig.path() + "')\n");
  const ToolResult soon = run_tool({"wait", rig.path(), "--port", "web", "--timeout", "5ms"});
  EXPECT_TRUE(contains(soon.err, "\" within 5ms: ")) << soon.err;
  const ToolResult asked = run_tool({"wait", rig.file("none"), "--tcp", "198.18.0.1:80", "--tcp",
                                     "198.18.0.2:81", "--timeout", "5ms"});
  EXPECT_TRUE(contains(asked.err, "service 198.18.0.1:80 on bus \"" + rig.file("none") +
                                      "\" within 5ms: there is no such bus ("))
      << asked.err;
  ASSERT_FALSE(port.down());
  const ToolResult down = waited();
  EXPECT_EQ(down.status, 1);
  EXPECT_TRUE(contains(down.err, ": the port is attached but down (")) << down.err;
  ASSERT_FALSE(port.set_carrier(true));
  ASSERT_FALSE(port.up());
  EXPECT_EQ(waited().status, 0);
}

/// Expects that audit counts its findings in the message, too. Result: how many there are.
std::size_t findings_of(const BusRig& rig) {
  const ToolResult as_json = run_tool({"audit", rig.path(), "--json"});
  const std::size_t count = nlohmann::json::parse(as_json.out)["findings"].size();
  const ToolResult text = run_tool({"audit", rig.path()});
  EXPECT_EQ(text.status, count == 0 ? 0 : 1);
  EXPECT_EQ(as_json.status, text.status);
  const std::string what =
      count == 0 ? ""
                 : "shmifctl: bus \"" + rig.path() + "\" breaks " + std::to_string(count) +
                       (count == 1 ? " invariant" : " invariants") +
                       " (repair it with 'shmifctl repair " + rig.path() + "')\n";
  EXPECT_EQ(text.err, what);
  EXPECT_EQ(as_json.err, what);
  return count;
}

TEST(BusMessages, OfAuditCountWhatIsBroken) {
  const BusRig rig;
  Port port = rig.port();
  for (int i = 0; i < 8; ++i) send(port, {arp_request()});
  EXPECT_EQ(findings_of(rig), 0U);
  const RawBus raw(rig.path());
  const std::uint64_t first = raw.header().first;
  raw.ring().record(first).number += 7;
  EXPECT_EQ(findings_of(rig), 1U);
}

/// A terminal obeys U+009B, and U+202E turns the text around.
TEST(BusMessages, ShowNoNameOfAFileAsItIs) {
  const TempDir directory;
  const std::string path = directory.file("a\xc2\x9b\xe2\x80\xae~");
  const auto shown = [&](const std::vector<std::string>& words) {
    const ToolResult said = run_tool(words);
    const std::string all = said.out + said.err;
    EXPECT_EQ(all.find("\xc2\x9b"), std::string::npos) << words[0] << ": " << all;
    EXPECT_EQ(all.find("\xe2\x80\xae"), std::string::npos) << words[0] << ": " << all;
    const bool named =
        all.find("a??~") != std::string::npos || all.find("a\\u009b\\u202e~") != std::string::npos;
    EXPECT_TRUE(named) << words[0] << ": " << all;
  };
  shown({"stat", path});
  ASSERT_EQ(run_tool({"create", path}).status, 0);
  for (const char* const command : {"stat", "audit"}) {
    shown({command, path});
    shown({command, path, "--json"});
  }
  shown({"repair", path});
  shown({"ping", path, "--timeout", "0.1", "-c", "1"});
  shown({"ping", path, "--timeout", "0.1", "-c", "1", "--json"});
}

}  // namespace
}  // namespace shmif::test
