// What the programs that read captures make of a pcapng file of `shmifctl dump`.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/support/super_frames.hpp"
#include "tests/tools/capture/dump_command.hpp"

namespace shmif::test {
namespace {

bool has_program(const std::string& name) {
  return std::system(("command -v " + name + " >/dev/null 2>&1").c_str()) == 0;
}

/// A super-frame of ten segments.
void send_super_frame(Port& port, bool tcp) {
  const Shape shape{.tcp = tcp};
  Bytes bytes = build(shape, 14'000, 1);
  std::fill_n(bytes.begin(), 6, std::byte{0xff});
  FrameView frame(bytes.data(), bytes.size());
  frame.offload = header_for(shape, 1'400);
  ASSERT_EQ(port.send({&frame, 1}).taken, 1U);
}

/// Of each frame of a file: packet id, interface, flags (0x800: unsegmented TCP), comment.
std::string notes_in(const std::string& file) {
  return run_program({"tshark", "-r", file, "-T", "fields", "-e", "frame.packet_id", "-e",
                      "frame.interface_name", "-e", "frame.len", "-e", "frame.packet_flags", "-e",
                      "frame.comment"})
      .out;
}

/// A file with an ordinary frame, a super-frame of TCP and one of UDP. The bus has one more frame,
/// the first, which the file has not.
std::string recorded_notes(const BusRig& rig, const std::vector<std::string>& more) {
  Port web = rig.port("web");
  Port far = rig.port("far");
  send(far, {make_frame(77, 1)});
  send(web, {make_frame(60, 1)});
  send_super_frame(web, true);
  send_super_frame(far, false);
  std::vector<std::string> words{"--history", "--timeout",          "0",
                                 "-w",        rig.file("x.pcapng"), "less 76 or greater 78"};
  words.insert(words.end(), more.begin(), more.end());
  EXPECT_EQ(run_program(dump(rig, words)).status, 0);
  return rig.file("x.pcapng");
}

TEST(CaptureReaders, ReadOfEachFrameItsNumberItsSenderAndThatItIsUnsegmented) {
  if (!has_program("tshark")) GTEST_SKIP() << "tshark is not installed";
  const BusRig rig;
  const std::string file = recorded_notes(rig, {"--super-frames"});
  const std::string wanted =
      "1\tweb\t60\t\t\n"
      "2\tweb\t14054\t0x00000800\tunsegmented: its TCP payload is sent in frames of 1400 bytes "
      "each\n"
      "3\tfar\t14042\t\tunsegmented: its UDP payload is sent in frames of 1400 bytes each\n";
  EXPECT_EQ(notes_in(file), wanted);
  // editcap keeps what it copies, and capinfos and tcpdump read all of it.
  ASSERT_EQ(run_program({"editcap", file, rig.file("y.pcapng")}).status, 0);
  EXPECT_EQ(notes_in(rig.file("y.pcapng")), wanted);
  const std::string about = run_program({"capinfos", file}).out;
  EXPECT_TRUE(contains(about, "Number of packets:   3\n")) << about;
  EXPECT_TRUE(contains(about, "Hardware = shmif port, library\n")) << about;
}

TEST(CaptureReaders, TakeTheFramesAsTheyWere) {
  if (!has_program("tcpdump")) GTEST_SKIP() << "no tcpdump";
  const BusRig rig;
  const std::string file = recorded_notes(rig, {});
  const ToolResult lines = run_program({"tcpdump", "-n", "-r", file, "ip"});
  EXPECT_EQ(lines.status, 0) << lines.err;
  EXPECT_EQ(count_of_lines(lines.out), 10 + 10) << lines.out;
  if (run_program({SHMIF_PYTHON, "-c", "import scapy.layers.tuntap"}).status != 0)
    GTEST_SKIP() << "python3-scapy is not installed";
  const ToolResult scapy = run_program({SHMIF_PYTHON, "-c",
                                        "import sys\nfrom scapy.utils import rdpcap\n"
                                        "print([len(each) for each in rdpcap(sys.argv[1])])",
                                        file});
  EXPECT_EQ(scapy.out,
            "[60, 1454, 1454, 1454, 1454, 1454, 1454, 1454, 1454, 1454, 1454, 1442, 1442, 1442, "
            "1442, 1442, 1442, 1442, 1442, 1442, 1442]\n")
      << scapy.err;
}

TEST(CaptureReaders, ReadWhichProcessHasAPort) {
  if (!has_program("capinfos")) GTEST_SKIP() << "tshark is not installed";
  const BusRig rig;
  Tool answer({shmifctl_path(), "ping", rig.path(), "--respond", "--name", "web"});
  ASSERT_TRUE(answer.wait_for("answering"));
  ASSERT_EQ(run_tool({"ping", rig.path(), "--to", "web", "-c", "1"}).status, 0);
  ASSERT_EQ(
      run_program(dump(rig, {"--history", "--timeout", "0", "-w", rig.file("x.pcapng")})).status,
      0);
  const std::string about = run_program({"capinfos", rig.file("x.pcapng")}).out;
  EXPECT_TRUE(contains(about, ", process " + std::to_string(answer.pid()) + ": " + shmifctl_path() +
                                  " ping " + rig.path() + " --respond --name web\n"))
      << about;
  // The other sender has left, and with it its process.
  EXPECT_EQ(times_in(about, ", process "), 1U) << about;
}

}  // namespace
}  // namespace shmif::test
