// bridge with vhost-user: and memif: links: virtual machines and packet processors whose memory is
// shared with the bridge. Most are in this process (tests/vhost/front_end.hpp and
// tests/memif/client.hpp); others are DPDK's testpmd, another's driver and another's client.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <span>
#include <system_error>

#include "base/foreign_socket.hpp"
#include "tests/memif/client.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/fuse_files.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/tools/relay/peers_rig.hpp"
#include "tests/vhost/front_end.hpp"

namespace shmif::test {
namespace {

using vhost::Features;
using vhost::Request;

constexpr std::uint64_t kTakesSuperFrames = Driver::kUsual | Features::kOffloads;

std::vector<Bytes> taken_by(FrontEnd& machine) {
  std::vector<Bytes> out;
  for (auto& one : machine.arrived()) out.push_back(std::move(one.frame));
  return out;
}
std::vector<Bytes> taken_by(MemifClient& client) {
  return client.frames();
}

/// What arrives at a machine or a client, until `count` frames have.
template <class P>
std::vector<Bytes> frames_at(P& program, std::size_t count) {
  std::vector<Bytes> out;
  static_cast<void>(eventually([&] {
    std::ranges::move(taken_by(program), std::back_inserter(out));
    return out.size() >= count;
  }));
  return out;
}

/// Waits until the bridge has read all messages of a machine: it answers them in order.
void settle(const FrontEnd& machine) {
  EXPECT_EQ(machine.ask(Request::get_queue_num), 1U);
}

/// A bridge at "s".
class BridgeOfMemory : public BridgeOfPeers {
 protected:
  BridgeOfMemory() : BridgeOfPeers(4U << 20U) {}

  std::unique_ptr<Tool> serving(const std::string& kind, const Words& more = {}) const {
    auto tool = bridge(kind + ':' + file("s"), more);
    EXPECT_TRUE(tool->wait_for("ready"));
    return tool;
  }
  /// A port that hears all.
  Port ear(bool takes_super_frames = false) const {
    Port made({.promiscuous = true, .take_offloads = takes_super_frames});
    made.attach(bus_).value();
    EXPECT_FALSE(made.up());
    return made;
  }
  /// A machine that runs, at a socket that is connected.
  static std::unique_ptr<FrontEnd> machine(UniqueFd socket, Driver driver = {}) {
    auto made = std::make_unique<FrontEnd>(std::move(socket), driver);
    made->start();
    settle(*made);
    return made;
  }
  std::unique_ptr<FrontEnd> machine(Driver driver = {}) const {
    return machine(connected_to(file("s")), driver);
  }
  /// A client that has said everything.
  std::unique_ptr<MemifClient> client(ClientWish wish = {}) const {
    auto made = std::make_unique<MemifClient>(connected_to(file("s"), SOCK_SEQPACKET), wish);
    EXPECT_TRUE(made->start());
    return made;
  }
  void send(Port& port, const std::vector<Bytes>& frames) const {
    ASSERT_EQ(port.send(views(frames)).taken, frames.size());
  }
};

/// A machine or a client, as far as they are alike.
struct Sharer {
  std::function<std::size_t(const std::vector<Bytes>&)> send;
  std::function<std::vector<Bytes>(std::size_t count)> receive;
  std::function<void()> break_rules;  ///< shows a buffer outside of its memory
  std::function<void()> truncate;     ///< its memory
  std::function<bool()> is_cut_off;
};

/// The link and its program. `small`: with buffers of which a frame needs several, or plain.
struct Kind {
  std::string name, link, rule;
  std::string device;  ///< of DPDK, behind which its MAC address stands
  std::function<Sharer(const std::string& path, bool small)> program;
};
void PrintTo(const Kind& kind, std::ostream* out) {
  *out << kind.name;
}

Sharer sharing_machine(const std::string& path, bool small) {
  Driver driver;
  if (small) driver.features = Driver::kPlain;
  const auto made = std::make_shared<FrontEnd>(connected_to(path), driver);
  made->start();
  settle(*made);
  return {.send = [made](const auto& frames) { return made->send(frames); },
          .receive = [made](std::size_t count) { return frames_at(*made, count); },
          .break_rules =
              [made] {
                made->send_queue.descriptor(0) = {0, 100, 0, 0};
                made->send_queue.lend(0);
                made->send_queue.notify();
                (void)made->send_queue.show(true);
              },
          .truncate = [made] { ASSERT_EQ(::ftruncate(made->memory.file(), 0), 0); },
          .is_cut_off = [made] { return is_closed(made->socket); }};
}

Sharer sharing_client(const std::string& path, bool small) {
  ClientWish wish;
  if (small) wish = {.size_log2 = 6, .buffer_bytes = 600};
  const auto made = std::make_shared<MemifClient>(connected_to(path, SOCK_SEQPACKET), wish);
  EXPECT_TRUE(made->start());
  return {.send = [made](const auto& frames) { return made->send(frames); },
          .receive = [made](std::size_t count) { return frames_at(*made, count); },
          .break_rules =
              [made] {
                made->send_ring.descriptor(0).region = 9;
                EXPECT_EQ(made->send({make_frame(60, 1)}), 1U);
              },
          .truncate = [made] { ASSERT_EQ(::ftruncate(made->buffers.file(), 0), 0); },
          .is_cut_off =
              [made] {
                return made->reason() == "send ring: a buffer is outside of the memory" &&
                       made->reply_type() == memif::MessageType::none;
              }};
}

class BridgeOfSharedMemory : public BridgeOfMemory, public ::testing::WithParamInterface<Kind> {
 protected:
  std::unique_ptr<Tool> served() const { return serving(GetParam().link); }
  Sharer program(bool small = false) const { return GetParam().program(file("s"), small); }
};
INSTANTIATE_TEST_SUITE_P(
    Of, BridgeOfSharedMemory,
    ::testing::Values(
        Kind{"Machines", "vhost-user", "send queue: a buffer is outside of the memory",
             "--vdev=net_virtio_user0,path=", sharing_machine},
        Kind{"Clients", "memif", "send ring: a buffer is outside of the memory",
             "--vdev=net_memif0,role=client,socket-abstract=no,socket=", sharing_client}),
    [](const auto& each) { return each.param.name; });

TEST_P(BridgeOfSharedMemory, GivesEachProgramAPort) {
  const auto tool = served();
  Port host = ear();
  const Sharer one = program(), two = program(true);
  const std::vector<Bytes> first{make_frame(60, 1), make_frame(1514, 2)};
  ASSERT_EQ(one.send(first), 2U);
  EXPECT_TRUE(same_frames(first, collect(host, 2)));
  EXPECT_TRUE(same_frames(first, two.receive(2)));
  const std::vector<Bytes> second{make_frame(333, 3)};
  send(host, second);
  EXPECT_TRUE(same_frames(second, one.receive(1))) << "and not what it sent itself";
  EXPECT_TRUE(same_frames(second, two.receive(1)));
  const ToolResult said = end(*tool);
  EXPECT_EQ(said.status, 0) << said.err;
  const std::string link = GetParam().link + ':' + file("s");
  for (const std::string& line :
       {link + " -> bus:" + bus_ + ": 2 frames, 1574 bytes, 0 lost, 0 dropped = 2 came\n",
        "bus:" + bus_ + " -> " + link + ": 4 frames, 2240 bytes, 0 lost, 0 dropped = 4 came\n",
        std::string("2 connections")}) {
    EXPECT_TRUE(contains(said.out, line));
  }
}

TEST_P(BridgeOfSharedMemory, OneThatBreaksTheRulesIsCutOffAndTheOthersGoOn) {
  const auto tool = served();
  const Sharer good = program(), bad = program();
  bad.break_rules();
  ASSERT_TRUE(tool->wait_for("the program at port port1 broke the rules (" + GetParam().rule +
                             "), and was cut off"));
  EXPECT_TRUE(bad.is_cut_off());
  const Sharer again = program();
  ASSERT_EQ(again.send({make_frame(60, 1)}), 1U);
  EXPECT_TRUE(same_frames({make_frame(60, 1)}, good.receive(1)));
}

TEST_P(BridgeOfSharedMemory, OneThatTruncatesItsMemoryIsCutOffAndTheOthersGoOn) {
  const auto tool = served();
  const Sharer good = program(), bad = program();
  bad.truncate();
  Port host = ear();
  send(host, {make_frame(60, 1)});
  ASSERT_TRUE(tool->wait_for("broke the rules (its memory was truncated), and was cut off"));
  EXPECT_TRUE(same_frames({make_frame(60, 1)}, good.receive(1)));
}

/// testpmd as a program of the bridge. It goes on until SIGINT.
Words testpmd(const Kind& kind, const std::string& directory, unsigned number,
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
          "program" + n,
          kind.device + directory + "/s,mac=02:00:00:00:00:0" + n,
          "--",
          "--auto-start",
          "--stats-period=1",
          "--nb-cores=1",
          "--total-num-mbufs=4096",
          "--forward-mode=" + mode,
          "--eth-peer=0,ff:ff:ff:ff:ff:ff"};
}
/// Which of the programs for it is missing; empty if none is.
std::string missing_for_testpmd() {
  for (const std::string program : {"dpdk-testpmd", "stdbuf"})
    if (run_program({"sh", "-c", "command -v " + program}).status != 0) return program;
  return {};
}

// Of another project: the frames that it says it has sent and received are those that the bridge
// says it has carried.
TEST_P(BridgeOfSharedMemory, TwoOfDpdkExchangeFramesAndAllCountsAgree) {
  if (const std::string what = missing_for_testpmd(); !what.empty()) GTEST_SKIP() << "no " << what;
  const auto tool = served();
  Tool receiver(testpmd(GetParam(), directory_.path(), 1, "rxonly"));
  ASSERT_TRUE(receiver.wait_for("Port statistics"));
  Tool sender(testpmd(GetParam(), directory_.path(), 2, "txonly"));
  const auto received = [&] {
    const PortInfo info = port_named(bus_, "port0");
    return info.rx_frames + info.lost_frames;
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
  const std::string there = "bus -> " + GetParam().link;
  EXPECT_GT(by_receiver, 0) << got.out;
  EXPECT_EQ(by_sender, number_in(said.out, "s -> bus:.*: ([0-9]+) frames")) << said.out;
  EXPECT_EQ(by_receiver, number_in(said.out, there + ":.*: ([0-9]+) frames")) << said.out;
  EXPECT_EQ(by_sender, number_in(said.out, there + ":.* = ([0-9]+) came")) << said.out;
}

TEST_P(BridgeOfSharedMemory, OneOfDpdkThatIsKilledLeavesItsPortToTheNext) {
  if (const std::string what = missing_for_testpmd(); !what.empty()) GTEST_SKIP() << "no " << what;
  const auto tool = served();
  const Port host = ear();  // port0
  for (unsigned round = 0; round < 2; ++round) {
    Tool sender(testpmd(GetParam(), directory_.path(), 1, "txonly"));
    ASSERT_TRUE(eventually([&] { return port_named(bus_, "port1").tx_frames > 1000; }))
        << sender.so_far().out << sender.so_far().err;
    sender.signal(SIGKILL);
    static_cast<void>(sender.finish());
    ASSERT_TRUE(eventually([&] { return port_named(bus_, "port1").name.empty(); }));
    EXPECT_TRUE(eventually([&] {  // it says so after that
      static_cast<void>(tool->wait_for("what it does not say", std::chrono::milliseconds(0)));
      return times_in(tool->so_far().out, "the program at port port1 is gone") == round + 1;
    }));
  }
}

class BridgeOfMachines : public BridgeOfMemory {
 protected:
  std::unique_ptr<Tool> listening() const { return serving("vhost-user"); }
};

TEST_F(BridgeOfMachines, PassesSuperFramesAsTheyAreToAMachineThatTakesThem) {
  const auto tool = listening();
  const auto sender = machine({.features = kTakesSuperFrames});
  const auto taker = machine({.features = kTakesSuperFrames});
  const auto plain = machine();
  const Shape shape;
  Bytes frame = build(shape, 10'000, 1);
  std::fill_n(frame.begin(), 6, std::byte{0xff});
  frame[6] = std::byte{2};
  const Offload offload = header_for(shape, 1448);
  ASSERT_EQ(sender->send({frame}, offload), 1U);
  const auto arrivals = [](FrontEnd& at, std::size_t count) {
    std::vector<FrontEnd::Arrived> all;
    static_cast<void>(eventually([&] {
      std::ranges::move(at.arrived(), std::back_inserter(all));
      return all.size() >= count;
    }));
    return all;
  };
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
  EXPECT_TRUE(contains(said.out, "2 frames (14 segments)"));
}

TEST_F(BridgeOfMachines, AfterAKilledBridgeTheMachineGoesOnWithTheNextOne) {
  auto tool = listening();
  Port host = ear();
  const auto front = machine();
  for (unsigned i = 0; i < 5; ++i) {
    ASSERT_EQ(front->send({make_frame(60, i)}), 1U);
    ASSERT_TRUE(same_frames({make_frame(60, i)}, collect(host, 1)));
    send(host, {make_frame(61, i)});
    ASSERT_TRUE(same_frames({make_frame(61, i)}, frames_at(*front, 1)));
  }
  tool->signal(SIGKILL);
  static_cast<void>(tool->finish());
  tool = listening();
  ASSERT_EQ(front->send({make_frame(62, 7)}), 1U);  // while nobody serves it
  front->socket = connected_to(file("s"));
  ASSERT_TRUE(front->tell(Request::set_features, front->wish.features));
  front->share_memory();
  front->start_queue(0, front->receive_queue);
  front->start_queue(1, front->send_queue);
  settle(*front);
  EXPECT_TRUE(same_frames({make_frame(62, 7)}, collect(host, 1)));
  send(host, {make_frame(63, 7)});
  EXPECT_TRUE(same_frames({make_frame(63, 7)}, frames_at(*front, 1)));
}

TEST_F(BridgeOfMachines, ConnectsToAFrontEndThatListensAndAgainWhenItIsBack) {
  const auto tool = bridge("vhost-user:connect=" + file("s"));
  Port host = ear();
  for (unsigned round = 0; round < 2; ++round) {
    {
      const Listener listener(file("s"));
      const auto front = machine(listener.accept());
      ASSERT_EQ(front->send({make_frame(60, round)}), 1U);
      EXPECT_TRUE(same_frames({make_frame(60, round)}, collect(host, 1)));
      std::filesystem::remove(file("s"));
    }
    ASSERT_TRUE(tool->wait_for("the program is gone; trying again"));
  }
  EXPECT_TRUE(contains(end(*tool).out, "2 connections")) << tool->so_far().out;
}

// As QEMU does that was started with queues=2.
TEST_F(BridgeOfMachines, OneThatGoesBeforeItSharesMemoryIsToldWhyAndServedMoreAndMoreRarely) {
  const auto tool = listening();
  const auto begun = std::chrono::steady_clock::now();
  for (unsigned i = 0; i < 4; ++i) {
    FrontEnd front(connected_to(file("s")), {});
    settle(front);
    front.socket.reset();
    // The next one comes after the bridge has seen the end of this one.
    ASSERT_TRUE(eventually([&] { return Bus::open(bus_).value().info().ports.empty(); }));
  }
  // After 100 ms, 200 ms and 400 ms.
  EXPECT_GE(std::chrono::steady_clock::now() - begun, std::chrono::milliseconds(700));
  EXPECT_TRUE(
      tool->wait_for("the program at port port0 is gone before it shared its memory (each "
                     "machine has one pair of queues here: is it queues=1?)\n"));
  const auto good = machine();
  EXPECT_EQ(end(*tool).status, 0);
}

TEST_F(BridgeOfMachines, FramesForAMachineWithoutADriverAreCounted) {
  const auto tool = listening();
  FrontEnd front(connected_to(file("s")), {});
  settle(front);
  Port host = ear();
  send(host, {make_frame(60, 1), make_frame(60, 2)});
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
  EXPECT_TRUE(contains(said.out, "2 frames passed while a machine had no driver"));
  EXPECT_TRUE(contains(said.out, "2 dropped (2 refused)"));
}

TEST_F(BridgeOfMachines, FramesThatFitNoBufferOfADriverDidNotArrive) {
  const auto tool = listening();
  Port host = ear();
  const auto small = machine({.features = Driver::kPlain, .buffer_bytes = 500});
  const std::vector<Bytes> frames{make_frame(600, 1), make_frame(700, 2), make_frame(400, 3)};
  send(host, frames);
  EXPECT_TRUE(same_frames({frames[2]}, frames_at(*small, 1)));
  const ToolResult said = end(*tool);
  EXPECT_TRUE(contains(said.out, ": 1 frame, 0 lost, 2 dropped (2 refused) = 3 came\n"));
  EXPECT_TRUE(contains(said.out, "2 frames fitted no buffer of the driver"));
}

TEST_F(BridgeOfMachines, FramesOfAMachineThatDoNotPassAreCountedByTheirReasons) {
  const auto tool = listening();
  const auto bad = machine();
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
  EXPECT_TRUE(contains(said.out,
                       "2 frames from there were too long, 1 frame from there was too short, 3 "
                       "frames from there had a header that was not agreed on, 4 frames from "
                       "there came through a disabled queue\n"));
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
  Port host = ear();
  const auto good = machine();
  const auto bad = machine();
  block_calls(*bad);
  send(host, {make_frame(60, 1)});
  EXPECT_TRUE(same_frames({make_frame(60, 1)}, frames_at(*bad, 1)));
  EXPECT_TRUE(same_frames({make_frame(60, 1)}, frames_at(*good, 1)));
  const ToolResult said = end(*tool);
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_TRUE(
      contains(said.err, "the program at port port2 keeps its link from ending, and is left"));
  EXPECT_FALSE(contains(said.err, "port1"));
  EXPECT_TRUE(
      contains(said.out, ": 1 frame, 60 bytes, 0 lost, 0 dropped, 1 still under way = 2 came\n"));
  EXPECT_TRUE(contains(said.out, "2 connections"));
  EXPECT_FALSE(std::filesystem::exists(file("s"))) << "the socket is removed";
}

TEST_F(BridgeOfMachines, ThatItConnectsToEndsAtASignalAlthoughTheMachineKeepsIt) {
  const Listener listener(file("s"));
  const auto tool = bridge("vhost-user:connect=" + file("s"));
  Port host = ear();
  const auto bad = machine(listener.accept());
  block_calls(*bad);
  send(host, {make_frame(60, 1)});
  EXPECT_TRUE(same_frames({make_frame(60, 1)}, frames_at(*bad, 1)));
  const ToolResult said = end(*tool);
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_TRUE(contains(said.err, "keeps the link from ending, and is left"));
  EXPECT_TRUE(
      contains(said.out, ": 0 frames, 0 bytes, 0 lost, 0 dropped, 1 still under way = 1 came\n"));
}

TEST_F(BridgeOfMachines, RefusesAMachineForWhichItHasTooFewDescriptors) {
  const auto tool = listening();
  const auto good = machine();
  rlimit limit{};
  ASSERT_EQ(::prlimit(tool->pid(), RLIMIT_NOFILE, nullptr, &limit), 0);
  const std::filesystem::directory_iterator open("/proc/" + std::to_string(tool->pid()) + "/fd");
  limit.rlim_cur = static_cast<rlim_t>(std::distance(open, {})) + 20;
  ASSERT_EQ(::prlimit(tool->pid(), RLIMIT_NOFILE, &limit, nullptr), 0);
  EXPECT_TRUE(is_closed(connected_to(file("s"))));
  EXPECT_TRUE(tool->wait_for(
      "a program was refused: it may need 32 file descriptors, and fewer are left (allow this "
      "bridge more: ulimit -n)\n"));
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
  ASSERT_EQ(::chmod(file("s").c_str(), 0666), 0);
  const auto are_served = [&] {
    const auto one = machine();
    const auto two = machine();
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
      sockets.push_back(connected_to(file("s")));
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
  EXPECT_TRUE(tool->wait_for(none));
  EXPECT_TRUE(
      tool->wait_for("its user (id 65001) has sent 8 descriptors of file systems that do "
                     "not answer (unmount these)"));
  // When they have answered, this user's machines are served, too.
  Child later([&] { return ::setresuid(kOther, kOther, kOther) == 0 && are_served() ? 0 : 1; });
  EXPECT_EQ(later.wait(), 0);
  EXPECT_TRUE(eventually([&] { return children_of(tool->pid()) <= 1; }));
  EXPECT_EQ(end(*tool).status, 0);
}

class BridgeOfClients : public BridgeOfMemory {
 protected:
  std::unique_ptr<Tool> listening() const { return serving("memif"); }
};

TEST_F(BridgeOfClients, TheMemoryThatOneMayShareIsItsPartOfTheWhole) {
  const auto tool = listening();  // of 64 programs
  for (const bool fits : {true, false}) {
    const MemifClient greedy(connected_to(file("s"), SOCK_SEQPACKET), {});
    ASSERT_EQ(greedy.reply_type(), memif::MessageType::hello);
    ASSERT_TRUE(greedy.tell(MemifClient::init_message()) && greedy.acknowledged());
    const std::uint64_t bytes = (std::uint64_t{512} << 30U) + (fits ? 0 : 1);
    ASSERT_TRUE(greedy.tell(MemifClient::region_message(0, bytes), greedy.rings.file()));
    EXPECT_EQ(greedy.reason(), fits ? "memory region 0 is not in a file of that size"
                                    : "its memory asks for 513 GiB, and the limit for one peer is "
                                      "512 GiB");
  }
  EXPECT_EQ(end(*tool).status, 0);
}

TEST_F(BridgeOfClients, FramesThatDoNotPassAreCountedByTheirReasons) {
  const auto tool = listening();
  Port host = ear();
  const auto small = client({.size_log2 = 2, .buffer_bytes = 500});
  const std::vector<Bytes> frames(2, make_frame(60, 1));
  ASSERT_EQ(small->send({Bytes(13), frames[0]}), 2U);
  EXPECT_TRUE(same_frames({frames[0]}, collect(host, 1)));
  ASSERT_EQ(small->send({make_frame(1523, 2)}), 1U);
  ASSERT_TRUE(eventually([&] { return small->send({frames[1]}) == 1; }));
  EXPECT_TRUE(same_frames({frames[1]}, collect(host, 1)));
  const auto few = client({.size_log2 = 1, .buffer_bytes = 300});
  const std::vector<Bytes> there{make_frame(601, 3), make_frame(700, 4), make_frame(599, 5)};
  send(host, there);
  EXPECT_TRUE(same_frames({there[2]}, frames_at(*few, 1)));
  EXPECT_TRUE(same_frames(there, frames_at(*small, 3)));
  const ToolResult said = end(*tool);
  EXPECT_TRUE(contains(said.out,
                       "1 frame from there was too long, 1 frame from there was too short, 2 "
                       "frames fitted no buffers of the program\n"));
  EXPECT_TRUE(contains(said.out, "2 dropped (2 refused)"));
}

TEST_F(BridgeOfClients, FramesForAClientThatIsNotReadyOrGivesNoBuffersAreCounted) {
  const auto tool = listening();
  MemifClient processor(connected_to(file("s"), SOCK_SEQPACKET), {.size_log2 = 2});
  ASSERT_TRUE(processor.describe());
  Port host = ear();
  send(host, {make_frame(60, 1), make_frame(60, 2)});
  ASSERT_TRUE(eventually([&] { return port_named(bus_, "port0").rx_frames == 2; }));
  // The bridge has taken them from its port, and passes them on before it reads the next message.
  ASSERT_TRUE(processor.tell(MemifClient::connect_message()));
  ASSERT_EQ(processor.reply_type(), memif::MessageType::connected);
  processor.give_buffers();
  for (unsigned i = 0; i < 6; ++i) send(host, {make_frame(61, i)});
  ASSERT_TRUE(eventually([&] { return port_named(bus_, "port0").rx_frames == 8; }));
  // It takes the next one from its port when it has given up those that found no buffers.
  send(host, {make_frame(62, 8)});
  ASSERT_TRUE(eventually([&] { return port_named(bus_, "port0").rx_frames == 9; }));
  std::vector<Bytes> got = frames_at(processor, 4);
  send(host, {make_frame(64, 9)});
  ASSERT_TRUE(eventually([&] {
    std::ranges::move(processor.frames(), std::back_inserter(got));
    return !got.empty() && got.back() == make_frame(64, 9);
  }));
  const ToolResult said = end(*tool);
  EXPECT_TRUE(contains(said.out, "2 frames passed before a program had set up its interface"));
  const std::string late = std::to_string(8 - got.size());  // 2, or 3
  EXPECT_TRUE(contains(said.out, std::to_string(10 - got.size()) + " dropped"));
  EXPECT_TRUE(contains(said.out, late + " not taken in time"));
}

}  // namespace
}  // namespace shmif::test
