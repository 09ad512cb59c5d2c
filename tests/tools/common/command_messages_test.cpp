// What commands that were given wrong words say, to the last letter: what is wrong, and what to
// write instead.

#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/child_process.hpp"
#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {
namespace {

using Line = std::vector<std::string>;

/// The message of a wrong line. `of`: whose --help it points to.
void expect_usage(const Line& line, const std::string& message, const std::string& of) {
  const ToolResult refused = run_tool(line);
  EXPECT_EQ(refused.status, 2) << message;
  EXPECT_EQ(refused.out, "");
  const std::string see = message.ends_with('?') ? " See" : "; see";
  EXPECT_EQ(refused.err, "shmifctl: " + message + see + " 'shmifctl " + of + "--help'\n");
}

TEST(CommandMessages, OfCreateNameTheOptionThatCannotBe) {
  const TempDir directory;
  const std::string path = directory.file("bus");
  const auto refused = [&](Line words, const std::string& message) {
    words.insert(words.begin(), {"create", path});
    expect_usage(words, "create: " + message, "create ");
  };
  refused({"--format", "bsd"}, "--format \"bsd\" is not known (shmif or netbsd)");
  for (const auto& [option, value] :
       {std::pair{"size", "1M"}, {"mtu", "1500"}, {"flow", "pause"}, {"patience", "1"}}) {
    refused({"--format", "netbsd", std::string("--") + option, value},
            std::string("--format netbsd has one size, one MTU and no flow control: leave --") +
                option + " out");
  }
  for (const std::string mode : {"8", "1000", "rw"})
    refused({"--mode", mode}, "--mode \"" + mode + "\" is not a mode (octal digits, 0 to 0777)");
  for (const std::string mode : {"0", "0200", "0400", "0177"}) {
    refused({"--mode", mode}, "--mode \"" + mode +
                                  "\" does not let the owner read and write the bus (0600 to 0777, "
                                  "such as 0660)");
  }
  for (const Line& flow : {Line{}, Line{"--flow", "ethernet"}}) {
    Line words{"--patience", "0.1"};
    words.insert(words.end(), flow.begin(), flow.end());
    refused(words, "--patience needs --flow pause: give it, too");
  }
}

TEST(CommandMessages, SayWhatIsMissing) {
  expect_usage({"stop", "/none"}, "stop: give the NAME of a host, --port NAME, or --all", "stop ");
  const Line wait{"wait", "/none"};
  expect_usage(wait, "wait: --port NAME or --tcp ADDRESS:PORT is missing: say what to wait for",
               "wait ");
  expect_usage({"wait", "/none", "--port", ""},
               "wait: --port \"\" is empty (give NAME, or leave --port out)", "wait ");
  expect_usage({"stop", "/none", "--port", ""},
               "stop: --port \"\" is empty (give NAME, or leave --port out)", "stop ");
  expect_usage({"wait", "/none", "--port", "x", "--from", "198.18.0.1"},
               "wait: --from needs --tcp ADDRESS:PORT", "wait ");
  expect_usage({"exec", "/none", "--name", "two words", "sh", "-c", "a b"},
               "exec: unknown option -c (the program and its options come after \"--\": shmifctl "
               "exec /none --name 'two words' -- sh -c 'a b')",
               "exec ");
  for (const std::string option : {"--debug=link", "--log-level=info"}) {
    expect_usage({"exec", option, "/none", "sh"},
                 "exec: no program to run (the program and its options come after \"--\": shmifctl "
                 "exec " +
                     option + " /none -- sh)",
                 "exec ");
  }
}

TEST(CommandMessages, OfATapWithoutALanSayForWhichBusItIs) {
  const std::string what =
      "exec: --tap tap7 needs --lan, the bridge between that device and the bus";
  const std::string write = ": write --lan --tap tap7";
  expect_usage({"exec", "/none", "--tap", "tap7", "--", "true"}, what + write, "exec ");
  expect_usage({"exec", "/none", "--lan", "--bus", "/nil", "--tap", "tap7", "--", "true"},
               what + " (one for each bus)" + write, "exec ");
}

TEST(CommandMessages, OfANameThatIsNotThereSayWhatListsThem) {
  const BusRig rig;
  const std::string on = " \"nobody\" on bus " + rig.path() + ": no ";
  const ToolResult host = run_tool({"stop", rig.path(), "nobody"});
  EXPECT_EQ(host.err, "shmifctl: cannot find host" + on + "host of that name ('shmifctl ps " +
                          rig.path() + "' lists the hosts)\n");
  const ToolResult port = run_tool({"stop", rig.path(), "--port", "nobody"});
  EXPECT_EQ(port.err, "shmifctl: cannot find port" + on + "port of that name ('shmifctl stat " +
                          rig.path() + "' lists the ports)\n");
}

TEST(CommandMessages, NameTheValueAndThoseThatCanBe) {
  expect_usage({"ping", "/none", "--to", "01:00:5e:00:00:01"},
               "ping: --to \"01:00:5e:00:00:01\" is a group address (leave out --to to ask all "
               "ports)",
               "ping ");
  for (const std::string seconds : {"0.049", "3600.1", "2h"}) {
    expect_usage({"top", "/none", "--interval", seconds},
                 "top: --interval \"" + seconds + "\" is not from 0.05 to 3600", "top ");
  }
  expect_usage({"top", "/none", "--sort", "size"},
               "top: --sort \"size\" is not one of loss, lag, tx, rx, name and slot", "top ");
  for (const std::string mac : {"01:00:00:00:00:01", "b2:a0"}) {
    expect_usage(
        {"exec", "/none", "--mac", mac, "--", "true"},
        "exec: --mac \"" + mac + "\" is not a unicast MAC address (such as b2:a0:00:00:00:01)",
        "exec ");
  }
}

TEST(CommandMessages, NameTheWordThatIsOneTooMany) {
  expect_usage({"stat", "/none", "one", "two"},
               "stat: \"one\" is one argument too many (give PATH)", "stat ");
}

TEST(CommandMessages, OfALinkNameTheCommandThatHasIt) {
  for (const std::string topic :
       {"links", "bus", "packet", "pcap", "stream", "dgram", "vhost-user", "memif", "vde"}) {
    for (const Line& line : {Line{topic}, Line{"help", topic}}) {
      expect_usage(
          line, "unknown command \"" + topic + "\" (for that, read 'shmifctl bridge --help')", "");
    }
  }
}

TEST(CommandMessages, OfDestroySayWhatToDoAboutThePath) {
  const BusRig rig;
  const std::string before = "shmifctl: cannot remove the bus ";
  const std::string why = ": No such file or directory (";
  const ToolResult prefixed = run_tool({"destroy", "bus:" + rig.path()});
  EXPECT_EQ(prefixed.status, 1);
  EXPECT_EQ(prefixed.err,
            before + "bus:" + rig.path() + why + "write the path without \"bus:\")\n");
  const ToolResult missing = run_tool({"destroy", rig.file("none")});
  EXPECT_EQ(missing.status, 1);
  EXPECT_EQ(missing.err, before + rig.file("none") + why + "check the path)\n");
  EXPECT_EQ(run_tool({"stat", rig.path()}).status, 0);
}

TEST(CommandMessages, OfStopSayWhatHelpsAgainstAProcessThatIsNoHost) {
  const BusRig rig;
  const StayingChild deaf([&] {
    std::signal(SIGTERM, SIG_IGN);
    PortOptions options;
    options.name = "deaf";
    static Port port(options);
    return bool{port.attach(rig.path())} && !port.up();
  });
  ASSERT_TRUE(deaf.works());
  const ToolResult kept = run_tool({"stop", rig.path(), "--port", "deaf", "--timeout", "5ms"});
  EXPECT_EQ(kept.status, 1);
  EXPECT_EQ(kept.err,
            "shmifctl: cannot stop port \"deaf\": its process did not end within 5ms of SIGTERM "
            "(--force kills it)\n");
  const ToolResult killed =
      run_tool({"stop", rig.path(), "--port", "deaf", "--timeout", "5ms", "--force"});
  EXPECT_EQ(killed.status, 0) << killed.err;
  EXPECT_EQ(killed.err, "");
  EXPECT_EQ(run_tool({"wait", rig.path(), "--port", "deaf", "--timeout", "0"}).status, 1);
}

TEST(CommandMessages, OfWaitTellOnceWhatIsStrangeAboutTheBus) {
  const BusRig rig;
  const std::string copy = rig.file("copy");
  ASSERT_TRUE(std::filesystem::copy_file(rig.path(), copy));
  // It opens the bus anew after 64 looks.
  const ToolResult waited = run_tool({"wait", copy, "--port", "web", "--timeout", "1.6"});
  EXPECT_EQ(waited.status, 1);
  EXPECT_EQ(times_in(waited.err, "is a copy"), 1U) << waited.err;
}

TEST(CommandMessages, OfPingSayWhoAsksWhomWhere) {
  const BusRig rig;
  const Port web = rig.port("web");
  const auto first_line = [&](const Line& more) {
    Line line{"ping", rig.path(), "--name", "me", "-c", "1", "--timeout", "1ms"};
    line.insert(line.end(), more.begin(), more.end());
    const ToolResult asked = run_tool(line);
    EXPECT_EQ(asked.status, 1);
    return asked.out.substr(0, asked.out.rfind(' '));
  };
  EXPECT_EQ(first_line({}), "ping everybody on " + rig.path() + " from");
  EXPECT_EQ(first_line({"--to", "web"}),
            "ping web (" + web.mac().to_string() + ") on " + rig.path() + " from");
}

}  // namespace
}  // namespace shmif::test
