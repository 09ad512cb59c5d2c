// What tshark, tcpdump and scapy read in captures of `shmifctl dump`, what tools/shmif.lua shows of
// the frames of shmifperf and of `shmifctl ping`, and tools/shmif_bus.lua of the file of a bus.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "shmif/ping.hpp"
#include "tests/tools/capture/dump_rig.hpp"

namespace shmif::test {
namespace {

struct Wireshark : ::testing::Test {
  void SetUp() override {
    if (std::system("command -v tshark >/dev/null 2>&1") != 0)
      GTEST_SKIP() << "tshark is not installed";
  }
  /// These fields of each frame of a capture.
  static std::string fields(const std::string& file, const Words& fields, const Words& more = {}) {
    Words words = Words{"tshark", "-n", "-r", file, "-T", "fields"} + more;
    for (const std::string& field : fields) words.insert(words.end(), {"-e", field});
    return run_program(words).out;
  }
  static std::string dissected(const std::string& file, const Words& fields) {
    return Wireshark::fields(file, fields, {"-X", "lua_script:" + in_source("tools/shmif.lua")});
  }
  static Words reader_of_buses() {
    return {"-X", "lua_script:" + in_source("tools/shmif_bus.lua")};
  }
};

TEST_F(Wireshark, ReadsOfEachFrameItsNumberItsSenderAndThatItIsUnsegmented) {
  const BusRig rig;
  Port far = rig.port("far"), web = rig.port("web");
  {
    Port gone = rig.port("gone");
    send(gone, {make_frame(77, 1), make_frame(60, 1)});  // the first of which the file has not
  }
  send_super_frame(web, true);
  send_super_frame(far, false);
  const std::string filter = "less 76 or greater 78";
  const std::string file = rig.file("x.pcapng");
  ASSERT_EQ(dump_history(rig, {"-w", file, "--super-frames", filter}).status, 0);
  const auto notes = [](const std::string& of) {
    return fields(of, {"frame.packet_id", "frame.interface_name", "frame.len", "frame.packet_flags",
                       "frame.comment"});
  };
  const std::string wanted =
      "1\tgone\t60\t\t\n"
      "2\tweb\t14054\t0x00000800\tunsegmented: its TCP payload is sent in frames of 1400 bytes "
      "each\n"
      "3\tfar\t14042\t\tunsegmented: its UDP payload is sent in frames of 1400 bytes each\n";
  EXPECT_EQ(notes(file), wanted);
  // editcap keeps what it copies, and capinfos and tcpdump read all of it.
  ASSERT_EQ(run_program({"editcap", file, rig.file("y.pcapng")}).status, 0);
  EXPECT_EQ(notes(rig.file("y.pcapng")), wanted);
  const std::string about = run_program({"capinfos", file}).out;
  for (const std::string& part :
       {std::string("Number of packets:   3\n"), std::string("Hardware = shmif port, library\n"),
        "frames of the bus " + rig.path() + ", filter \"" + filter + "\""}) {
    EXPECT_TRUE(contains(about, part));
  }
  // Cut up, also for those that read pcap.
  ASSERT_EQ(dump_history(rig, {"-w", rig.file("x.pcap"), filter}).status, 0);
  ASSERT_EQ(dump_history(rig, {"-w", file, filter}).status, 0);
  std::ostringstream lengths;
  for (int i = 0; i < 21; ++i) lengths << (i == 0 ? 60 : i <= 10 ? 1454 : 1442) << '\n';
  EXPECT_EQ(fields(file, {"frame.len"}), lengths.str());
  EXPECT_EQ(fields(rig.file("x.pcap"), {"frame.len"}), lengths.str());
  if (std::system("command -v tcpdump >/dev/null 2>&1") != 0) GTEST_SKIP() << "no tcpdump";
  EXPECT_EQ(count_of_lines(run_program({"tcpdump", "-n", "-r", file, "ip"}).out), 10 + 10);
  if (run_program({SHMIF_PYTHON, "-c", "import scapy.layers.tuntap"}).status != 0)
    GTEST_SKIP() << "python3-scapy is not installed";
  const ToolResult scapy = run_program({SHMIF_PYTHON, "-c",
                                        "import sys\nfrom scapy.utils import rdpcap\n"
                                        "for each in rdpcap(sys.argv[1]): print(len(each))",
                                        file});
  EXPECT_EQ(scapy.out, lengths.str()) << scapy.err;
}

TEST_F(Wireshark, ReadsWhichProcessHasAPort) {
  const BusRig rig;
  Tool answer({shmifctl_path(), "ping", rig.path(), "--respond", "--name", "web"});
  ASSERT_TRUE(answer.wait_for("answering"));
  ASSERT_EQ(run_tool({"ping", rig.path(), "--to", "web", "-c", "1"}).status, 0);
  ASSERT_EQ(dump_history(rig, {"-w", rig.file("x.pcapng")}).status, 0);
  const std::string about = run_program({"capinfos", rig.file("x.pcapng")}).out;
  EXPECT_TRUE(contains(about, ", process " + std::to_string(answer.pid()) + ": " + shmifctl_path() +
                                  " ping " + rig.path() + " --respond --name web\n"));
  // The other sender has left, and with it its process.
  EXPECT_EQ(times_in(about, ", process "), 1U) << about;
}

TEST_F(Wireshark, ReadsWhereFramesWereLostAndHowMany) {
  for (const bool before_the_first : {false, true}) {
    const BusRig rig({.ring_bytes = 64U << 10U});
    const std::string file = rig.file("out.pcapng");
    Port port = rig.port("web");
    if (!before_the_first) send(port, {make_frame(60, 1)});
    Tool tool(dump(rig, {"--history", "--name", "ear", "-w", file}));
    ASSERT_TRUE(rig.wait_for_port("ear"));
    ASSERT_TRUE(eventually([&] {  // it has the first
      std::error_code none_yet;
      const std::uintmax_t bytes = std::filesystem::file_size(file, none_yet);
      return before_the_first || (!none_yet && bytes >= 300);
    }));
    const auto [captured, lost] =
        OverrunDump(overrun(rig, tool, [&] { send_200_frames(port); }).err);
    ASSERT_GT(lost, 0U);
    EXPECT_EQ(captured + lost, before_the_first ? 200U : 201U);
    const std::string number = std::to_string(lost);
    EXPECT_EQ(fields(file, {"frame.number", "frame.drop_count", "frame.comment"},
                     {"-Y", "frame.drop_count"}),
              (before_the_first ? "1\t" : "2\t") + number + "\t" + number +
                  " frames of the bus were lost before this one\n");
  }
}

TEST_F(Wireshark, ShowsTheFieldsOfAProbeAndWhetherItsFrameWasChanged) {
  const TempDir dir;
  const std::string file = dir.file("x.pcapng");
  const ToolResult run =
      run_program({shmifperf_path(), "run", "--rw=tx", "--bs=300", "--number_ios=3",
                   "--headers=vlan(id=7)/ipv4(src=198.18.0.1,dst=198.18.0.2)/udp(sport=40000,"
                   "dport=inc(40001,40003))",
                   "--write_pcap=" + file, "--output=/dev/null"});
  ASSERT_EQ(run.status, 0) << run.err;
  std::string bytes = bytes_of(file);
  const std::size_t last = bytes.rfind("sp\x01");
  ASSERT_NE(last, std::string::npos);
  bytes.at(last + 100) ^= '\x01';
  std::ofstream(file, std::ios::binary) << bytes;
  EXPECT_EQ(dissected(file, {"udp.dstport", "shmifperf.version", "shmifperf.kind", "shmifperf.flow",
                             "shmifperf.length", "shmifperf.sequence", "shmifperf.crc.status"}),
            "40001\t1\t0\t0\t300\t0\tright\n"
            "40002\t1\t0\t0\t300\t1\tright\n"
            "40003\t1\t0\t0\t300\t2\twrong\n");
  // The comment of the recording has the same difference of times.
  std::istringstream late(dissected(file, {"shmifperf.late_ns", "frame.comment"}));
  int lines = 0;
  for (std::string line; std::getline(late, line); ++lines) {
    EXPECT_TRUE(contains(line, ", sent " + line.substr(0, line.find('\t')) + " ns later"));
  }
  EXPECT_EQ(lines, 3);
}

TEST_F(Wireshark, ShowsTheFieldsOfAPing) {
  const TempDir dir;
  std::vector<Bytes> frames;
  for (const PingType type : {PingType::request, PingType::reply}) {
    frames.emplace_back(kPingFrameBytes);
    write_ping({.destination = MacAddress::from_u64(0xb2a000000001),
                .source = MacAddress::from_u64(0xb2a000000002),
                .type = type,
                .id = 0x01020304,
                .sequence = 7,
                .sent_ns = 5'000'000'001},
               std::span<std::byte, kPingFrameBytes>(frames.back()));
  }
  write_capture(dir.file("x.pcap"), frames);
  EXPECT_EQ(dissected(dir.file("x.pcap"), {"shmifping.type", "shmifping.id", "shmifping.sequence",
                                           "shmifping.sent_ns"}),
            "1\t0x01020304\t7\t5000000001\n2\t0x01020304\t7\t5000000001\n");
}

TEST_F(Wireshark, OpensTheFileOfABusAndShowsItsRecords) {
  const BusRig rig;
  Port far = rig.port("far"), web = rig.port("web");
  send(far, {make_frame(77, 1)});
  send(web, {make_frame(60, 1), make_frame(61, 1)});  // these share a record
  send_super_frame(web, true);
  const Words shown = {"shmifrecord.number", "shmifrecord.position",      "shmifrecord.index",
                       "shmifrecord.frames", "shmifrecord.slot",          "shmifrecord.port",
                       "frame.len",          "shmifrecord.vnet.gso_size", "eth.dst"};
  EXPECT_EQ(fields(rig.path(), shown, reader_of_buses()),
            "0\t0\t\t0\t0\tfar\t157\t\tff:ff:ff:ff:ff:ff\n"
            "1\t128\t0\t2\t1\tweb\t140\t\tff:ff:ff:ff:ff:ff\n"
            "2\t128\t1\t2\t1\tweb\t141\t\tff:ff:ff:ff:ff:ff\n"
            "3\t320\t\t0\t1\tweb\t14146\t1400\tff:ff:ff:ff:ff:ff\n");
  const ToolResult list = run_program(Words{"tshark", "-n", "-r", rig.path()} + reader_of_buses());
  EXPECT_EQ(list.status, 0) << list.err;
  EXPECT_EQ(count_of_lines(list.out), 4) << list.out;
  // The frames of a ring that was overwritten three times, and their times, are those of dump.
  const BusRig small({.ring_bytes = 64U << 10U});
  Port port = small.port("web");
  send_200_frames(port);
  const std::string file = small.file("x.pcapng");
  ASSERT_EQ(dump_history(small, {"-w", file}).status, 0);
  const std::string records =
      fields(small.path(), {"shmifrecord.number", "frame.time_epoch"}, reader_of_buses());
  EXPECT_EQ(records, fields(file, {"frame.packet_id", "frame.time_epoch"}));
  EXPECT_TRUE(contains(records, "\n199\t")) << records;
  // What was overwritten while it was read is no record.
  std::string bytes = bytes_of(rig.path());
  bytes.at(bus::kRingOffset + 128) ^= '\x01';
  std::ofstream(rig.file("copy"), std::ios::binary) << bytes;
  EXPECT_EQ(fields(rig.file("copy"), {"shmifrecord.number"}, reader_of_buses()), "0\n");
  bytes.at(11) ^= '\x01';  // the version of the format
  std::ofstream(rig.file("copy"), std::ios::binary) << bytes;
  EXPECT_EQ(fields(rig.file("copy"), {"shmifrecord.number"}, reader_of_buses()), "");
}

// shmifctl extcap: what Wireshark asks, and captures that it reads.

/// The name of the bus as an interface: its path below /dev/shm.
std::string interface_of(const BusRig& rig) {
  std::string name = rig.path().substr(std::string("/dev/shm/").size());
  name.replace(name.find('/'), 1, ":");
  return "shmif:" + name;
}

TEST(Extcap, ListsEachBusWithASentence) {
  const BusRig rig({.mtu = 9000});
  const Port one = rig.port("one");
  const Port two = rig.port("two");
  const ToolResult r = run_tool({"--extcap-interfaces", "--extcap-version=4.0"});
  EXPECT_EQ(r.status, 0) << r.err;
  EXPECT_EQ(r.out.find("extcap {version="), 0U) << r.out;
  EXPECT_TRUE(contains(r.out, "\ninterface {value=" + interface_of(rig) + "}{display=shmif bus " +
                                  rig.path() + ", 2 ports, MTU 9000}\n"));
}

TEST(Extcap, TellsLinkTypeOptionsAndPorts) {
  const BusRig rig;
  const Port web = rig.port("web");
  const Port odd = rig.port("a}b");  // cannot be told
  const std::string bus = interface_of(rig);
  EXPECT_EQ(run_tool({"--extcap-dlts", "--extcap-interface", bus}).out,
            "dlt {number=1}{name=EN10MB}{display=Ethernet}\n");
  const std::string config =
      run_tool({"--extcap-config", "--extcap-reload-option", "port", "--extcap-interface", bus})
          .out;
  for (const char* const option : {"history", "filter", "port", "super-frames"}) {
    EXPECT_EQ(times_in(config, std::string("{call=--") + option + "}"), 1U) << config;
  }
  EXPECT_TRUE(contains(config, "value {arg=2}{value=web}{display=web, library, " +
                                   web.mac().to_string() + "}{default=false}\n"));
  EXPECT_FALSE(contains(config, "a}b"));
  EXPECT_EQ(run_tool({"--extcap-cleanup-postkill"}).status, 0);
  EXPECT_EQ(run_tool({"--extcap-version"}).out.find("extcap {version="), 0U);
}

TEST(Extcap, SaysOnlyOfAWrongFilterWhatIsWrong) {
  const auto verdict = [](const std::string& filter) {
    const ToolResult r =
        run_tool({"--extcap-capture-filter", filter, "--extcap-interface", "shmif:x"});
    EXPECT_EQ(r.status, 0) << "Wireshark ignores what comes with a failure";
    EXPECT_EQ(r.err, "");
    return r.out;
  };
  EXPECT_EQ(verdict("arp or icmp6"), "");
  EXPECT_EQ(verdict("arp or").find("cannot compile the filter \"arp or\": "), 0U);
  EXPECT_EQ(verdict("host wiki").find("cannot compile the filter \"host wiki\": "), 0U);
}

TEST(Extcap, RefusesWhatCannotBeAndSaysWhatToDo) {
  const BusRig rig;
  const std::string bus = interface_of(rig);
  const std::vector<std::pair<Words, std::string>> cases{
      {{"extcap"}, "run 'shmifctl dump PATH'"},
      {{"--extcap-config"}, "(give --extcap-interface NAME)"},
      {{"--extcap-config", "--extcap-interface", "eth0"}, "\"eth0\" is no bus"},
      {{"--extcap-config", "--extcap-interface", "shmif:"}, "\"shmif:\" is no bus"},
      {{"--extcap-config", "--extcap-interface", "shmif:a%4"}, "\"shmif:a%4\" is no bus"},
      {{"--capture", "--extcap-interface", bus}, "(give --fifo FIFO)"},
      {{"--capture", "--extcap-interface", bus, "--fifo", rig.path()}, "is not a FIFO"},
      {{"--capture", "--extcap-interface", bus, "--fifo", "/x", "--filter", "a) or (b"},
       "a) or (b"},
  };
  for (const auto& [words, part] : cases) {
    const ToolResult r = run_tool(words);
    EXPECT_EQ(r.status, 2) << part;
    EXPECT_TRUE(contains(r.err, part));
  }
  const ToolResult gone =
      run_tool({"--capture", "--extcap-interface", bus, "--fifo", rig.file("none")});
  EXPECT_EQ(gone.status, 1);
  EXPECT_TRUE(contains(gone.err, "cannot write to the FIFO " + rig.file("none")));
  // Every character of a path can be told: here a space, a colon and a percent sign.
  const ToolResult no_bus =
      run_tool({"--extcap-config", "--extcap-interface", "shmif::nonexistent:a%20b%3ac%25"});
  EXPECT_TRUE(contains(no_bus.err, "/nonexistent/a b:c%"));
}

/// A capture into a FIFO of which this holds the reading end.
class FifoCapture {
 public:
  FifoCapture(const BusRig& rig, const Words& more) {
    const std::string path = rig.file("fifo");
    EXPECT_EQ(::mkfifo(path.c_str(), 0600), 0);
    Words words = Words{shmifctl_path(),   "--capture", "--extcap-interface",
                        interface_of(rig), "--fifo",    path} +
                  more;
    tool_.emplace(words);
    reader_ = UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  }
  Tool& tool() { return *tool_; }
  void close() { reader_.reset(); }
  /// Reads until `text` has come, or the end, or a generous time is up. Result: whether it has
  /// come.
  bool read_until(const std::string& text) {
    while (!contains(bytes_, text)) {
      pollfd entry{reader_.get(), POLLIN, 0};
      if (::poll(&entry, 1, static_cast<int>(kGenerousTime.count())) <= 0) return false;
      char buffer[4096];
      const ssize_t n = ::read(reader_.get(), buffer, sizeof buffer);
      if (n <= 0) return false;
      bytes_.append(buffer, static_cast<std::size_t>(n));
    }
    return true;
  }
  /// Whether it has come so far.
  bool has(const std::string& text) const { return contains(bytes_, text); }
  /// All that has come, after the end.
  const std::string& rest() {
    read_until(std::string(1, '\0') + "this never comes");
    return bytes_;
  }

 private:
  std::optional<Tool> tool_;
  UniqueFd reader_;
  std::string bytes_;
};

TEST(Extcap, RecordsWhatIsAskedAndEndsWhenItsReaderGoesOrItIsAskedToEnd) {
  for (const bool is_asked : {false, true}) {
    const BusRig rig;
    Port web = rig.port("web");
    Port far = rig.port("far");
    send(web, {make_frame(60, 1), make_frame(70, 2), make_frame(80, 3)});
    send(far, {make_frame(66, 4)});
    FifoCapture capture(rig, {"--history", "--extcap-capture-filter", "less 75", "--filter",
                              "greater 65", "--port", "web", "--port="});
    ASSERT_TRUE(capture.read_until(text_of(make_frame(70, 2))));
    send(web, {make_frame(65, 5)});
    ASSERT_TRUE(capture.read_until(text_of(make_frame(65, 5))));
    if (is_asked) {
      capture.tool().signal(SIGTERM);
      EXPECT_TRUE(contains(capture.rest(), std::string("\x05\0\0\0", 4))) << "no statistics";
    } else {
      capture.close();
    }
    EXPECT_FALSE(capture.has(text_of(make_frame(60, 1)))) << "the filter";
    EXPECT_FALSE(capture.has(text_of(make_frame(80, 3)))) << "Wireshark's filter";
    EXPECT_FALSE(capture.has(text_of(make_frame(66, 4)))) << "the port";
    const ToolResult r = capture.tool().finish();
    EXPECT_EQ(r.status, 0);
    EXPECT_EQ(r.err, "");
  }
}

/// tshark of a user whose folder for extcap has a link to shmifctl.
class TsharkUser {
 public:
  TsharkUser() {
    // Before Wireshark 4.2, and since then.
    for (const char* const folder : {"/.config/wireshark/extcap", "/.local/lib/wireshark/extcap"}) {
      std::filesystem::create_directories(home_.path() + folder);
      std::filesystem::create_symlink(shmifctl_path(), home_.path() + folder + "/shmif");
    }
  }
  ToolResult run(const Words& more) const {
    return run_program(
        Words{"env", "-u", "XDG_CONFIG_HOME", "HOME=" + home_.path(), "tshark", "-n"} + more);
  }

 private:
  TempDir home_;
};

TEST(Extcap, TsharkListsTheBusAndCapturesWhatDumpRecords) {
  if (std::system("command -v tshark >/dev/null && dumpcap -v >/dev/null 2>&1") != 0)
    GTEST_SKIP() << "tshark is not installed";
  const BusRig rig;
  Port web = rig.port("web");
  Port far = rig.port("far");
  send(web, {make_frame(60, 1), make_frame(1514, 2)});
  send(far, {make_frame(61, 3)});
  send(web, {make_frame(77, 4)});
  const TsharkUser user;
  const Words fields{"-T", "fields",
                     "-e", "frame.time_epoch",
                     "-e", "frame.packet_id",
                     "-e", "frame.interface_name",
                     "-e", "frame.interface_description",
                     "-e", "data.data"};
  ASSERT_EQ(
      run_program(dump(rig, {"--history", "--timeout", "0", "-w", rig.file("x.pcapng")})).status,
      0);
  const auto with = [&](Words words) {
    words.insert(words.end(), fields.begin(), fields.end());
    return user.run(words);
  };
  const std::string bus = interface_of(rig);
  std::string preference = bus;
  for (char& each : preference) {
    if (std::isalnum(static_cast<unsigned char>(each)) == 0) each = '_';
    each = static_cast<char>(std::tolower(static_cast<unsigned char>(each)));
  }
  const ToolResult live =
      with({"-i", bus, "-c", "4", "-o", "extcap." + preference + ".history:true"});
  const ToolResult recorded = with({"-r", rig.file("x.pcapng")});
  EXPECT_EQ(count_of_lines(recorded.out), 4) << recorded.err;
  EXPECT_EQ(live.out, recorded.out) << live.err;
  EXPECT_TRUE(contains(live.err, "Capturing on 'shmif bus " + rig.path()));
  const ToolResult list = user.run({"-D"});
  EXPECT_TRUE(contains(list.out, ". " + bus + " (shmif bus " + rig.path() + ", 2 ports, "));
}

}  // namespace
}  // namespace shmif::test
