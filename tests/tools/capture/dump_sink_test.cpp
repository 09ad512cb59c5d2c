// Where dump puts frames: several files one after the other, senders that are too many, frames that
// came short, and buses on which it can have no port.

#include "tools/capture/dump_sink.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <thread>

#include "bus/layout.hpp"
#include "bus/offload.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {
namespace {

std::vector<std::string> dump_words(const BusRig& rig, const std::vector<std::string>& more) {
  std::vector<std::string> argv{"dump", rig.path()};
  argv.insert(argv.end(), more.begin(), more.end());
  return argv;
}

TEST(DumpRotation, ByTimeBeginsEachSpanAnewAndEndsAfterTheLast) {
  const TempDir directory;
  std::vector<std::string> opened;
  const auto open = [&](const std::string& file) {
    opened.push_back(file.substr(file.rfind('/') + 1));
    return tools::create_capture(file);
  };
  const Bytes bytes = make_frame(60, 1);
  const FrameView frame(bytes.data(), bytes.size());
  using std::chrono::seconds;
  const auto earliest = std::chrono::steady_clock::now();
  tools::RotatingCapture timed(directory.file("t"), {.seconds = seconds(1), .files = 2}, open);
  const auto latest = std::chrono::steady_clock::now();
  tools::RotatingCapture both(directory.file("b"),
                              {.file_bytes = 50, .seconds = seconds(1), .files = 2}, open);
  std::vector<std::string> names;
  tools::RotatingCapture named(directory.file("n-%s"), {.seconds = seconds(1)},
                               [&](const std::string& file) {
                                 names.push_back(file.substr(file.rfind('/') + 3));
                                 return tools::create_capture(file);
                               });
  const auto until_over = [&] {
    // A whole second is the least span there is.
    while (!timed.is_due() || timed.time_left().count() > 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  };
  ASSERT_EQ(both.file().send({&frame, 1}).taken, 1U);
  EXPECT_TRUE(both.is_due());
  both.next();
  until_over();
  EXPECT_FALSE(timed.is_last()) << "of two";
  EXPECT_TRUE(timed.is_over());
  timed.close();
  EXPECT_FALSE(timed.is_over()) << "there is nothing more to close";
  EXPECT_GT(timed.time_left(), seconds(1)) << "whoever waits for it would not sleep";
  timed.next();
  EXPECT_TRUE(timed.is_open());
  // The second span began when the first one ended, a whole number of seconds after its beginning.
  const auto before = std::chrono::steady_clock::now();
  const std::chrono::nanoseconds left = timed.time_left();
  const auto after = std::chrono::steady_clock::now();
  EXPECT_GE(std::chrono::floor<seconds>(after + left - earliest), before + left - latest)
      << "it began now";
  EXPECT_TRUE(eventually([&] { return both.is_due() && named.is_due(); })) << "a little later";
  named.next();
  EXPECT_GT(names.back(), names.front());
  EXPECT_EQ(names.back().size(), names.front().size())
      << "a name that its time makes another one needs no number";
  both.next();
  EXPECT_FALSE(both.is_due());
  until_over();
  EXPECT_TRUE(timed.is_last());
  EXPECT_FALSE(both.is_last()) << "where files have a size, their number is no end";
  EXPECT_EQ(opened, (std::vector<std::string>{"t", "b0", "b1", "t1", "b2"}));
}

TEST(DumpRotation, BySizeAndTimeNeverGivesANameTwice) {
  const TempDir directory;
  const Bytes bytes = make_frame(60, 1);
  const FrameView frame(bytes.data(), bytes.size());
  std::set<std::string> names;
  std::vector<tools::RotatingCapture> captures;
  for (const char* const name : {"a.pcap", "b-%%.pcap", "c-%Y.pcap", "d-%s.pcap"}) {
    captures.emplace_back(directory.file(name),
                          tools::RotationWish{.file_bytes = 50, .seconds = std::chrono::seconds(1)},
                          [&](const std::string& file) {
                            EXPECT_TRUE(names.insert(file).second) << file << " is overwritten";
                            return tools::create_capture(file);
                          });
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(1100);
  while (std::chrono::steady_clock::now() < end) {
    for (tools::RotatingCapture& capture : captures) {
      if (capture.is_due()) capture.next();
      ASSERT_EQ(capture.file().send({&frame, 1}).taken, 1U);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

/// Whether the tool has a file of `folder` open.
bool has_open(const Tool& tool, const std::string& folder) {
  const std::string fds = "/proc/" + std::to_string(tool.pid()) + "/fd";
  for (const auto& fd : std::filesystem::directory_iterator(fds)) {
    std::error_code gone;
    if (std::filesystem::read_symlink(fd, gone).string().starts_with(folder)) return true;
  }
  return false;
}

TEST(DumpRotation, BySizeAndTimeKeepsEachFrameAlsoWhereTheNameHasNoTime) {
  for (const char* const size : {"100", "2K"}) {  // more than all frames, and 17 frames
    const BusRig rig;
    Port port = rig.port();
    const std::string folder = rig.file("spans");
    ASSERT_TRUE(std::filesystem::create_directory(folder));
    Tool tool({shmifctl_path(), "dump", rig.path(), "--name", "ear", "-G", "1", "-C", size, "-w",
               folder + "/t.pcap"});
    ASSERT_TRUE(rig.wait_for_port("ear"));
    const auto heard = [&] {
      for (const PortInfo& p : Bus::open(rig.path()).value().info().ports)
        if (p.name == "ear") return p.rx_frames;
      return std::uint64_t{0};
    };
    std::vector<Bytes> frames;
    constexpr std::size_t kSpans = 3, kInSpan = 50;
    for (std::size_t span = 0; span < kSpans; ++span) {
      for (std::size_t i = 0; i < kInSpan; ++i) {
        frames.push_back(make_frame(100, frames.size()));
        send(port, {frames.back()});
      }
      ASSERT_TRUE(eventually([&] { return heard() == frames.size(); }));
      ASSERT_TRUE(eventually([&] { return !has_open(tool, folder); })) << "its second is over";
    }
    tool.signal(SIGINT);
    EXPECT_EQ(tool.finish().err, "150 frames captured, 0 filtered out, 0 lost\n");
    std::vector<Bytes> kept;
    std::size_t files = 0;
    for (std::string name = "/t.pcap"; std::filesystem::exists(folder + name);
         name = "/t.pcap" + std::to_string(++files)) {
      for (Bytes& frame : read_capture(folder + name)) kept.push_back(std::move(frame));
    }
    EXPECT_TRUE(same_frames(frames, kept)) << size << ": " << kept.size();
    EXPECT_GE(files, kSpans) << size;
  }
}

TEST(DumpRotation, AFileWhoseTimeIsOverIsCompleteThoughNoFrameComes) {
  const BusRig rig;
  Port port = rig.port();
  const std::string folder = rig.file("spans");
  ASSERT_TRUE(std::filesystem::create_directory(folder));
  Tool tool({shmifctl_path(), "dump", rig.path(), "--name", "ear", "-G", "1", "-w",
             folder + "/x-%s.pcap"});
  ASSERT_TRUE(rig.wait_for_port("ear"));
  const auto files = [&] { return std::distance(std::filesystem::directory_iterator(folder), {}); };
  ASSERT_TRUE(eventually([&] { return files() == 1; }));
  EXPECT_TRUE(eventually([&] { return !has_open(tool, folder); }));
  send(port, {make_frame(60, 1)});
  EXPECT_TRUE(eventually([&] { return files() == 2; })) << "the next frame has a file";
  tool.signal(SIGINT);
  EXPECT_EQ(tool.finish().err, "1 frame captured, 0 filtered out, 0 lost\n");
}

TEST(DumpRotation, BySizeTakesTheOldestFileAgainOnlyWhereNoTimeIsSet) {
  const TempDir directory;
  const Bytes bytes = make_frame(60, 1);
  const FrameView frame(bytes.data(), bytes.size());
  for (const bool timed : {false, true}) {
    std::vector<std::string> opened;
    tools::RotatingCapture capture(
        directory.file("x"),
        {.file_bytes = 50, .seconds = std::chrono::seconds(timed ? 1000 : 0), .files = 3},
        [&](const std::string& file) {
          opened.push_back(file.substr(file.rfind('/') + 1));
          return tools::create_capture(file);
        });
    for (int i = 0; i < 7; ++i) {
      EXPECT_FALSE(capture.is_due());
      ASSERT_EQ(capture.file().send({&frame, 1}).taken, 1U);
      EXPECT_TRUE(capture.is_due());
      capture.next();
    }
    EXPECT_EQ(opened,
              timed ? (std::vector<std::string>{"x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7"})
                    : (std::vector<std::string>{"x0", "x1", "x2", "x0", "x1", "x2", "x0", "x1"}));
  }
}

TEST(DumpRotation, AFileThatCannotBeCompletedIsTheLast) {
  const BusRig rig;
  Port port = rig.port();
  send(port, std::vector<Bytes>(100, make_frame(1514, 1)));
  // A limit on file sizes stands in for the disk.
  const ToolResult r = run_program({"bash", "-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "bash",
                                    shmifctl_path(), "dump", rig.path(), "--history", "--timeout",
                                    "0", "-C", "10K", "-w", rig.file("out.pcap")});
  EXPECT_EQ(r.status, 1);
  EXPECT_TRUE(contains(r.err, "cannot write \"" + rig.file("out.pcap") + "\": File too large"))
      << r.err;
  EXPECT_FALSE(std::filesystem::exists(rig.file("out.pcap1")));
}

TEST(DumpRotation, ByTimeAndSizeNeedsNoTimeInTheNameAndASizeBeyondAllDisksIsNone) {
  const BusRig rig;
  const std::string file = rig.file("x.pcap");
  EXPECT_EQ(run_tool(dump_words(rig, {"--timeout", "0", "-G", "9", "-C", "1", "-w", file})).status,
            0);
  for (const char* const size : {"1152921504607", "18446744073710", "99999999999999999999"}) {
    const ToolResult r = run_tool(dump_words(rig, {"--timeout", "0", "-C", size, "-w", file}));
    EXPECT_EQ(r.status, 2) << size;
    EXPECT_TRUE(contains(r.err, std::string("--rotate-size \"") + size + "\" is not a size"))
        << r.err;
  }
}

TEST(DumpSinks, SayOfEachFrameHowManyWereLostBeforeIt) {
  const BusRig rig;
  const std::string path = rig.file("x.pcapng");
  {
    tools::WantedOutput wanted;
    wanted.file = path;
    tools::SenderNames names(rig.path());
    tools::DumpSink sink(wanted, &names);
    const Bytes bytes = make_frame(60, 1);
    for (const std::uint64_t lost : {0, 1, 2})
      sink.put(FrameView(bytes.data(), bytes.size()), lost);
    ASSERT_TRUE(sink.finish({}));
  }
  std::ifstream file(path, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  EXPECT_EQ(times_in(text, "lost before this one"), 2U);
  EXPECT_EQ(times_in(text, "1 frame of the bus was lost before this one"), 1U);
  EXPECT_EQ(times_in(text, "2 frames of the bus were lost before this one"), 1U);
}

TEST(DumpSenders, ThatAreGoneAreNotAmongThoseThatAreThere) {
  const BusRig rig;
  Tool dead({shmifctl_path(), "ping", rig.path(), "--respond", "--name", "dead"});
  ASSERT_TRUE(dead.wait_for("answering"));
  EXPECT_EQ(tools::SenderNames(rig.path()).live(), std::vector<std::string>{"dead"});
  dead.signal(SIGKILL);
  ASSERT_EQ(dead.finish().status, 128 + SIGKILL);
  const Port port = rig.port("web");
  EXPECT_EQ(tools::SenderNames(rig.path()).live(), std::vector<std::string>{"web"});
}

TEST(DumpSinks, KeepOfAFrameThatCameShortHowLongItWas) {
  const TempDir directory;
  const std::string path = directory.file("x.pcap");
  {
    tools::WantedOutput wanted;
    wanted.file = path;
    wanted.snap_bytes = 60;
    tools::DumpSink sink(wanted, nullptr);
    const Bytes bytes = make_frame(100, 1);
    FrameView frame(bytes.data(), bytes.size());
    frame.true_bytes = 1514;
    sink.put(frame, 0);
    ASSERT_TRUE(sink.finish({}));
  }
  PcapReader reader = PcapReader::open(path).value();
  FrameBatch batch;
  while (!reader.receive(batch).error) {
  }
  ASSERT_EQ(batch.size(), 1U);
  EXPECT_EQ(batch[0].size(), 60U);
  EXPECT_EQ(batch[0].true_bytes, 1514U);
}

TEST(DumpSinks, RecordAFrameWithItsChecksumFinished) {
  const BusRig rig;
  const Bytes bytes = build({}, 100, 1);
  FrameView frame(bytes.data(), bytes.size());
  frame.offload = header_for({}, 0);
  frame.offload.gso_type = Offload::kGsoNone;
  ASSERT_TRUE(frame.offload.needs_checksum());
  Bytes finished = bytes;
  ASSERT_TRUE(bus::finish_checksum(finished, frame.offload));
  ASSERT_NE(finished, bytes);
  for (const std::string name : {"x.pcap", "x.pcapng"}) {
    tools::SenderNames names(rig.path());
    tools::WantedOutput wanted;
    wanted.bus = rig.path();
    wanted.file = rig.file(name);
    {
      tools::DumpSink sink(wanted, &names);
      sink.put(frame, 0);
      ASSERT_TRUE(sink.finish({}));
    }
    std::ifstream file(*wanted.file, std::ios::binary);
    const std::string recorded{std::istreambuf_iterator<char>(file), {}};
    const std::string whole(reinterpret_cast<const char*>(finished.data()), finished.size());
    EXPECT_NE(recorded.find(whole), std::string::npos) << name;
  }
}

TEST(DumpSinks, SayHowMuchOfEachFrameTheyKeep) {
  const BusRig rig;
  constexpr std::uint32_t kAll = 262144;
  for (const auto& [asked, told] : {std::pair{60U, 60U}, {0U, kAll}}) {
    for (const std::string name : {"x.pcap", "x.pcapng"}) {
      tools::SenderNames names(rig.path());
      tools::WantedOutput wanted;
      wanted.bus = rig.path();
      wanted.file = rig.file(name);
      wanted.snap_bytes = asked;
      {
        tools::DumpSink sink(wanted, &names);
        ASSERT_TRUE(sink.finish({}));
      }
      std::ifstream file(*wanted.file, std::ios::binary);
      const std::string bytes{std::istreambuf_iterator<char>(file), {}};
      // In pcapng it is in the description of an interface, the block behind the first.
      std::uint32_t at = 16, length = 0;
      if (name == "x.pcapng") {
        ASSERT_GE(bytes.size(), 28U);
        std::memcpy(&at, bytes.data() + 4, sizeof at);
        at += 12;
      }
      ASSERT_GE(bytes.size(), at + sizeof length);
      std::memcpy(&length, bytes.data() + at, sizeof length);
      EXPECT_EQ(length, told) << name;
    }
  }
}

/// How many blocks of that type a pcapng file has.
std::size_t blocks_of_type(const std::string& path, std::uint32_t wanted) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  std::size_t count = 0;
  for (std::size_t at = 0; at + 12 <= bytes.size();) {
    std::array<std::uint32_t, 2> head{};
    std::memcpy(head.data(), bytes.data() + at, sizeof head);
    if (head[0] == wanted) ++count;
    at += head[1];
  }
  return count;
}

TEST(DumpSinks, OfTooManySendersHaveTheRestShareOneName) {
  constexpr std::uint32_t kInterfaceDescription = 1;
  const BusRig rig;
  tools::SenderNames names(rig.path());
  const std::string path = rig.file("x.pcapng");
  {
    tools::WantedOutput wanted;
    wanted.bus = rig.path();
    wanted.file = path;
    tools::DumpSink sink(wanted, &names);
    const Bytes bytes = make_frame(60, 1);
    FrameView frame(bytes.data(), bytes.size());
    for (int round = 0; round < 2; ++round) {
      for (std::uint32_t i = 1; i <= 1030; ++i) {
        frame.number = 2000U * static_cast<unsigned>(round) + i;
        frame.sender = static_cast<std::uint16_t>(i % 200);
        frame.sender_incarnation = i;
        sink.put(frame, 0);
      }
    }
    ASSERT_TRUE(sink.finish({}));
    EXPECT_EQ(sink.arrived(), 2060U);
  }
  EXPECT_EQ(blocks_of_type(path, kInterfaceDescription), 1U + 1024 + 1)
      << "the bus, as many senders as have names of their own, and the others";
}

TEST(DumpWithoutAPort, ShowsWhatAPortWouldWhereTheTableIsFull) {
  const BusRig rig;
  std::vector<Port> ports(Bus::open(rig.path()).value().info().slots);
  for (Port& port : ports) ASSERT_TRUE(port.attach(rig.path()));
  ASSERT_FALSE(ports[0].up());
  Bytes bytes = build({}, 14'000, 1);
  std::fill_n(bytes.begin(), 6, std::byte{0xff});
  FrameView frame(bytes.data(), bytes.size());
  frame.offload = header_for({}, 1'400);
  ASSERT_FALSE(ports[0].send({&frame, 1}).error);
  const auto said = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words{"--timeout", "0"};
    words.insert(words.end(), more.begin(), more.end());
    return run_tool(dump_words(rig, words)).err;
  };
  EXPECT_EQ(said({}), "0 frames captured, 0 filtered out, 0 lost\n");
  EXPECT_EQ(said({"--history"}),
            "1 frame captured (10 after segmentation), 0 filtered out, 0 lost\n");
  EXPECT_EQ(said({"--history", "--super-frames"}), "1 frame captured, 0 filtered out, 0 lost\n");
  const ToolResult named = run_tool(dump_words(rig, {"--timeout", "0", "--name", "ear"}));
  EXPECT_EQ(named.status, 1) << "who asks for a port is told that there is none";
  EXPECT_TRUE(contains(named.err, std::to_string(ports.size()))) << named.err;
}

TEST(DumpWithoutAPort, SaysThatItsCountOfLossesMayBeTooLow) {
  const BusRig rig;
  std::vector<Port> ports(Bus::open(rig.path()).value().info().slots);
  for (Port& port : ports) ASSERT_TRUE(port.attach(rig.path()));
  ASSERT_FALSE(ports[0].up());
  send(ports[0], {arp_request()});
  Tool tool({shmifctl_path(), "dump", rig.path(), "--history", "-c", "2"});
  ASSERT_TRUE(tool.wait_for("ARP"));
  {
    std::fstream file(rig.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(bus::kRingOffset));
    file << std::string(4096, 'x');
  }
  ASSERT_TRUE(tool.wait_for("corrupt"));
  ASSERT_EQ(run_tool({"repair", rig.path()}).status, 0);
  send(ports[0], {arp_request()});
  const ToolResult r = tool.finish();
  EXPECT_EQ(r.status, 0) << r.err;
  // The ring begins anew, and so do the numbers of its frames.
  EXPECT_TRUE(contains(r.err, "2 frames captured, 0 filtered out, at least ")) << r.err;
}

TEST(DumpWithoutAPort, ShowsWhatIsInACopy) {
  const BusRig rig;
  Port port = rig.port();
  send(port, {arp_request()});
  const std::string copy = rig.file("copy");
  std::filesystem::copy_file(rig.path(), copy);
  const ToolResult r = run_tool({"dump", copy, "--history", "--timeout", "0"});
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_TRUE(contains(r.out, "ARP")) << r.out;
  EXPECT_FALSE(contains(r.err, "following")) << "who does not ask is not told: " << r.err;
  const ToolResult told =
      run_tool({"--log-level", "info", "dump", copy, "--history", "--timeout", "0"});
  EXPECT_TRUE(
      contains(told.err, "cannot attach a port to " + copy + ", following the bus without one: "))
      << told.err;
}

TEST(DumpWithoutAPort, ShowsWhatIsOnAFileSystemThatMayOnlyBeRead) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root: has mounts of its own";
  const BusRig rig;
  Port port = rig.port();
  send(port, {arp_request()});
  const ToolResult r = run_program(
      {"unshare", "-m", "sh", "-c",
       "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\" || exit 99; shift; "
       "exec \"$@\"",
       "sh", rig.directory(), shmifctl_path(), "dump", rig.path(), "--history", "--timeout", "0"});
  if (!contains(r.err, "captured") && !contains(r.err, "shmifctl"))
    GTEST_SKIP() << "no namespaces here with mounts of their own: " << r.err;
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_TRUE(contains(r.out, "ARP")) << r.out;
}

}  // namespace
}  // namespace shmif::test
