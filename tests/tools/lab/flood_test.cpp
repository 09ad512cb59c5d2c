// Labs whose hosts print more than others read: the controller goes on with its other work, and
// keeps its memory.

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <csignal>
#include <optional>
#include <utility>

#include "tests/tools/lab/lab_rig.hpp"
#include "tools/common/patient_output.hpp"
#include "tools/uplink/machine_line.hpp"

namespace shmif::test {
namespace {

using tools::Json;
using tools::MachineLine;
using tools::PatientOutput;

constexpr int kMiB = 1 << 20;

// ---- The terminal ----

/// A pipe that nobody reads unless take() is called.
class UnreadPipe {
 public:
  UnreadPipe() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    in_.reset(ends[0]);
    out_.reset(ends[1]);
  }
  int out() const { return out_.get(); }
  std::string take() const {
    std::string text(4 * kMiB, '\0');
    ::fcntl(in_.get(), F_SETFL, O_NONBLOCK);
    const ssize_t n = ::read(in_.get(), text.data(), text.size());
    text.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
    return text;
  }

 private:
  UniqueFd in_, out_;
};

TEST(LabFlood, LinesThatNobodyReadsWaitAndThenAreCounted) {
  const UnreadPipe pipe;
  PatientOutput output(pipe.out(), " (say where)");
  const std::string line(99, 'x');
  constexpr std::size_t kLines = 30'000;  // 3 MB
  for (std::size_t i = 0; i < kLines; ++i) output.write(line);
  EXPECT_EQ(::fcntl(pipe.out(), F_GETFL) & O_NONBLOCK, 0) << "which others would notice";
  EXPECT_GE(output.wanted(), 0);
  std::string text;
  for (std::string part; !(part = pipe.take()).empty(); output.flush()) text += part;
  EXPECT_EQ(output.wanted(), -1);
  const std::size_t notice = text.find("shmif");
  ASSERT_NE(notice, std::string::npos);
  EXPECT_EQ(text.find("\n", notice) + 1, text.size()) << "the last line";
  const std::size_t shown = times_in(text, line + '\n');
  EXPECT_GE(shown, PatientOutput::kMaxWaiting / 100);
  EXPECT_LE(shown, (PatientOutput::kMaxWaiting + 128 * 1024) / 100);
  EXPECT_NE(text.find(": " + std::to_string(kLines - shown) +
                      " lines left out here, because nobody read them in time (say where)\n"),
            std::string::npos)
      << text.substr(notice);
  output.write("after");
  EXPECT_EQ(pipe.take(), "after\n");
}

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
  std::vector<std::string> words = up_words(path, {"--keep", "always", "--junit", file("r.xml")});
  words.insert(words.begin(), shmifctl_path());
  Tool tool(words);  // nobody reads what it says
  EXPECT_TRUE(eventually([&] { return text_of(file("out/test.log")) == "end\n"; }));
  EXPECT_TRUE(eventually([&] { return std::filesystem::exists(file("r.xml")); }));
  EXPECT_TRUE(eventually([&] { return !std::filesystem::exists(file("run/shmif/lab.json")); }));
  expect_no_trace();
  EXPECT_EQ(text_of(file("out/a.log")).size(), 60'000U * 41 + 5) << "the log is whole";
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_NE(r.out.find(" lines left out here, because nobody read them in time (the log of each "
                       "host has all of its lines)\n"),
            std::string::npos);
  EXPECT_EQ(r.out.find("last"), std::string::npos) << "it was left out";
}

// ---- Another machine ----

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
  std::vector<Json> all;
  for (const char byte : std::string("{\"a\":1}\n{\"b\":\"two\"}\n{\"c\":3}\n")) {
    ASSERT_EQ(::write(far.get(), &byte, 1), 1);
    for (Json& each : near.receive()) all.push_back(std::move(each));
  }
  ASSERT_EQ(all.size(), 3U);
  EXPECT_EQ(all[0].at("a"), 1);
  EXPECT_EQ(all[1].at("b"), "two");
  EXPECT_EQ(all[2].at("c"), 3);
}

}  // namespace
}  // namespace shmif::test
