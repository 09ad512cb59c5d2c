// shmifctl serve with a lab.

#include <algorithm>
#include <csignal>

#include "tests/tools/lab/lab_rig.hpp"
#include "tests/tools/page/page_rig.hpp"

namespace shmif::test {
namespace {

using nlohmann::json;

class ServeLab : public LabRig {
 protected:
  /// Waits until the state of the page has what `is_there` looks for.
  template <class IsThere>
  static json state_with(const PageRig& page, const IsThere& is_there) {
    json state;
    EXPECT_TRUE(eventually([&] {
      state = page.get("/api/state").json();
      return is_there(state);
    })) << state.dump(1);
    return state;
  }
};

TEST_F(ServeLab, ShowsTheHostsOfTheFileByFileAndByNameThroughDownAndUp) {
  const std::string path =
      lab("bus.c = { path = \"lab.c\" }\n"
          "host.router = { on = [\"b\", \"c\"], ip = [\"198.18.0.1/24\", \"198.18.1.1/24\"] }\n"
          "host.brief = { on = \"c\", run = \"true\" }\n");
  ASSERT_EQ(up(path, {"--detach"}).status, 0);
  const json wanted{
      {"name", "lab"},
      {"file", path},
      {"state", "up"},
      {"hosts",
       {{{"name", "router"}, {"buses", {"b", "c"}}}, {{"name", "brief"}, {"buses", {"c"}}}}}};
  const PageRig by_name({"lab"});
  const PageRig page({path});
  for (const PageRig* const each : {&by_name, &page}) {
    const json state = each->get("/api/state").json();
    EXPECT_EQ(state["name"], "lab");
    EXPECT_EQ(state["lab"], wanted);
    ASSERT_EQ(state["buses"].size(), 2U);
    EXPECT_EQ(state["buses"][0]["name"], "b");
    EXPECT_EQ(state["buses"][1]["path"], file("lab.c"));
  }
  const auto names_on = [](const json& bus) {
    Words names;
    for (const json& port : bus["stat"]["ports"]) names.push_back(port["name"]);
    return names;
  };
  state_with(page, [&](const json& seen) {
    return names_on(seen["buses"][0]) == Words{"router"} &&
           names_on(seen["buses"][1]) == Words{"router"};
  });
  ASSERT_EQ(run_tool({"down", path}).status, 0);
  const json down =
      state_with(page, [](const json& seen) { return seen["lab"]["state"] == "down"; });
  EXPECT_EQ(down["lab"]["hosts"], wanted["hosts"]) << "what should be there is still known";
  state_with(page, [](const json& seen) {
    return seen["buses"][0]["error"].is_string() && seen["buses"][1]["error"].is_string();
  });
  ASSERT_EQ(up(path, {"--detach"}).status, 0);
  state_with(page, [&](const json& seen) {
    return seen["lab"] == wanted && seen["buses"][1]["error"].is_null();
  });
  EXPECT_EQ(run_tool({"down", path}).status, 0);
}

TEST_F(ServeLab, WhoseControllerAndGuardianWereKilledIsDown) {
  const std::string path = lab("host.a = { on = \"b\" }\n");
  ASSERT_EQ(up(path, {"--detach"}).status, 0);
  const PageRig page({path});
  EXPECT_EQ(page.get("/api/state").json()["lab"]["state"], "up");
  kill_controller_and_guardian();
  state_with(page, [](const json& seen) { return seen["lab"]["state"] == "down"; });
  EXPECT_TRUE(std::filesystem::exists(file("run/shmif/lab.json"))) << "nobody has removed it";
  EXPECT_EQ(run_tool({"down", path}).status, 0);
  expect_no_trace();
}

TEST_F(ServeLab, SaysHowToStartALabThatDoesNotRun) {
  const std::string path = lab("host.a = { on = \"b\" }\n");
  const ToolResult said = run_tool({"serve", path});
  EXPECT_EQ(said.status, 1);
  EXPECT_EQ(said.out, "");
  EXPECT_EQ(said.err, "shmifctl: cannot show the lab " + path + ": it is not up ('shmifctl up " +
                          path + "' starts it)\n");
  ASSERT_EQ(up(path, {"--detach"}).status, 0);
  const pid_t controller = this->state()["pid"];
  for (const pid_t each : children_of(controller)) {
    if (text_of("/proc/" + std::to_string(each) + "/comm") == "shmif-guardian\n") {
      ASSERT_EQ(::kill(each, SIGKILL), 0);
    }
  }
  ASSERT_EQ(::kill(controller, SIGKILL), 0);
  EXPECT_TRUE(eventually([&] { return is_gone(controller); }));
  EXPECT_EQ(run_tool({"serve", "lab"}).err,
            "shmifctl: cannot show the lab lab: it is not up ('shmifctl "
            "up " +
                path + "' starts it)\n");
  EXPECT_EQ(run_tool({"down", "lab"}).status, 0);
  for (const char* const none : {"no-such-lab", "no-such-lab.toml"}) {
    const ToolResult neither = run_tool({"serve", none});
    EXPECT_EQ(neither.status, 1);
    EXPECT_EQ(neither.err, std::string("shmifctl: cannot show ") + none +
                               ": there is no such file, and no lab of that name is up "
                               "('shmifctl ls' lists labs and buses)\n");
  }
}

}  // namespace
}  // namespace shmif::test
