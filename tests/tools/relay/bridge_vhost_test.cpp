// bridge with vhost-user: links: virtual machines whose memory is shared with the bridge. Most are
// in this process (tests/vhost/front_end.hpp); others are DPDK's testpmd, another's driver.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <regex>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "base/foreign_socket.hpp"
#include "base/unique_fd.hpp"
#include "shmif/port.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/silent_files.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/support/temp_dir.hpp"
#include "tests/vhost/front_end.hpp"

namespace shmif::test {
namespace {

using vhost::Features;
using vhost::Request;

constexpr std::uint64_t kTakesSuperFrames = Driver::kUsual | Features::kOffloads;

class BridgeOfMachines : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(run_tool({"create", bus_, "--size", "4M"}).status, 0); }

  std::string file(const std::string& name) const { return directory_.file(name); }
  std::unique_ptr<Tool> bridge(const std::string& link, const std::string& until = "ready") const {
    auto tool = std::make_unique<Tool>(
        std::vector<std::string>{shmifctl_path(), "bridge", "bus:" + bus_, link});
    EXPECT_TRUE(tool->wait_for(until)) << tool->so_far().err;
    return tool;
  }
  std::unique_ptr<Tool> listening() const { return bridge("vhost-user:" + file("v")); }

  static sockaddr_un at(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    return address;
  }
  UniqueFd connected() const {
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_un address = at(file("v"));
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
              0);
    return socket;
  }
  /// A machine that runs, at a socket that is connected.
  static std::unique_ptr<FrontEnd> machine(UniqueFd socket, Driver driver = {}) {
    auto made = std::make_unique<FrontEnd>(std::move(socket), driver);
    made->start();
    settle(*made);
    return made;
  }
  /// Waits until the bridge has read all messages: it answers them in order.
  static void settle(const FrontEnd& machine) {
    EXPECT_EQ(machine.ask(Request::get_queue_num), 1U);
  }
  Port port(bool takes_super_frames = false) const {
    PortOptions options;
    options.take_offloads = takes_super_frames;
    options.promiscuous = true;
    Port made(options);
    made.attach(bus_).value();
    EXPECT_FALSE(made.up());
    return made;
  }
  static std::vector<FrontEnd::Arrived> arrivals(FrontEnd& machine, std::size_t count) {
    std::vector<FrontEnd::Arrived> out;
    static_cast<void>(eventually([&] {
      std::ranges::move(machine.arrived(), std::back_inserter(out));
      return out.size() >= count;
    }));
    return out;
  }
  static std::vector<Bytes> frames_at(FrontEnd& machine, std::size_t count) {
    std::vector<Bytes> out;
    for (auto& one : arrivals(machine, count)) out.push_back(std::move(one.frame));
    return out;
  }
  static ToolResult end(Tool& tool) {
    tool.signal(SIGTERM);
    return tool.finish();
  }

  TempDir directory_;
  const std::string bus_ = directory_.file("bus");
};

TEST_F(BridgeOfMachines, GivesEachMachineAPort) {
  const auto tool = listening();
  Port host = port();
  const auto one = machine(connected());
  const auto two = machine(connected(), {.features = Driver::kPlain});
  const std::vector<Bytes> first{make_frame(60, 1), make_frame(1514, 2)};
  ASSERT_EQ(one->send(first), 2U);
  EXPECT_TRUE(same_frames(first, collect(host, 2)));
  EXPECT_TRUE(same_frames(first, frames_at(*two, 2)));
  const std::vector<Bytes> second{make_frame(333, 3)};
  ASSERT_EQ(host.send(views(second)).taken, 1U);
  EXPECT_TRUE(same_frames(second, frames_at(*one, 1))) << "and not what it sent itself";
  EXPECT_TRUE(same_frames(second, frames_at(*two, 1)));
  const ToolResult said = end(*tool);
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_NE(said.out.find("vhost-user:" + file("v") + " -> bus:" + bus_ +
                          ": 2 frames, 1574 bytes, 0 lost, 0 dropped = 2 came\n"),
            std::string::npos)
      << said.out;
  EXPECT_NE(said.out.find(": 4 frames, 2240 bytes, 0 lost, 0 dropped = 4 came\n"),
            std::string::npos)
      << said.out;
  EXPECT_NE(said.out.find("2 connections"), std::string::npos) << said.out;
}

TEST_F(BridgeOfMachines, PassesSuperFramesAsTheyAreToAMachineThatTakesThem) {
  const auto tool = listening();
  const auto sender = machine(connected(), {.features = kTakesSuperFrames});
  const auto taker = machine(connected(), {.features = kTakesSuperFrames});
  const auto plain = machine(connected());
  const Shape shape;
  Bytes frame = build(shape, 10'000, 1);
  std::fill_n(frame.begin(), 6, std::byte{0xff});
  frame[6] = std::byte{2};
  const Offload offload = header_for(shape, 1448);
  ASSERT_EQ(sender->send({frame}, offload), 1U);
  const auto whole = arrivals(*taker, 1);
  ASSERT_EQ(whole.size(), 1U);
  EXPECT_EQ(whole[0].frame, frame);
  EXPECT_EQ(whole[0].offload.gso_size, 1448U);
  EXPECT_EQ(whole[0].offload.gso_type, Offload::kGsoTcp4);
  EXPECT_TRUE(whole[0].offload.needs_checksum());
  const auto segments = arrivals(*plain, 7);
  ASSERT_EQ(segments.size(), 7U);
  for (const auto& one : segments) {
    EXPECT_FALSE(one.offload.pending());
    EXPECT_TRUE(transport_checksum_holds(shape, one.frame));
  }
  const ToolResult said = end(*tool);
  EXPECT_NE(said.out.find("2 frames (14 segments)"), std::string::npos) << said.out;
}

TEST_F(BridgeOfMachines, AMachineThatBreaksTheRulesIsCutOffAndTheOthersGoOn) {
  const auto tool = listening();
  const auto good = machine(connected());
  const auto bad = machine(connected());
  bad->send_queue.descriptor(0) = {0, 100, 0, 0};
  bad->send_queue.lend(0);
  bad->send_queue.notify();
  (void)bad->send_queue.show(true);
  ASSERT_TRUE(
      tool->wait_for("the program at port port1 broke the rules (send queue: a buffer is "
                     "outside of the memory), and was cut off"))
      << tool->so_far().out;
  char more = 0;
  EXPECT_EQ(::recv(bad->socket.get(), &more, 1, 0), 0) << "the connection is closed";
  const auto again = machine(connected());
  ASSERT_EQ(again->send({make_frame(60, 1)}), 1U);
  EXPECT_TRUE(same_frames({make_frame(60, 1)}, frames_at(*good, 1)));
}

TEST_F(BridgeOfMachines, AMachineThatTruncatesItsMemoryIsCutOffAndTheOthersGoOn) {
  const auto tool = listening();
  const auto good = machine(connected());
  auto bad = machine(connected());
  ASSERT_EQ(::ftruncate(bad->memory.file(), 0), 0);
  Port host = port();
  ASSERT_EQ(host.send(views({make_frame(60, 1)})).taken, 1U);
  ASSERT_TRUE(tool->wait_for("broke the rules (its memory was truncated), and was cut off"))
      << tool->so_far().out << tool->so_far().err;
  EXPECT_TRUE(same_frames({make_frame(60, 1)}, frames_at(*good, 1)));
}

TEST_F(BridgeOfMachines, AfterAKilledBridgeTheMachineGoesOnWithTheNextOne) {
  auto tool = listening();
  Port host = port();
  const auto front = machine(connected());
  for (unsigned i = 0; i < 5; ++i) {
    ASSERT_EQ(front->send({make_frame(60, i)}), 1U);
    ASSERT_TRUE(same_frames({make_frame(60, i)}, collect(host, 1)));
    ASSERT_EQ(host.send(views({make_frame(61, i)})).taken, 1U);
    ASSERT_TRUE(same_frames({make_frame(61, i)}, frames_at(*front, 1)));
  }
  tool->signal(SIGKILL);
  static_cast<void>(tool->finish());
  tool = listening();
  ASSERT_EQ(front->send({make_frame(62, 7)}), 1U);  // while nobody serves it
  front->socket = connected();
  ASSERT_TRUE(front->tell(Request::set_features, front->wish.features));
  front->share_memory();
  front->start_queue(0, front->receive_queue);
  front->start_queue(1, front->send_queue);
  settle(*front);
  EXPECT_TRUE(same_frames({make_frame(62, 7)}, collect(host, 1)));
  ASSERT_EQ(host.send(views({make_frame(63, 7)})).taken, 1U);
  EXPECT_TRUE(same_frames({make_frame(63, 7)}, frames_at(*front, 1)));
}

TEST_F(BridgeOfMachines, ConnectsToAFrontEndThatListensAndAgainWhenItIsBack) {
  const sockaddr_un address = at(file("v"));
  const auto listen_there = [&] {
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(socket.get(), 1), 0);
    return socket;
  };
  UniqueFd listener = listen_there();
  const auto tool = bridge("vhost-user:connect=" + file("v"), "connected, as port port0");
  Port host = port();
  for (unsigned round = 0; round < 2; ++round) {
    const auto front = machine(UniqueFd(::accept(listener.get(), nullptr, nullptr)));
    ASSERT_EQ(front->send({make_frame(60, round)}), 1U);
    EXPECT_TRUE(same_frames({make_frame(60, round)}, collect(host, 1)));
    if (round > 0) break;
    listener.reset();
    std::filesystem::remove(file("v"));
    front->socket.reset();
    ASSERT_TRUE(tool->wait_for("the program is gone; trying again")) << tool->so_far().out;
    listener = listen_there();
  }
}

// As QEMU does that was started with queues=2.
TEST_F(BridgeOfMachines, OneThatGoesBeforeItSharesMemoryIsToldWhyAndServedMoreAndMoreRarely) {
  const auto tool = listening();
  const auto begun = std::chrono::steady_clock::now();
  for (unsigned i = 0; i < 4; ++i) {
    FrontEnd front(connected(), {});
    settle(front);
    front.socket.reset();
    // The next one comes after the bridge has seen the end of this one.
    ASSERT_TRUE(eventually([&] { return Bus::open(bus_).value().info().ports.empty(); }));
  }
  // After 100 ms, 200 ms and 400 ms.
  EXPECT_GE(std::chrono::steady_clock::now() - begun, std::chrono::milliseconds(700));
  EXPECT_TRUE(
      tool->wait_for("the program at port port0 is gone before it shared its memory (each "
                     "machine has one pair of queues here: is it queues=1?)\n"))
      << tool->so_far().out;
  const auto good = machine(connected());
  EXPECT_EQ(end(*tool).status, 0);
}

TEST_F(BridgeOfMachines, FramesForAMachineWithoutADriverAreCounted) {
  const auto tool = listening();
  FrontEnd front(connected(), {});
  settle(front);
  Port host = port();
  ASSERT_EQ(host.send(views({make_frame(60, 1), make_frame(60, 2)})).taken, 2U);
  // The bridge takes them from its port before it answers the next message.
  ASSERT_TRUE(eventually([&] {
    const auto ports = Bus::open(bus_).value().info().ports;
    return std::ranges::any_of(
        ports, [](const PortInfo& p) { return p.name == "port0" && p.rx_frames == 2; });
  }));
  settle(front);
  front.start();
  settle(front);
  ASSERT_TRUE(eventually([&] {
    return host.send(views({make_frame(61, 1)})).taken == 1 && !front.arrived().empty();
  }));
  const ToolResult said = end(*tool);
  EXPECT_NE(said.out.find("2 frames passed while a machine had no driver"), std::string::npos)
      << said.out;
  EXPECT_NE(said.out.find("2 dropped (2 refused)"), std::string::npos) << said.out;
}

TEST_F(BridgeOfMachines, FramesThatFitNoBufferOfADriverDidNotArrive) {
  const auto tool = listening();
  Port host = port();
  const auto small = machine(connected(), {.features = Driver::kPlain, .buffer_bytes = 500});
  const std::vector<Bytes> frames{make_frame(600, 1), make_frame(700, 2), make_frame(400, 3)};
  ASSERT_EQ(host.send(views(frames)).taken, 3U);
  EXPECT_TRUE(same_frames({frames[2]}, frames_at(*small, 1)));
  const ToolResult said = end(*tool);
  EXPECT_NE(said.out.find(": 1 frame, 0 lost, 2 dropped (2 refused) = 3 came\n"), std::string::npos)
      << said.out;
  EXPECT_NE(said.out.find("2 frames fitted no buffer of the driver"), std::string::npos)
      << said.out;
}

TEST_F(BridgeOfMachines, FramesOfAMachineThatDoNotPassAreCountedByTheirReasons) {
  const auto tool = listening();
  const auto bad = machine(connected());
  constexpr Offload kNotAgreedOn{.flags = Offload::kNeedsChecksum, .csum_start = 34};
  ASSERT_EQ(bad->send({Bytes(13)}), 1U);
  ASSERT_EQ(bad->send({make_frame(1523, 1), make_frame(4000, 2)}), 2U);
  ASSERT_EQ(bad->send(std::vector<Bytes>(3, make_frame(60, 3)), kNotAgreedOn), 3U);
  settle(*bad);
  const auto all_are_back = [&](unsigned count) {
    return eventually([&] { return bad->send_queue.used().idx == count; });
  };
  ASSERT_TRUE(all_are_back(6));
  ASSERT_TRUE(bad->tell(Request::set_vring_enable, vhost::VringState{1, 0}));
  settle(*bad);
  ASSERT_EQ(bad->send(std::vector<Bytes>(4, make_frame(60, 4))), 4U);
  ASSERT_TRUE(all_are_back(10));
  const ToolResult said = end(*tool);
  EXPECT_NE(said.out.find("2 frames from there were too long, 1 frame from there was too short, 3 "
                          "frames from there had a header that was not agreed on, 4 frames from "
                          "there came through a disabled queue\n"),
            std::string::npos)
      << said.out;
}

/// Fills the descriptor through which the machine is notified. The next write to it waits.
void block_calls(const FrontEnd& machine) {
  const int call = machine.receive_queue.call.get();
  (void)machine.receive_queue.calls();
  const std::uint64_t full = ~std::uint64_t{0} - 1;
  ASSERT_EQ(::write(call, &full, sizeof full), 8);
  ASSERT_EQ(::fcntl(call, F_SETFL, 0), 0);
  machine.receive_queue.used_event() = machine.receive_queue.used().idx;
}

TEST_F(BridgeOfMachines, EndsAtASignalAlthoughAMachineKeepsItsThread) {
  const auto tool = listening();
  Port host = port();
  const auto good = machine(connected());
  const auto bad = machine(connected());
  block_calls(*bad);
  ASSERT_EQ(host.send(views({make_frame(60, 1)})).taken, 1U);
  EXPECT_TRUE(same_frames({make_frame(60, 1)}, frames_at(*bad, 1)));
  EXPECT_TRUE(same_frames({make_frame(60, 1)}, frames_at(*good, 1)));
  const ToolResult said = end(*tool);
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_NE(said.err.find("the program at port port2 keeps its link from ending, and is left"),
            std::string::npos)
      << said.err;
  EXPECT_EQ(said.err.find("port1"), std::string::npos) << said.err;
  EXPECT_NE(said.out.find(": 1 frame, 60 bytes, 0 lost, 0 dropped, 1 still under way = 2 came\n"),
            std::string::npos)
      << said.out;
  EXPECT_NE(said.out.find("2 connections"), std::string::npos) << said.out;
  EXPECT_FALSE(std::filesystem::exists(file("v"))) << "the socket is removed";
}

TEST_F(BridgeOfMachines, ThatItConnectsToEndsAtASignalAlthoughTheMachineKeepsIt) {
  const sockaddr_un address = at(file("v"));
  const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(socket.get(), 1), 0);
  const auto tool = bridge("vhost-user:connect=" + file("v"), "connected");
  Port host = port();
  const auto bad = machine(UniqueFd(::accept4(socket.get(), nullptr, nullptr, SOCK_CLOEXEC)));
  block_calls(*bad);
  ASSERT_EQ(host.send(views({make_frame(60, 1)})).taken, 1U);
  EXPECT_TRUE(same_frames({make_frame(60, 1)}, frames_at(*bad, 1)));
  const ToolResult said = end(*tool);
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_NE(said.err.find("keeps the link from ending, and is left"), std::string::npos)
      << said.err;
  EXPECT_NE(said.out.find(": 0 frames, 0 bytes, 0 lost, 0 dropped, 1 still under way = 1 came\n"),
            std::string::npos)
      << said.out;
}

/// Waits until the other end has closed the connection. Result: whether it did.
bool is_closed(const UniqueFd& socket) {
  return eventually([&] {
    char more = 0;
    return ::recv(socket.get(), &more, 1, MSG_DONTWAIT) == 0;
  });
}

TEST_F(BridgeOfMachines, ServesAsManyAsItMay) {
  const auto tool = listening();
  std::vector<std::unique_ptr<FrontEnd>> machines;
  for (unsigned i = 0; i < 64; ++i) {
    machines.push_back(std::make_unique<FrontEnd>(connected(), Driver{.queue_size = 16}));
    settle(*machines.back());
  }
  EXPECT_TRUE(is_closed(connected()));
  EXPECT_TRUE(tool->wait_for(", 1 refused\n")) << tool->so_far().out;
  const auto ports = [&] { return Bus::open(bus_).value().info().ports.size(); };
  EXPECT_EQ(ports(), 64U);
  machines.pop_back();
  ASSERT_TRUE(eventually([&] { return ports() == 63; }));
  const auto next = machine(connected());
  EXPECT_EQ(end(*tool).status, 0);
}

TEST_F(BridgeOfMachines, RefusesAMachineForWhichItHasTooFewDescriptors) {
  const auto tool = listening();
  const auto good = machine(connected());
  rlimit limit{};
  ASSERT_EQ(::prlimit(tool->pid(), RLIMIT_NOFILE, nullptr, &limit), 0);
  const std::filesystem::directory_iterator open("/proc/" + std::to_string(tool->pid()) + "/fd");
  limit.rlim_cur = static_cast<rlim_t>(std::distance(open, {})) + 20;
  ASSERT_EQ(::prlimit(tool->pid(), RLIMIT_NOFILE, &limit, nullptr), 0);
  EXPECT_TRUE(is_closed(connected()));
  EXPECT_TRUE(tool->wait_for(
      "a program was refused: it may need 32 file descriptors, and fewer are left (allow this "
      "bridge more: ulimit -n)\n"))
      << tool->so_far().err;
  settle(*good);
  EXPECT_EQ(end(*tool).status, 0);
}

/// How many processes a process has started that have not ended.
std::size_t children_of(pid_t process) {
  std::size_t count = 0;
  std::error_code ignored;
  const std::string tasks = "/proc/" + std::to_string(process) + "/task";
  for (const auto& task : std::filesystem::directory_iterator(tasks, ignored)) {
    std::ifstream list(task.path() / "children");
    for (pid_t child = 0; list >> child;) ++count;
  }
  return count;
}

// Children wait for file systems that never answer: for eight of a user, and one keeps the sockets
// of the others.
TEST_F(BridgeOfMachines, OneWhoseFilesNeverAnswerCostsEightProcessesAndNoOtherMachine) {
  constexpr uid_t kOther = 65001;
  constexpr std::size_t kMachines = 12;
  const TempDir mounted;
  const auto tool = listening();
  for (const std::string& folder : {directory_.path(), mounted.path()})
    ASSERT_EQ(::chmod(folder.c_str(), 0711), 0);
  ASSERT_EQ(::chmod(file("v").c_str(), 0666), 0);
  const auto are_served = [&] {
    const auto one = machine(connected());
    const auto two = machine(connected());
    const std::vector<Bytes> frames{make_frame(60, 1), make_frame(1514, 2)};
    return one->send(frames) == 2 && static_cast<bool>(same_frames(frames, frames_at(*two, 2)));
  };
  const auto give = [&](int silent) {
    if (::setresuid(kOther, kOther, kOther) != 0) return false;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);    // the change of the user has undone it
    static std::vector<UniqueFd> sockets;  // until this process ends
    vhost::MemoryTable table{.count = 1};
    table.regions[0] = {.guest_address = 0, .bytes = 4096, .user_address = 0, .file_offset = 0};
    for (std::size_t i = 0; i < kMachines; ++i) {
      sockets.push_back(connected());
      if (!vhost::send_message(sockets.back().get(), Request::set_mem_table, 0,
                               std::as_bytes(std::span(&table, 1)), {&silent, 1}))
        return false;
      if (!is_closed(sockets.back())) return false;
    }
    return true;
  };
  const auto met = meet_silent_file(mounted.path(), give, [&] {
    if (children_of(tool->pid()) != std::size_t{base::kMaxWaitingChildren} + 1) return 1;
    return are_served() ? 0 : 2;
  });
  if (!met.could_mount) GTEST_SKIP() << "cannot mount a file system of FUSE";
  EXPECT_EQ(met.code, 0);
  EXPECT_TRUE(met.never_answered) << "the file system had ended before";
  const std::string none = "it sent a descriptor that is no file in memory";
  EXPECT_TRUE(tool->wait_for(none)) << tool->so_far().out;
  EXPECT_TRUE(
      tool->wait_for("its user (id 65001) has sent 8 descriptors of file systems that do "
                     "not answer (unmount these)"))
      << tool->so_far().out;
  // When they have answered, this user's machines are served, too.
  Child later([&] { return ::setresuid(kOther, kOther, kOther) == 0 && are_served() ? 0 : 1; });
  EXPECT_EQ(later.wait(), 0);
  EXPECT_TRUE(eventually([&] { return children_of(tool->pid()) <= 1; }));
  EXPECT_EQ(end(*tool).status, 0);
}

TEST_F(BridgeOfMachines, RefusesAnAddressAndAPort) {
  const ToolResult result = run_tool({"bridge", "bus:" + bus_, "vhost-user:127.0.0.1:7000"});
  EXPECT_EQ(result.status, 2);
  EXPECT_NE(result.err.find("vhost-user takes the path of a socket"), std::string::npos)
      << result.err;
}

/// The number in the first match of `pattern` in `text`; -1 if there is none.
long long number_in(const std::string& text, const std::string& pattern) {
  std::smatch found;
  return std::regex_search(text, found, std::regex(pattern)) ? std::stoll(found[1]) : -1;
}

/// testpmd as one machine of the bus. It goes on until SIGINT.
std::vector<std::string> testpmd(const std::string& directory, unsigned number,
                                 const std::string& mode) {
  const std::string n = std::to_string(number);
  return {"env",
          "RUNTIME_DIRECTORY=" + directory,
          "stdbuf",
          "--output=L",
          "dpdk-testpmd",
          "--lcores",
          "(0,1)@0",
          "--no-huge",
          "-m",
          "128",
          "--no-shconf",
          "--no-pci",
          "--no-telemetry",
          "--file-prefix",
          "machine" + n,
          "--vdev=net_virtio_user0,path=" + directory + "/v,mac=02:00:00:00:00:0" + n,
          "--",
          "--auto-start",
          "--stats-period=1",
          "--nb-cores=1",
          "--total-num-mbufs=4096",
          "--forward-mode=" + mode,
          "--eth-peer=0,ff:ff:ff:ff:ff:ff"};
}

// The driver of another project: the frames that it says it has sent and received are those that
// the bridge says it has carried.
TEST_F(BridgeOfMachines, TwoThatDpdkDrivesExchangeFramesAndAllCountsAgree) {
  for (const char* const program : {"dpdk-testpmd", "stdbuf"}) {
    if (run_program({"sh", "-c", std::string("command -v ") + program}).status != 0)
      GTEST_SKIP() << "no " << program;
  }
  const auto tool = listening();
  Tool receiver(testpmd(directory_.path(), 1, "rxonly"));
  ASSERT_TRUE(receiver.wait_for("Port statistics"))
      << receiver.so_far().out << receiver.so_far().err;
  Tool sender(testpmd(directory_.path(), 2, "txonly"));
  const auto received = [&] {
    const auto ports = Bus::open(bus_).value().info().ports;
    const auto at = std::ranges::find(ports, "port0", &PortInfo::name);
    return at == ports.end() ? 0 : at->rx_frames + at->lost_frames;
  };
  EXPECT_TRUE(eventually([&] { return received() > 50'000; }));
  sender.signal(SIGINT);
  const ToolResult sent = sender.finish();
  for (std::uint64_t before = 1; before != received();) {  // ends: nobody sends any more
    before = received();
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
  }
  receiver.signal(SIGINT);
  const ToolResult got = receiver.finish();
  const ToolResult said = end(*tool);
  const auto sum_of = [](const ToolResult& result, const std::string& what) {
    const std::size_t at = result.out.rfind("Accumulated forward statistics");
    return at == std::string::npos ? -1 : number_in(result.out.substr(at), what + ": ([0-9]+)");
  };
  const long long by_sender = sum_of(sent, "TX-packets");
  const long long by_receiver = sum_of(got, "RX-packets");
  EXPECT_GT(by_receiver, 0) << got.out;
  EXPECT_EQ(by_sender, number_in(said.out, "v -> bus:.*: ([0-9]+) frames")) << said.out;
  EXPECT_EQ(by_receiver, number_in(said.out, "bus -> vhost-user:.*: ([0-9]+) frames")) << said.out;
  EXPECT_EQ(by_sender, number_in(said.out, "bus -> vhost-user:.* = ([0-9]+) came")) << said.out;
}

}  // namespace
}  // namespace shmif::test
