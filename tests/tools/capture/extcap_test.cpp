// shmifctl extcap: what Wireshark asks, and captures that it reads.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <csignal>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "tests/tools/capture/dump_rig.hpp"

namespace shmif::test {
namespace {

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
  const std::string config = run_tool({"--extcap-config", "--extcap-interface", bus}).out;
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
