// Options of a command line that shape what is sent and for how long, seen in the frames and logs.

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "tests/support/fuse_files.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/tools/shmifperf/perf_rig.hpp"

namespace shmif::test {
namespace {

/// A record of a capture: when it is of, in microseconds, and its bytes.
struct Record {
  std::uint64_t time_us;
  std::vector<char> bytes;
};

constexpr std::size_t kFileHeader = 24;
constexpr std::size_t kRecordHeader = 16;

std::uint32_t word_at(const std::string& text, std::size_t at) {
  std::uint32_t word = 0;
  std::memcpy(&word, text.data() + at, sizeof word);
  return word;
}

/// The records of a pcap file of this machine's byte order, with the unit that its magic tells.
std::vector<Record> records_of(const std::string& path) {
  const std::string text = text_of_file(path);
  const std::uint64_t unit = word_at(text, 0) == 0xa1b23c4dU ? 1000 : 1;
  std::vector<Record> records;
  for (std::size_t at = kFileHeader; at + kRecordHeader <= text.size();) {
    const std::size_t bytes = word_at(text, at + 8);
    const std::string body = text.substr(at + kRecordHeader, bytes);
    records.push_back({word_at(text, at) * 1'000'000ULL + word_at(text, at + 4) / unit,
                       {body.begin(), body.end()}});
    at += kRecordHeader + bytes;
  }
  return records;
}

class PerfFrames : public testing::Test {
 protected:
  /// Runs a job that writes a capture.
  std::vector<Record> sent(Words options) {
    const Words first{"run", "--engine=pcap", "--rw=tx", "--filename=" + path("sent.pcap")};
    options.insert(options.begin(), first.begin(), first.end());
    const ToolResult ran = shmifperf(options);
    EXPECT_EQ(ran.status, 0) << ran.err;
    return records_of(path("sent.pcap"));
  }
  /// How many frames have which size.
  std::map<std::size_t, std::size_t> sizes(Words options) {
    options.emplace_back("--number_ios=400");
    std::map<std::size_t, std::size_t> sizes;
    for (const Record& record : sent(std::move(options))) ++sizes[record.bytes.size()];
    return sizes;
  }
  std::string path(const std::string& name) const { return dir_.file(name); }

  TempDir dir_;
};

TEST_F(PerfFrames, HaveTheSizesOfASplitInItsShares) {
  const auto found = sizes({"--bssplit=64/50:128/25:200/25"});
  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(found.at(64) + found.at(128) + found.at(200), 400U);
  EXPECT_NEAR(static_cast<double>(found.at(64)), 200, 60);
  EXPECT_NEAR(static_cast<double>(found.at(128)), 100, 50);
}

TEST_F(PerfFrames, OfAReplayFollowEachOtherAfterTheLongestGapAtMost) {
  {
    std::ofstream file(path("given.pcap"), std::ios::binary);
    const auto put = [&file](std::initializer_list<std::uint32_t> words) {
      for (const std::uint32_t word : words) {
        file.write(reinterpret_cast<const char*>(&word), sizeof word);
      }
    };
    put({0xa1b2c3d4U, 0x00040002U, 0, 0, 65535, 1});
    for (const std::uint32_t second : {100U, 700U}) {
      put({second, 0, 60, 60});
      file << std::string(12, '\x02') << "\x88\xb6" << std::string(46, '\0');
    }
  }
  const auto records = sent({"--replay=" + path("given.pcap"), "--replay_max_gap=30ms"});
  ASSERT_EQ(records.size(), 2U);
  EXPECT_LT(records[1].time_us - records[0].time_us, 60'000'000U) << "they were 10 minutes apart";
}

TEST_F(PerfFrames, OfJobsWithOneLogAreInItWithTheLinesOfEach) {
  const ToolResult ran =
      shmifperf({"run", "--aux-path=" + dir_.path(), "--write_iops_log=both", "--per_job_logs=0",
                 "--log_avg_msec=100", "--runtime=400ms", "--engine=null", "--rw=tx",
                 "--output=" + path("result"), "--name=fast", "--rate_iops=1000", "--name=slow",
                 "--rate_iops=50"});
  ASSERT_EQ(ran.status, 0) << ran.err;
  std::size_t fast = 0;
  std::size_t slow = 0;
  for (const std::string& line : lines_of(text_of_file(path("both_iops.log")))) {
    const long value = std::stol(line.substr(line.find(", ") + 2));
    ++(value > 200 ? fast : slow);
  }
  EXPECT_GT(fast, 0U);
  EXPECT_GT(slow, 0U);
  EXPECT_FALSE(std::ifstream(path("both_iops.fast.log")));
  EXPECT_FALSE(std::ifstream(path("both_iops.slow.log")));
}

TEST_F(PerfFrames, OfClonesWithOneLogAreTheSumsOverItsTimesOrInItsLines) {
  for (const auto& [logs, each] : {std::pair("0", 4), {"agg", 1}}) {
    const ToolResult ran = shmifperf({"run", "--aux-path=" + dir_.path(), "--write_iops_log=all",
                                      std::string("--per_job_logs=") + logs, "--log_avg_msec=10",
                                      "--number_ios=57", "--engine=null", "--rw=tx", "--numjobs=4",
                                      "--output=" + path("result"), "--rate_iops=1000"});
    ASSERT_EQ(ran.status, 0) << ran.err;
    std::map<long, int> lines;
    double frames = 0;
    for (const std::string& line : lines_of(text_of_file(path("all_iops.log")))) {
      ++lines[std::stol(line)];
      frames += 0.01 * std::stod(line.substr(line.find(", ") + 2));
    }
    EXPECT_EQ(std::lround(frames), 4 * 57);
    for (long at = 10; at <= 50; at += 10) EXPECT_EQ(lines[at], each) << logs << ' ' << at;
    for (const auto& [at, count] : lines) {
      EXPECT_EQ(at % 10, 0) << at;
      EXPECT_LE(count, each) << logs << ' ' << at;
    }
  }
}

TEST_F(PerfFrames, AreSentForTheRampBeforeASteadyStateIsLookedFor) {
  const ToolResult ran = shmifperf({"run", "--engine=null", "--rw=tx", "--rate_iops=100",
                                    "--ss=iops:90%", "--ss_dur=2", "--ss_ramp=1", "--runtime=30",
                                    "--output-format=json", "--output=" + path("result")});
  ASSERT_EQ(ran.status, 0) << ran.err;
  const double seconds = job_of(json_of_file(path("result")), "job").at("runtime_seconds");
  EXPECT_GE(seconds, 3.0) << "of the ramp, and of the state";
  EXPECT_LT(seconds, 29.0) << "it was steady";
}

}  // namespace
}  // namespace shmif::test
