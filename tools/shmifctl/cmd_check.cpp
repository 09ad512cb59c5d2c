// shmifctl check: whether the file of a lab is right, without running it.

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "base/text.hpp"
#include "tools/common/json.hpp"
#include "tools/common/options.hpp"
#include "tools/lab/lab.hpp"
#include "tools/shmifctl/commands.hpp"

namespace shmif::tools {

namespace {

Json json_of_lab(const Lab& lab, const LabProblems& problems) {
  Json json;
  json["file"] = lab.file;
  json["errors"] = problems.errors();
  json["warnings"] = problems.warnings();
  json["problems"] = Json::array();
  for (const LabProblem& each : problems.sorted()) {
    Json& row = json["problems"].emplace_back();
    row["line"] = each.place.line;
    row["column"] = each.place.column;
    row["severity"] = each.is_error ? "error" : "warning";
    row["text"] = each.text;
  }
  json["lab"] = lab.name;
  json["buses"] = Json::array();
  for (const LabBus& bus : lab.buses) {
    json["buses"].push_back({{"name", bus.name}, {"path", bus.path}, {"mtu", bus.options.mtu}});
  }
  json["hosts"] = Json::array();
  for (const LabHost& host : lab.hosts) {
    Json& row = json["hosts"].emplace_back();
    row["name"] = host.name;
    row["interfaces"] = Json::array();
    for (const LabInterface& interface : host.interfaces) {
      Json& line = row["interfaces"].emplace_back();
      line["bus"] = interface.bus.value;
      line["addresses"] = Json::array();
      for (const auto& each : interface.addresses) {
        line["addresses"].push_back(each.value.to_string());
      }
    }
  }
  return json;
}

int run_check(const CommandLine& line) {
  const Arguments args =
      Options("check", "FILE")
          .about(
              R"(Checks the file of a lab and runs nothing. Prints everything that is wrong, each
                 with its line and column, and exits 1 if there is an error. docs/labs.md
                 describes the file, and docs/lab.schema.json is its JSON schema, for editors.)")
          .flag("json", "print what is wrong, and the hosts with their addresses, as JSON")
          .example("shmifctl check three.toml", "is the file right?")
          .example("shmifctl check three.toml --json | jq -r '.hosts[].name'",
                   "the names of all hosts, also those of a count")
          .parse(line);
  LabProblems problems;
  const Lab lab = load_lab(args.positional()[0], problems).value();
  if (args.flag("json")) {
    const std::string text = json_text(json_of_lab(lab, problems));
    std::fwrite(text.data(), 1, text.size(), stdout);
  } else {
    for (const LabProblem& each : problems.sorted()) {
      std::fprintf(stderr, "%s\n", to_text(lab.file, each).c_str());
    }
  }
  if (problems.errors() != 0) {
    return fail("the lab " + lab.file + " has " + base::counted(problems.errors(), "error"));
  }
  if (!args.flag("json")) {
    std::printf("%s: lab %s has %s on %s\n", lab.file.c_str(), lab.name.c_str(),
                base::counted(lab.hosts.size(), "host").c_str(),
                base::counted(lab.buses.size(), "bus", "buses").c_str());
  }
  return kDone;
}

}  // namespace

const Command kCheckCommand{"check", "check the file of a lab", run_check};

}  // namespace shmif::tools
