// Labs whose hosts print more than others read: the controller goes on with its other work, and
// keeps its memory.

#include <fcntl.h>
#include <sys/socket.h>

#include <array>
#include <utility>

#include "tests/tools/lab/lab_rig.hpp"
#include "tools/uplink/machine_line.hpp"

namespace shmif::test {
namespace {

using tools::Json;
using tools::MachineLine;

class LabFloodUp : public LabRig {};

TEST_F(LabFloodUp, AReaderThatStandsStillDoesNotHoldUpTheLab) {
  const std::string path = lab(R"(
at = [{ after = "log a last", link = "a", down = true }]
[host.a]
on = "b"
run = "yes 0123456789012345678901234567890123456789 | head -n 60000; echo last; sleep 600"
[test]
host = "a"
run = "until grep -q down out/timeline.jsonl; do sleep 0.1; done; echo end"
)");
  Tool tool(Words{shmifctl_path()} + up_words(path, {"--keep", "always", "--junit",
                                                     file("r.xml")}));  // nobody reads what it says
  EXPECT_TRUE(eventually([&] { return text_of(file("out/test.log")) == "end\n"; }));
  EXPECT_TRUE(eventually([&] { return std::filesystem::exists(file("r.xml")); }));
  EXPECT_TRUE(eventually([&] { return !std::filesystem::exists(file("run/shmif/lab.json")); }));
  expect_no_trace();
  EXPECT_EQ(text_of(file("out/a.log")).size(), 60'000U * 41 + 5) << "the log is whole";
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_TRUE(contains(r.out,
                       " lines left out here, because nobody read them in time (the log of each "
                       "host has all of its lines)\n"));
  EXPECT_FALSE(contains(r.out, "last")) << "it was left out";
}

struct LineEnds {
  MachineLine near, far;
};
LineEnds line_ends(std::size_t max_record) {
  std::array<int, 2> pair{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
  return {MachineLine(UniqueFd(pair[0]), UniqueFd(::dup(pair[0])), max_record),
          MachineLine(UniqueFd(pair[1]), UniqueFd(::dup(pair[1])), max_record)};
}

TEST(LabFlood, ARecordOfAnotherMachineHasALimit) {
  for (const bool is_longer : {false, true}) {
    LineEnds ends = line_ends(MachineLine::kMaxAnswer);
    const std::size_t around = std::string(R"({"out":""})").size();
    ends.far.send(
        {{"out",
          std::string(MachineLine::kMaxAnswer - around + (is_longer ? 128 * 1024 : 0), 'x')}});
    std::vector<Json> records;
    for (int i = 0; i < 1000 && ends.near.is_open() && records.empty(); ++i) {
      ends.far.flush();
      records = ends.near.receive();
    }
    EXPECT_EQ(records.size(), is_longer ? 0U : 1U);
    EXPECT_EQ(ends.near.is_wrong(), is_longer);
  }
}

TEST(LabFlood, RecordsThatComeByteByByteAreFound) {
  std::array<int, 2> pair{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()), 0);
  const UniqueFd far(pair[1]);
  MachineLine near(UniqueFd{pair[0]}, UniqueFd{::dup(pair[0])}, MachineLine::kMaxAnswer);
  std::string found;
  for (const char byte : std::string("{\"a\":1}\n{\"b\":2}\n")) {
    ASSERT_EQ(::write(far.get(), &byte, 1), 1);
    for (const Json& each : near.receive()) found += each.dump();
  }
  EXPECT_EQ(found, R"({"a":1}{"b":2})");
}

}  // namespace
}  // namespace shmif::test
