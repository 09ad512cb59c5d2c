// bridge --fault with each link to programs: what the faults do to the frames of a program, and
// what the bridge counts.

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "shmif/control/change.hpp"
#include "shmif/faults.hpp"
#include "shmif/vde_link.hpp"
#include "tests/memif/client.hpp"
#include "tests/tools/relay/peers_rig.hpp"
#include "tests/vhost/front_end.hpp"

namespace shmif::test {
namespace {

using Frames = std::vector<std::vector<std::byte>>;

/// A program behind a link.
struct Program {
  std::function<bool(const std::vector<std::byte>& frame)> send;
  std::function<Frames()> receive;  ///< what has arrived by now
};

/// A program that uses a link of the library.
template <class L>
Program program_at(L made) {
  const auto link = std::make_shared<L>(std::move(made));
  return {.send = [link](const std::vector<std::byte>& frame) { return put(*link, frame); },
          .receive =
              [link] {
                FrameBatch batch;
                static_cast<void>(link->receive(batch));
                Frames frames;
                std::ranges::transform(batch.frames(), std::back_inserter(frames), to_bytes);
                return frames;
              }};
}

Program machine_at(const std::string& path) {
  const auto machine = std::make_shared<FrontEnd>(connected_to(path), Driver{});
  machine->start();
  EXPECT_EQ(machine->ask(vhost::Request::get_queue_num), 1U);  // the bridge has read all before it
  return {.send = [machine](const auto& frame) { return machine->send({frame}) == 1; },
          .receive =
              [machine] {
                Frames frames;
                for (auto& one : machine->arrived()) frames.push_back(std::move(one.frame));
                return frames;
              }};
}

Program client_at(const std::string& path) {
  const auto client =
      std::make_shared<MemifClient>(connected_to(path, SOCK_SEQPACKET), ClientWish{});
  EXPECT_TRUE(client->start());
  return {.send = [client](const auto& frame) { return client->send({frame}) == 1; },
          .receive = [client] { return client->frames(); }};
}

Program datagrams_at(const std::string& here, const std::string& there) {
  return program_at(*std::move(DatagramPeer(here, there).link));
}

/// A link to programs. Files are in `directory`, which ends with a slash.
struct LinkCase {
  std::string name;
  std::string (*link)(const std::string& directory);
  Program (*program)(const std::string& directory);
};

void PrintTo(const LinkCase& one, std::ostream* out) {
  *out << one.name;
}

const std::vector<LinkCase>& link_cases() {
  using Path = const std::string&;
  static const std::vector<LinkCase> kCases{
      {"stream", [](Path at) { return "stream:" + at + "q"; },
       [](Path at) {
         return program_at(StreamLink::adopt(connected_to(at + "q"), {.address = "peer"}));
       }},
      {"dgram", [](Path at) { return "dgram:" + at + "bus0," + at + "vm"; },
       [](Path at) { return datagrams_at(at + "vm", at + "bus0"); }},
      {"vde", [](Path at) { return "vde:ptp://" + at + "p"; },
       [](Path at) { return program_at(VdeLink::open("ptp://" + at + "p", 1522).value()); }},
      {"vhost_user", [](Path at) { return "vhost-user:" + at + "v"; },
       [](Path at) { return machine_at(at + "v"); }},
      {"memif", [](Path at) { return "memif:" + at + "m"; },
       [](Path at) { return client_at(at + "m"); }}};
  return kCases;
}

class FaultsOfLink : public BridgeOfPeers, public ::testing::WithParamInterface<LinkCase> {
 protected:
  void serve(const Words& faults) {
    Words more{"--json"};
    for (const std::string& each : faults) more.insert(more.end(), {"--fault", each});
    tool_ = bridge(GetParam().link(file("")), more);
    const bool joins = GetParam().name == "vde";
    ASSERT_TRUE(eventually([&] { return said(joins ? "connected" : "ready"); })) << tool_so_far();
    host_ = std::make_unique<Port>(port("host"));
    program_ = GetParam().program(file(""));
    wait_for_ports(2);
  }
  /// The marks of what reaches the program, until `count` frames have.
  std::vector<unsigned> marks_at_program(std::size_t count) const {
    std::vector<unsigned> marks;
    static_cast<void>(eventually([&] {
      for (const auto& frame : program_.receive())
        marks.push_back(std::to_integer<unsigned>(frame.at(14)));
      return marks.size() >= count;
    }));
    return marks;
  }
  void send_to_program(unsigned first, unsigned last) {
    for (unsigned mark = first; mark <= last; ++mark)
      ASSERT_TRUE(put(*host_, peer_frame(kEverybody, host_->mac(), mark)));
  }
  void send_from_program(unsigned first, unsigned last) const {
    for (unsigned mark = first; mark <= last; ++mark)
      ASSERT_TRUE(
          eventually([&] { return program_.send(peer_frame(kEverybody, mac_number(1), mark)); }));
  }
  /// Ends the bridge. Result: the two directions, first that to the program.
  nlohmann::json directions() {
    const ToolResult result = end(*tool_);
    EXPECT_EQ(result.status, 0) << result.err;
    return nlohmann::json::parse(result.out).at("directions");
  }

  std::unique_ptr<Port> host_;
  Program program_;

 private:
  bool said(const char* what) const {  // with --json, on standard error
    static_cast<void>(tool_->wait_for("\a", std::chrono::milliseconds(10)));
    return tool_so_far().find(what) != std::string::npos;
  }
  std::string tool_so_far() const { return tool_->so_far().out + tool_->so_far().err; }

  std::unique_ptr<Tool> tool_;
};
INSTANTIATE_TEST_SUITE_P(Each, FaultsOfLink, ::testing::ValuesIn(link_cases()),
                         [](const auto& each) { return each.param.name; });

TEST_P(FaultsOfLink, HitTheFramesOfTheirWayAndAreCountedThere) {
  ASSERT_NO_FATAL_FAILURE(serve({"in:drop=2,4", "out:duplicate=100%"}));
  send_to_program(1, 5);
  EXPECT_EQ(marks_at_program(3), (Marks{1, 3, 5}));
  send_from_program(7, 8);
  EXPECT_EQ(marks_from(*host_, 4), (Marks{7, 7, 8, 8}));
  const nlohmann::json ways = directions();
  EXPECT_EQ(ways[0]["offered_frames"], 5) << ways;
  EXPECT_EQ(ways[0]["tx_frames"], 3) << ways;
  EXPECT_EQ(ways[0]["faults"]["options"], "drop=2,4");
  EXPECT_EQ(ways[0]["faults"]["seed"], 1);
  EXPECT_EQ(ways[0]["faults"]["frames"], 5);
  EXPECT_EQ(ways[0]["faults"]["lost_frames"], 2);
  EXPECT_EQ(ways[0]["faults"]["duplicated_frames"], 0);
  EXPECT_EQ(ways[1]["offered_frames"], 2) << ways;
  EXPECT_EQ(ways[1]["tx_frames"], 4) << ways;
  EXPECT_EQ(ways[1]["faults"]["options"], "duplicate=100%");
  EXPECT_EQ(ways[1]["faults"]["seed"], 2);
  EXPECT_EQ(ways[1]["faults"]["frames"], 2);
  EXPECT_EQ(ways[1]["faults"]["lost_frames"], 0);
  EXPECT_EQ(ways[1]["faults"]["duplicated_frames"], 2);
}

/// Whoever may write the bus may ask for faults. A name in them would have to be looked up, and
/// meanwhile the bridge would carry no frames.
TEST_P(FaultsOfLink, OfANeighbourMakeNobodyWaitForAResolver) {
  ASSERT_NO_FATAL_FAILURE(serve({}));
  ASSERT_TRUE(eventually([&] { return request_change(bus_, "port0", "heal").has_value(); }));
  for (const std::string spec :
       {"loss=100%,match=host slow.invalid", "in:match='tcp port http',loss=100%",
        "out:loss=100%,match=host 1.2.3.4.5", "match='src box-1 or src 7-9',loss=100%"}) {
    const auto answer = request_change(bus_, "port0", "fault " + spec);
    ASSERT_FALSE(answer) << *answer;
    EXPECT_EQ(answer.error().code, std::errc::operation_canceled) << answer.error().message;
    EXPECT_TRUE(contains(answer.error().message, "names are not looked up"));
  }
  send_to_program(1, 5);
  EXPECT_EQ(marks_at_program(5), (Marks{1, 2, 3, 4, 5}));
  const nlohmann::json ways = directions();
  EXPECT_EQ(ways[0]["tx_frames"], 5) << ways;
  EXPECT_EQ(ways[0]["faults"], nullptr);
}

/// The same seed loses the same frames on each link: the line is between the port and the program.
TEST_P(FaultsOfLink, LoseTheFramesThatTheSeedSaysWhateverTheLink) {
  Faults same(parse_faults("loss=30%,seed=5").value());
  Marks expected;
  for (unsigned mark = 1; mark <= 100; ++mark) {
    const auto bytes = peer_frame(kEverybody, kEverybody, mark);
    same.put(FrameView(bytes.data(), bytes.size()), Faults::Time{});
    FrameView view;
    if (same.ready({&view, 1}, Faults::Time{}) == 0) continue;
    expected.push_back(mark);
    same.pop(1);
  }
  ASSERT_NO_FATAL_FAILURE(serve({"in:loss=30%,seed=5"}));
  // In pieces, because a queue of datagrams holds no more.
  constexpr unsigned kPiece = 5;
  Marks came;
  for (unsigned first = 1; first <= 100; first += kPiece) {
    send_to_program(first, first + kPiece - 1);
    const Marks more = marks_at_program(static_cast<std::size_t>(std::ranges::count_if(
        expected, [&](unsigned mark) { return mark >= first && mark < first + kPiece; })));
    came.insert(came.end(), more.begin(), more.end());
  }
  EXPECT_EQ(came, expected);
  EXPECT_EQ(directions()[0]["faults"]["lost_frames"], 100 - expected.size());
}

}  // namespace
}  // namespace shmif::test
