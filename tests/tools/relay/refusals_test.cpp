// Words that bridge, and the commands beside it, refuse: each in one line that says what was meant.

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "shmif/control/change.hpp"
#include "tests/tools/relay/peers_rig.hpp"

namespace shmif::test {
namespace {

using BridgeRefusals = BridgeOfPeers;

TEST_F(BridgeRefusals, OfLinksSayWhichOneWasMeant) {
  const std::string bus = "bus:" + bus_, q = file("q");
  const std::string no_offload = "does not take --no-offload", listens = "for links that listen";
  const std::string other_name = directory_.path() + "/../" +
                                 std::filesystem::path(directory_.path()).filename().string() +
                                 "/bus";
  std::ofstream(file("one")) << "one";
  std::filesystem::create_symlink(file("one"), file("two"));
  expect_refused(
      {{{"bridge", bus_, "stream:q"}, "did you mean bus:" + bus_ + '?'},
       {{"bridge", "./b", "stream:q"}, "did you mean bus:./b?"},
       {{"bridge", bus, "steam:/p"}, "did you mean stream:/p?"},
       {{"bridge", bus, "stream:conect=/p"}, "did you mean stream:connect=/p?"},
       {{"bridge", bus, "vhost-user:conect=/p"}, "did you mean vhost-user:connect=/p?"},
       {{"bridge", bus, "stream:listen="}, "did you mean stream:PATH?"},
       {{"bridge", bus, "stream:listen=/p"}, "did you mean stream:/p?"},
       {{"bridge", bus, "vhost-user:path=/p"}, "did you mean vhost-user:/p?"},
       {{"bridge", bus, "stream:unix:/p"}, "did you mean stream:/p?"},
       {{"bridge", bus, "stream:tcp:127.0.0.1:80"}, "did you mean stream:127.0.0.1:80?"},
       {{"bridge", bus, "stream:tcp:70000"}, "an address needs a port"},
       {{"bridge", bus, "stream:127.0.0.1"}, "an address needs a port"},
       {{"bridge", bus, "stream:127.0.0.1:"}, "an address needs a port"},
       {{"bridge", bus, "stream:127.0.0.1:65536"}, "an address needs a port"},
       {{"bridge", bus, "stream:::1"}, "an address needs a port"},
       {{"bridge", bus, "stream:[::1]"}, "an address needs a port"},
       {{"bridge", bus, "stream:5555"}, "./5555"},
       {{"bridge", bus, "stream:connect="}, "stream:PATH"},
       {{"bridge", bus, "stream:connect=@p"}, "abstract sockets"},
       {{"bridge", bus, "stream:" + std::string(200, 'x')}, "1 to 107"},
       {{"bridge", bus, "memif:~/p"}, "$HOME/p"},
       {{"bridge", bus, "memif:127.0.0.1:7000"}, "memif takes the path of a socket"},
       {{"bridge", bus, "memif:connect=" + q}, "memif only listens"},
       {{"bridge", bus, "vhost-user:127.0.0.1:7000"}, "vhost-user takes the path of a socket"},
       {{"bridge", bus, "dgram:" + q}, "lacks the other socket"},
       {{"bridge", bus, "dgram:/p,"}, "REMOTE is missing"},
       {{"bridge", bus, "dgram:,/p"}, "LOCAL is missing"},
       {{"bridge", bus, "dgram:/p,/p"}, "both sockets are the same"},
       {{"bridge", bus, "dgram:p,./p"}, "both sockets are the same"},
       {{"bridge", bus, "dgram:" + file("one") + ',' + file("two")}, "both sockets are the same"},
       {{"bridge", bus, "dgram:127.0.0.1:7000,127.0.0.1:7000"}, "both sockets are the same"},
       {{"bridge", bus, "dgram:127.0.0.1:7000," + q}, "both are paths"},
       {{"bridge", "tap:t0", "stream:" + q}, "joins a bus"},
       {{"bridge", bus, bus}, "both links are"},
       {{"bridge", bus, "bus:" + other_name}, "both links are"},
       {{"bridge", "pcap:" + bus_, "pcap:" + other_name}, "both links are"},
       {{"bridge", "tap:tap0", "tap:tap0"}, "both links are"},
       {{"bridge", bus, "stream:" + q, "--no-offload"}, no_offload},
       {{"bridge", bus, "dgram:" + q + ",/r", "--no-offload"}, no_offload},
       {{"bridge", bus, "vde:" + q, "--no-offload"}, no_offload},
       {{"bridge", bus, "vhost-user:" + q, "--no-offload"}, no_offload},
       {{"bridge", bus, "memif:" + q, "--no-offload"}, no_offload},
       {{"bridge", bus, "stream:connect=" + q, "--max-peers", "9"}, listens},
       {{"bridge", bus, "vde:slirp://", "--max-peers", "9"}, listens},
       {{"bridge", bus, "pcap:" + q, "--max-peers", "9"}, listens},
       {{"bridge", bus, "stream:" + q, "--max-peers", "0"}, "--max-peers"},
       {{"bridge", bus, "stream:" + q, "--max-peers", "256"}, "--max-peers"},
       {{"bridge", bus, "stream:" + q, "--max-peers", "many"}, "--max-peers"}});
  for (const std::string name : {"connect=", "127.0.0.1", "::1", "[::1]"})
    EXPECT_FALSE(std::filesystem::exists(name)) << "no socket of that name was made";
  // A client of memif is never connected to, so no other word was meant.
  expect_refused({{{"bridge", bus, "memif:conect=/nonexistent/q"}, "conect=/nonexistent/q"},
                  {{"bridge", bus, "vde:nosuchplugin://x"}, "finds no plugin of that name"}},
                 1);
  const ToolResult slirp = run_program(
      {"env", "VDEPLUGIN_PATH=/nonexistent", shmifctl_path(), "bridge", bus, "vde:slirp://"});
  EXPECT_TRUE(contains(slirp.err, "'shmifctl gateway'"));
  Tool digits({"sh", "-c", "cd \"$1\" && exec \"$2\" bridge \"$3\" stream:./5555", "sh",
               directory_.path(), shmifctl_path(), bus});
  EXPECT_TRUE(digits.wait_for("stream:./5555: ready"));
  EXPECT_TRUE(std::filesystem::is_socket(file("5555")));
  EXPECT_EQ(end(digits).status, 0);
}

TEST_F(BridgeRefusals, OfNamesAndPathsSayWhatToWrite) {
  const std::string bus = "bus:" + bus_, empty = "\"\" is empty (give NAME";
  const std::string remedy = "(write the path without \"bus:\")";
  expect_refused({{{"bridge", bus, "stream:" + file("q"), "--port-name", ""}, empty},
                  {{"bridge", bus, "pcap:" + file("p"), "--port-name", ""}, empty},
                  {{"gateway", bus_, "--port-name", ""}, empty},
                  {{"tap", bus_, "--port-name", ""}, empty},
                  {{"tap", bus_, "--name", ""}, empty},
                  {{"dump", bus_, "--name", ""}, empty},
                  {{"ping", bus_, "--name", ""}, empty},
                  {{"bridge", bus, "stream:" + file("q"), "--port-name", std::string(28, 'n')},
                   "at most 27 characters"}});
  // Only a bridge takes the path of a bus with its kind.
  expect_refused({{{"stat", bus}, remedy},
                  {{"create", bus}, remedy},
                  {{"destroy", bus}, remedy},
                  {{"dump", bus}, remedy},
                  {{"repair", bus}, remedy}},
                 1);
  expect_refused(
      {{{"exec", bus, "--", "true"}, remedy}, {{"exec", bus, "--create", "--", "true"}, remedy}},
      125);
}

TEST_F(BridgeRefusals, OfFaultsNameTheFault) {
  const std::string link = "bus:" + bus_, twice = "fault \"loss=2%\": loss is given twice";
  expect_refused(
      {{{"bridge", link, "stream:" + file("q"), "--fault", "los=1%"}, "--fault: fault \"los=1%\""},
       {{"bridge", link, link + "2", "--fault-left", "loss=1%,dealy=5ms"},
        "--fault-left: fault \"dealy=5ms\": there is no such fault (loss, "},
       {{"exec", bus_, "--fault", "loss=1%", "--fault", "loss=2%", "--", "true"}, twice},
       {{"tap", bus_, "--fault", "loss=1%;loss=2%"}, twice},
       {{"gateway", bus_, "--fault", "loss=1%,loss=2%"}, twice},
       {{"bridge", link, link + "2", "--fault", "loss=1%", "--fault", "out:loss=2%"}, twice},
       {{"bridge", link, link + "2", "--fault-left", "loss=1%", "--fault-left", "loss=2%"}, twice},
       {{"bridge", link, "stream:" + file("q"), "--fault", "in:loss=1%;loss=2%"}, twice}});
  const auto tool = listening();
  const StreamLink program = peer();
  wait_for_ports(1);
  ASSERT_TRUE(eventually([&] { return request_change(bus_, "port0", "heal").has_value(); }));
  const auto answer = request_change(bus_, "port0", "fault loss=1%;in:loss=2%");
  ASSERT_FALSE(answer);
  EXPECT_TRUE(contains(answer.error().message, "loss is given twice"));
}

}  // namespace
}  // namespace shmif::test
