// Pages of shmifctl serve in a real browser, beside real hosts (look_at_lab.py).

#include "tests/support/eventually.hpp"
#include "tests/support/paths.hpp"
#include "tests/tools/lab/lab_rig.hpp"
#include "tests/tools/page/page_rig.hpp"

namespace shmif::test {
namespace {

/// One browser looks at several pages, because starting it takes longer than looking.
class PageInBrowser : public LabRig {
 protected:
  struct Look {
    std::string kind;
    std::string url;
    std::string what;  ///< a bus, or a lab's file
    std::string host;
  };

  /// Result: what is wrong, a line each.
  static void look(const std::vector<Look>& looks) {
    Words line{SHMIF_PYTHON, in_source("tests/tools/page/look_at_lab.py")};
    if (const char* const folder = std::getenv("SHMIF_PICTURES"))
      line.insert(line.end(), {"--pictures", folder});
    line.push_back(shmifctl_path());
    for (const Look& each : looks)
      line.push_back(each.kind + '=' + each.url + '=' + each.what + '=' + each.host);
    const ToolResult said = run_program(std::move(line));
    if (said.status == 77) GTEST_SKIP() << said.out.substr(said.out.find(": ") + 2);
    EXPECT_EQ(said.status, 0) << said.err;
    EXPECT_EQ(said.out, "done\n") << said.err;
  }
};

/// Hosts on a bus, and a port with a name that would be markup.
TEST_F(PageInBrowser, ClicksAndKeysChangeWhatStatSays) {
  const BusRig rig;
  std::vector<std::unique_ptr<Tool>> hosts;
  for (const auto& [name, address] :
       {std::pair{"web", "198.18.0.1/24"}, std::pair{"user", "198.18.0.2/24"}}) {
    hosts.push_back(std::make_unique<Tool>(Words{shmifctl_path(), "exec", rig.path(), "--name",
                                                 name, "--ip", address, "--", "sleep", "600"}));
    ASSERT_TRUE(rig.wait_for_port(name)) << name;
  }
  const Port odd = rig.port("<img/src=x/onerror=seen.pop()>");
  Port sender = rig.port("sender");
  send(sender, {arp_request(), udp_frame()});
  const BusRig full;
  std::vector<Port> many;
  for (int i = 1; i <= 40; ++i) many.push_back(full.port("iot" + std::to_string(i)));
  const PageRig reads({rig.path()});
  const PageRig writes({rig.path(), "--write"});
  const PageRig crowd({full.path()});
  look({{"read", reads.url, rig.path(), "web"},
        {"write", writes.url, rig.path(), "web"},
        {"foreign", writes.url, rig.path(), "web"},
        {"views", crowd.url, full.path(), "iot7"}});
}

TEST_F(PageInBrowser, ShowsALabThroughDownAndUp) {
  const std::string path = file("lab.toml");
  std::ofstream(path) << R"(
bus.left = { path = "lab.left" }
bus.right = { path = "lab.right" }
[host.router]
on = ["left", "right"]
ip = ["198.18.1.1/24", "198.18.2.1/24"]
forward = true
[host.web]
on = "right"
ip = "198.18.2.80/24"
gateway = "198.18.2.1"
[host.user]
on = "left"
ip = "198.18.1.7/24"
gateway = "198.18.1.1"
run = "exec ping -q -i 0.05 198.18.2.80"
[host.brief]
on = "left"
ip = "198.18.1.8/24"
run = "true"
)";
  ASSERT_EQ(up(path, {"--detach"}).status, 0);
  {
    const PageRig page({path, "--write"});
    look({{"lab", page.url, path, "user"}});
  }
  EXPECT_EQ(run_tool({"down", path}).status, 0);
  for (const std::string bus : {"left", "right"})
    EXPECT_FALSE(std::filesystem::exists(file("lab." + bus)));
}

}  // namespace
}  // namespace shmif::test
