// Options of create, destroy and wait, each by what it does.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <tins/tins.h>

#include <atomic>
#include <thread>

#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {
namespace {

TEST(BusOptionsOfCommands, TheModeIsAsAskedForWhateverTheUmask) {
  const TempDir directory;
  for (const auto& [asked, mode] : {std::pair{"0666", 0666U}, {"660", 0660U}, {"", 0600U}}) {
    const std::string path = directory.file(std::string("bus") + asked);
    const std::string option = *asked != '\0' ? std::string("--mode ") + asked : "";
    const ToolResult made =
        run_program({"sh", "-c", "umask 077; exec \"$1\" create \"$2\" --size 64K " + option, "sh",
                     shmifctl_path(), path});
    EXPECT_EQ(made.status, 0) << made.err;
    struct stat file{};
    ASSERT_EQ(stat(path.c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 07777U, mode) << asked;
  }
}

TEST(BusOptionsOfCommands, DestroyWaitsAsLongAsItWasToldAndNoLonger) {
  const BusRig rig;
  const Port port = rig.port("alice");
  using Clock = std::chrono::steady_clock;
  const auto took = [&](const char* seconds) {
    const Clock::time_point begin = Clock::now();
    const ToolResult r = run_tool({"destroy", rig.path(), "--timeout", seconds});
    EXPECT_EQ(r.status, 1);
    EXPECT_TRUE(contains(r.err, "alice")) << r.err;
    return Clock::now() - begin;
  };
  EXPECT_GE(took("0.2"), std::chrono::milliseconds(200));
  // The usual two seconds are not waited for; one try may have to wait for a CPU.
  bool at_once = false;
  for (int tries = 0; tries < 10 && !at_once; ++tries)
    at_once = took("0") < std::chrono::seconds(1);
  EXPECT_TRUE(at_once);
}

/// A host with the address 198.18.0.1, where something listens on port 80 alone. Ends with the
/// test.
class PlayedHost {
 public:
  explicit PlayedHost(const BusRig& rig)
      : port_(rig.port("host")), thread_([this] {
          while (!over_) play();
        }) {}
  PlayedHost(const PlayedHost&) = delete;
  PlayedHost& operator=(const PlayedHost&) = delete;
  ~PlayedHost() {
    over_ = true;
    thread_.join();
  }

 private:
  void play() {
    FrameBatch batch;
    port_.wait(std::chrono::milliseconds(20));
    (void)port_.receive(batch);
    const Tins::HWAddress<6> mac(port_.mac().bytes.data());
    for (const FrameView& frame : batch.frames()) {
      const Tins::EthernetII in(reinterpret_cast<const std::uint8_t*>(frame.bytes.data()),
                                static_cast<std::uint32_t>(frame.size()));
      const Tins::EthernetII back(in.src_addr(), mac);
      if (const auto* const arp = in.find_pdu<Tins::ARP>();
          arp != nullptr && arp->target_ip_addr() == Tins::IPv4Address("198.18.0.1")) {
        Tins::ARP answer(arp->sender_ip_addr(), "198.18.0.1", arp->sender_hw_addr(), mac);
        answer.opcode(Tins::ARP::REPLY);
        answer_with(back / answer);
      }
      const auto* const tcp = in.find_pdu<Tins::TCP>();
      if (tcp == nullptr || tcp->flags() != Tins::TCP::SYN) continue;
      Tins::TCP answer(tcp->sport(), tcp->dport());
      answer.ack_seq(tcp->seq() + 1);
      answer.flags(Tins::TCP::ACK | (tcp->dport() == 80 ? Tins::TCP::SYN : Tins::TCP::RST));
      answer_with(back / Tins::IP(in.rfind_pdu<Tins::IP>().src_addr(), "198.18.0.1") / answer);
    }
  }
  void answer_with(Tins::EthernetII frame) {
    std::vector<std::uint8_t> bytes = frame.serialize();
    bytes.resize(std::max<std::size_t>(bytes.size(), 60));
    const FrameView view(reinterpret_cast<const std::byte*>(bytes.data()), bytes.size());
    (void)port_.send({&view, 1});
  }

  Port port_;
  std::atomic<bool> over_{false};
  std::thread thread_;
};

TEST(BusOptionsOfCommands, WaitAsksEachServiceAndNamesTheOneThatDoesNotAnswer) {
  const BusRig rig;
  const PlayedHost host(rig);
  const std::string there = "198.18.0.1:80";
  const auto waited = [&](const std::string& second, const char* timeout) {
    return run_tool({"wait", rig.path(), "--from", "198.18.0.250", "--tcp", there, "--tcp", second,
                     "--timeout", timeout});
  };
  const ToolResult good = waited(there, "15");
  EXPECT_EQ(good.status, 0) << good.err;
  EXPECT_EQ(good.out + good.err, "");
  // Half a second is plenty, unless the host has to wait for a CPU.
  ToolResult bad;
  for (const char* const timeout : {"0.3", "5", "15"}) {
    bad = waited("198.18.0.1:81", timeout);
    EXPECT_EQ(bad.status, 1);
    if (contains(bad.err, "nothing listens on port 81")) break;
  }
  EXPECT_TRUE(contains(bad.err, "cannot reach TCP service 198.18.0.1:81 on bus \"" + rig.path()))
      << bad.err;
  EXPECT_TRUE(contains(bad.err, "but nothing listens on port 81")) << bad.err;
}

}  // namespace
}  // namespace shmif::test
