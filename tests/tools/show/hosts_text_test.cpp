// The text of ps where a host has several interfaces or is not known.

#include "tools/show/hosts.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tests/tools/show/shown_figures.hpp"

namespace shmif::test {
namespace {

tools::HostInterface interface_of(unsigned slot, const std::string& port, const std::string& name,
                                  std::vector<std::string> addresses) {
  tools::HostInterface made;
  made.port.slot = slot;
  made.port.name = port;
  made.name = name;
  made.addresses = std::move(addresses);
  return made;
}

/// A host of two interfaces, the first with two addresses.
tools::Host router() {
  tools::Host host;
  host.pid = 4711;
  host.init = 4710;
  host.supervisor = 4700;
  host.command = {"sleep", "600"};
  host.interfaces.push_back(interface_of(0, "lan", "eth0", {"198.18.0.1/24", "fd00::1/64"}));
  host.interfaces.push_back(interface_of(1, "wan", "eth1", {}));
  return host;
}

std::vector<std::string> table_of(tools::Host host) {
  std::vector<tools::Host> hosts;
  hosts.push_back(std::move(host));
  return shown_lines(tools::to_text(hosts));
}

using Lines = std::vector<std::string>;

TEST(HostsText, PidAndCommandAreThoseOfAHostAndNotOfEachOfItsAddresses) {
  EXPECT_EQ(table_of(router()),
            (Lines{"host  pid   interface  address        command",
                   "lan   4711  eth0       198.18.0.1/24  sleep 600",
                   "                       fd00::1/64", "wan         eth1       -"}));
}

TEST(HostsText, OfAHostThatIsNotKnownSaysWhyInThePlaceOfItsCommand) {
  tools::Host host = router();
  host.unknown = "it is of another user";
  host.interfaces.erase(host.interfaces.begin());
  host.interfaces[0].name.clear();
  EXPECT_EQ(table_of(std::move(host)),
            (Lines{"host  pid  interface  address  command",
                   "wan     -          -        -  (it is of another user)"}));
}

TEST(HostsText, AsJsonNamesWhatIsKnown) {
  std::vector<tools::Host> hosts;
  hosts.push_back(router());
  hosts.push_back(router());
  hosts[1].unknown = "it is of another user";
  hosts.push_back(router());
  hosts[2].unknown = "its row was overwritten";
  hosts[2].supervisor = 0;
  const auto all = nlohmann::json::parse(tools::to_json("/bus", hosts));
  EXPECT_EQ(all.at("path"), "/bus");
  const auto& known = all.at("hosts").at(0);
  EXPECT_EQ(known.at("name"), "lan");
  EXPECT_EQ(known.at("pid"), 4711);
  EXPECT_EQ(known.at("init_pid"), 4710);
  EXPECT_EQ(known.at("supervisor_pid"), 4700);
  EXPECT_EQ(known.at("command"), (Lines{"sleep", "600"}));
  EXPECT_TRUE(known.at("unknown").is_null());
  EXPECT_EQ(known.at("interfaces").at(0).at("addresses"), (Lines{"198.18.0.1/24", "fd00::1/64"}));
  EXPECT_EQ(known.at("interfaces").at(1).at("interface"), "eth1");
  EXPECT_EQ(known.at("interfaces").at(1).at("addresses"), nlohmann::json::array());
  const auto& other = all.at("hosts").at(1);
  for (const char* const key : {"pid", "init_pid", "command"}) {
    EXPECT_TRUE(other.at(key).is_null()) << key;
  }
  EXPECT_EQ(other.at("supervisor_pid"), 4700);
  EXPECT_EQ(all.at("hosts").at(2).at("supervisor_pid"), nullptr);
  EXPECT_EQ(other.at("unknown"), "it is of another user");
  EXPECT_EQ(other.at("interfaces").at(0).at("port"), "lan");
  EXPECT_TRUE(other.at("interfaces").at(0).at("interface").is_null());
}

}  // namespace
}  // namespace shmif::test
