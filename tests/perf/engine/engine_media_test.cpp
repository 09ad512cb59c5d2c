// What concerns one engine alone: which media it refuses, what it leaves behind, files, interfaces
// that somebody named, other machines.

#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <tuple>

#include "perf/engine/device_wires.hpp"
#include "shmif/capture/pcap_link.hpp"
#include "shmif/socket_place.hpp"
#include "tap/netns.hpp"
#include "tap/packet_link.hpp"
#include "tests/perf/engine/engine_rig.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/holdings.hpp"
#include "tests/support/own_namespaces.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/tap/test_namespace.hpp"

namespace shmif::perf::rig {
namespace {

using shmif::tap::test::Inside;
using shmif::tap::test::TestNamespace;
using shmif::test::become_ordinary;
using shmif::test::Child;
using shmif::test::handed_on;
using shmif::test::own_dev_net;
using shmif::test::same_frames;
using shmif::test::TempBus;
using shmif::test::TempDir;

JobOptions job_on(EngineKind kind) {
  JobOptions job;
  job.name = "voice";
  job.where = "voip.job:12";
  job.engine = kind;
  return job;
}

testing::AssertionResult says(const Result<std::unique_ptr<Wire>>& made, std::error_code code,
                              std::initializer_list<std::string> words) {
  if (made) return testing::AssertionFailure() << "it was made";
  const Error& error = made.error();
  if (error.code != code) {
    return testing::AssertionFailure() << error.code << " " << error.message;
  }
  for (const std::string& word : words) {
    if (error.message.find(word) == std::string::npos) {
      return testing::AssertionFailure() << '"' << word << "\" is not in: " << error.message;
    }
  }
  return testing::AssertionSuccess();
}

/// Files of buses that this process made for runs, in /dev/shm.
std::set<std::string> own_buses() {
  std::set<std::string> names;
  const std::string prefix = "shmifperf-" + std::to_string(::getpid()) + '-';
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
    const std::string name = entry.path().filename();
    if (name.starts_with(prefix)) names.insert(name);
  }
  return names;
}

/// What the open descriptors of this process show, in their order.
std::multiset<std::string> open_files() {
  std::multiset<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    std::string target = std::filesystem::read_symlink(entry.path(), gone);
    if (!gone && target.find("/proc/") == std::string::npos) {
      files.insert(target.substr(0, target.find(':')));  // inode numbers differ
    }
  }
  return files;
}

/// Sends a frame each way between two ends.
void expect_traffic(End& one, End& other) {
  const auto there = frames_to(1, 0, 10, 200);
  const auto back = frames_to(0, 1, 10, 100);
  (void)send_all(one, there, other);
  EXPECT_TRUE(same_frames(there, collect(other, there.size())));
  (void)send_all(other, back, one);
  EXPECT_TRUE(same_frames(back, collect(one, back.size())));
}

TEST(DeviceWires, WhatADeviceMissedOrDroppedIsDropped) {
  const WireCounters counted = from_link({.sent_frames = 1,
                                          .sent_bytes = 2,
                                          .received_frames = 3,
                                          .received_bytes = 4,
                                          .dropped_down = 10,
                                          .dropped_full = 200,
                                          .dropped_corrupt = 3000,
                                          .missed = 40000});
  EXPECT_EQ(counted.tx_frames, 1U);
  EXPECT_EQ(counted.tx_bytes, 2U);
  EXPECT_EQ(counted.rx_frames, 3U);
  EXPECT_EQ(counted.rx_bytes, 4U);
  EXPECT_EQ(counted.dropped_frames, 43210U);
}

TEST(Wires, LeaveNothingBehindWhatEverTheEngine) {
  for (const EngineKind kind : {EngineKind::bus, EngineKind::tap, EngineKind::packet,
                                EngineKind::unix_pair, EngineKind::udp, EngineKind::null}) {
    SCOPED_TRACE(name_of(kind));
    const auto before = open_files();
    const auto inherited = handed_on();
    {
      const std::size_t ends = kind == EngineKind::null ? 1 : 2;
      auto wire = make_wire(job_on(kind), ends);
      if (!wire) {
        EXPECT_EQ(wire.error().code, Errc::not_supported) << wire.error().message;
        continue;
      }
      EXPECT_EQ(own_buses().size(), kind == EngineKind::bus ? 1U : 0U);
      std::vector<std::unique_ptr<End>> open;
      for (std::size_t i = 0; i < ends; ++i) {
        EndOptions options = end_options(i);
        options.sent.delay = options.received.delay = std::chrono::milliseconds(1);
        open.push_back((*wire)->open_end(options).value());
        open.back()->wait(std::chrono::nanoseconds(0));  // only a wait opens what it waits with
      }
      EXPECT_EQ(handed_on(), inherited) << "to commands of its jobs";
    }
    EXPECT_TRUE(own_buses().empty());
    EXPECT_EQ(open_files(), before);
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a process";
    EXPECT_EQ(errno, ECHILD);
  }
}

TEST(BusEngine, ABusThatIsNotThereIsNamedTogetherWithTheCommandThatMakesIt) {
  const TempDir dir;
  JobOptions job = job_on(EngineKind::bus);
  job.bus = dir.file("nowhere");
  EXPECT_TRUE(says(make_wire(job, 2), std::make_error_code(std::errc::no_such_file_or_directory),
                   {job.bus, "shmifctl create"}));
}

TEST(BusEngine, ABusWithPortsOfOthersIsRefusedUnlessThatIsAllowed) {
  const TempBus bus;
  JobOptions job = job_on(EngineKind::bus);
  job.bus = bus.path();
  {
    const Port port = shmif::test::port_on(bus.path(), {.name = "web"});
    EXPECT_TRUE(says(make_wire(job, 2), Errc::busy, {"\"web\"", "1 live port,", "allow_live=1"}));
    job.allow_live = true;
    EXPECT_TRUE(make_wire(job, 2));
    EXPECT_TRUE(says(make_wire(job, 256), Errc::table_full, {"room for 255"}));
    job.allow_live = false;
  }
  {
    const auto wire = make_wire(job, 2).value();
  }
  EXPECT_TRUE(std::filesystem::exists(bus.path())) << "it is not the run's to remove";
}

void record_and_receive(const std::string& filename) {
  JobOptions job = job_on(EngineKind::pcap);
  job.filename = filename;
  const auto frames = frames_to(1, 0, 100, 300);
  {
    const auto wire = make_wire(job, 1).value();
    EXPECT_TRUE(wire->capabilities().counts);
    const auto end = wire->open_end(end_options(0)).value();
    EXPECT_EQ(end->send(shmif::test::views(frames)).taken, frames.size());
    EXPECT_EQ(end->counters().tx_frames, frames.size());
    EXPECT_EQ(end->address(), "pcap:" + job.filename);
  }
  job.rw = Role::rx;
  const auto wire = make_wire(job, 1).value();
  EXPECT_FALSE(wire->capabilities().counts);
  const auto end = wire->open_end(end_options(0)).value();
  std::vector<Bytes> got;
  FrameBatch batch;
  for (std::error_code error; !error; batch.clear()) {
    end->wait(std::chrono::hours(1));
    error = end->receive(batch).error;
    std::ranges::transform(batch.frames(), std::back_inserter(got), shmif::test::to_bytes);
    if (error) {
      EXPECT_EQ(error, Errc::link_ended);
    }
  }
  EXPECT_TRUE(same_frames(frames, got));
}

TEST(PcapEngine, RecordsWhatIsSentAndReceivesWhatIsRecorded) {
  const TempDir dir;
  const auto begins_with = [](const std::string& path, std::uint32_t magic) {
    std::uint32_t first = 0;
    std::ifstream(path, std::ios::binary).read(reinterpret_cast<char*>(&first), sizeof first);
    return first == magic;
  };
  record_and_receive(dir.file("run.pcap"));
  EXPECT_TRUE(begins_with(dir.file("run.pcap"), 0xa1b23c4d));
  record_and_receive(dir.file("run.pcapng"));
  EXPECT_TRUE(begins_with(dir.file("run.pcapng"), 0x0a0d0d0a)) << "the name asks for pcapng";
}

TEST(PcapEngine, AFrameThatIsTooLongForAnyFrameFailsTheReadersOfACapture) {
  const TempDir dir;
  JobOptions job = job_on(EngineKind::pcap);
  job.filename = dir.file("long.pcap");
  {
    static_cast<void>(PcapWriter::create(job.filename).value());
  }
  {
    std::ofstream file(job.filename, std::ios::binary | std::ios::app);
    const std::array<std::uint32_t, 4> head{1'700'000'000, 0, 80'066, 80'066};
    file.write(reinterpret_cast<const char*>(head.data()), sizeof head);
    file << std::string(80'066, 'x');
  }
  job.rw = Role::rx;
  const auto end = make_wire(job, 1).value()->open_end(end_options(0)).value();
  FrameBatch batch;
  EXPECT_EQ(end->receive(batch).error, Errc::frame_too_long);
  EXPECT_EQ(end->receive(batch).error, Errc::link_ended);
  EXPECT_TRUE(batch.empty());
}

TEST(ProgramEnds, CountWhatIsNoFrameAndWhatNobodyGot) {
  const TempDir dir;
  const auto bound = [&](int type) {
    return BoundSocket::bind(type, parse_socket_place(dir.file("program")).value()).value();
  };
  {
    const BoundSocket program = bound(SOCK_STREAM);
    JobOptions job = job_on(EngineKind::stream);
    job.socket = dir.file("program");
    const auto wire = make_wire(job, 1).value();
    const auto end = wire->open_end(end_options(0)).value();
    const UniqueFd other = program.accept().value();
    const std::string records = std::string("\0\0\0\015", 4) + std::string(13, 'x') +
                                std::string("\0\0\0\074", 4) + std::string(60, 'x');
    ASSERT_EQ(::send(other.get(), records.data(), records.size(), 0), 81);
    EXPECT_EQ(collect(*end, 1).size(), 1U);
    EXPECT_EQ(end->counters().dropped_frames, 1U) << "too short";
  }
  auto program = std::make_optional(bound(SOCK_DGRAM));
  JobOptions job = job_on(EngineKind::dgram);
  job.socket = dir.file("own") + ',' + dir.file("program");
  const auto wire = make_wire(job, 1).value();
  const auto end = wire->open_end(end_options(0)).value();
  EXPECT_EQ(end->counters().dropped_frames, 0U);
  program.reset();
  const auto frames = frames_to(1, 0, 3);
  EXPECT_EQ(end->send(shmif::test::views(frames)).taken, 3U);
  EXPECT_EQ(end->counters().dropped_frames, 3U) << "nobody is there";
}

TEST(Wires, NeedAPlaceForEachJob) {
  JobOptions job = job_on(EngineKind::stream);
  for (const auto& [kind, place, why] :
       std::initializer_list<std::tuple<EngineKind, const char*, const char*>>{
           {EngineKind::stream, "a,b,c", "socket=a,b,c: give one place"},
           {EngineKind::stream, "a,", "socket=a,: give one place"},
           {EngineKind::dgram, "", "engine=dgram needs socket=LOCAL,REMOTE"},
           {EngineKind::dgram, "a,b", "socket=a,b: give socket=LOCAL,REMOTE"},
           {EngineKind::dgram, "127.0.0.1:7000,b,c,d", "127.0.0.1:7000 and b are of different"},
           {EngineKind::packet, "lo", "netdev=lo names 1 interface, but 2 are needed"},
           {EngineKind::packet, "a/b,c", "\"a/b\" is not the name of an interface"}}) {
    job.engine = kind;
    (kind == EngineKind::packet ? job.netdev : job.socket) = place;
    EXPECT_TRUE(says(make_wire(job, 2), Errc::bad_argument, {why}));
  }
}

TEST(NullEngine, WhatNobodyReceivesBeforeTheNextSendIsDroppedAndCounted) {
  const auto wire = make_wire(job_on(EngineKind::null), 1).value();
  const auto end = wire->open_end(end_options(0)).value();
  const auto first = frames_to(0, 0, 5);
  const auto second = frames_to(0, 0, 3, 100);
  EXPECT_EQ(end->send(shmif::test::views(first)).taken, 5U);
  EXPECT_EQ(end->send(shmif::test::views(second)).taken, 3U);
  EXPECT_TRUE(same_frames(second, arrived(*end)));
  EXPECT_EQ(end->counters().dropped_frames, 5U);
}

TEST(UdpEngine, RefusesAPortThatIsTakenAndToReceiveOnAnotherMachine) {
  JobOptions job = job_on(EngineKind::udp);
  const auto wire = make_wire(job, 2).value();
  const std::string address = wire->address();
  job.port = static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
  EXPECT_TRUE(says(make_wire(job, 2), std::make_error_code(std::errc::address_in_use),
                   {"127.0.0.1", "choose another"}));
  job.hostname = "198.18.77.1";
  job.port = 7000;
  const std::initializer_list<std::string> words{"198.18.77.1 is another machine",
                                                 "an address of this machine", "no_peer"};
  EXPECT_TRUE(says(make_wire(job, 2), Errc::bad_argument, words));
  job.rw = Role::rx;
  EXPECT_TRUE(says(make_wire(job, 1), Errc::bad_argument, words));
  // A socket can be bound to these, and would send to other machines.
  for (const char* const group :
       {"239.1.2.3", "255.255.255.255", "ff02::114%lo", "ff0e::114", "::ffff:239.1.2.3"}) {
    job.hostname = group;
    for (const Role role : {Role::tx, Role::rx, Role::pingpong}) {
      job.rw = role;
      EXPECT_TRUE(says(make_wire(job, role == Role::rx ? 1 : 2), Errc::bad_argument,
                       {std::string(group), "or a group", "an address of this machine"}));
    }
  }
  job.hostname = "no such host";
  EXPECT_TRUE(says(make_wire(job, 1), Errc::bad_argument, {"no such host"}));
}

TEST(UdpEngine, ReachesAnotherMachine) {
  if (const std::string why = shmif::tap::test::no_namespaces_because(); !why.empty()) {
    GTEST_SKIP() << why;
  }
  const TestNamespace here, there;
  const auto far = there.space();
  here.netlink().add_veth("left", "right", &far).value();
  for (const auto& [space, name, cidr] :
       {std::tuple(&here, "left", "198.18.0.1/24"), {&there, "right", "198.18.0.2/24"}}) {
    auto netlink = space->netlink();
    netlink.disable_ipv6(name).value();
    netlink.set_up(name).value();
    netlink.add_address(name, tap::Cidr::parse(cidr).value()).value();
  }
  JobOptions job = job_on(EngineKind::udp);
  job.hostname = "198.18.0.2";
  job.port = 7000;
  job.mtu = 9000;
  const auto open_in = [&](const TestNamespace& space) {
    const Inside inside(space);
    const auto wire = make_wire(job, 1).value();
    EXPECT_EQ(wire->address(), "udp:198.18.0.2:7000");
    EXPECT_EQ(wire->capabilities().max_ends, 1U);
    return wire->open_end(end_options(0)).value();
  };
  job.rw = Role::rx;
  const auto receiver = open_in(there);
  job.rw = Role::tx;
  job.no_peer = true;
  const auto sender = open_in(here);
  EXPECT_EQ(sender->max_frame_bytes(), 1472U) << "what the way there takes in one piece";
  const auto frames = frames_to(1, 0, 10);
  ASSERT_EQ(sender->send(shmif::test::views(frames)).taken, frames.size());
  EXPECT_TRUE(same_frames(frames, collect(*receiver, frames.size())));
}

TEST(EnginesOfAnOrdinaryUser, MakeTheirDevicesInAUserNamespace) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: becomes another user";
  for (const EngineKind kind : {EngineKind::tap, EngineKind::packet, EngineKind::bus}) {
    for (const std::size_t ends : {2U, 3U}) {
      Child user([&] {
        // The TUN device is root's alone on many machines.
        if (!own_dev_net(0666) || !become_ordinary()) return 77;
        auto wire = make_wire(job_on(kind), ends);
        if (!wire) {
          std::fprintf(stderr, "%s\n", wire.error().message.c_str());
          return wire.error().code == Errc::not_supported ? 77 : 2;
        }
        const auto one = (*wire)->open_end(end_options(0)).value();
        const auto other = (*wire)->open_end(end_options(1)).value();
        expect_traffic(*one, *other);
        return testing::Test::HasFailure() ? 3 : 0;
      });
      const int status = user.wait();
      if (status == 77) GTEST_SKIP() << "no namespaces here for an ordinary user";
      EXPECT_EQ(status, 0) << name_of(kind) << " of " << ends;
    }
  }
}

}  // namespace
}  // namespace shmif::perf::rig
