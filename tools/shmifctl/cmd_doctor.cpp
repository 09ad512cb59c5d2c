// shmifctl doctor: what works on this machine, and what to do about the rest.

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/text.hpp"
#include "tools/common/json.hpp"
#include "tools/common/options.hpp"
#include "tools/doctor/checkup.hpp"
#include "tools/shmifctl/commands.hpp"

namespace shmif::tools {

namespace {

std::string doctor_json(const std::vector<Finding>& findings) {
  Json json;
  json["findings"] = Json::array();
  for (const Finding& each : findings) {
    Json& row = json["findings"].emplace_back();
    row["subject"] = each.subject;
    row["health"] = each.health == Health::fails ? "fails" : to_string(each.health);
    row["text"] = each.text;
    if (each.remedy.empty()) {
      set_null(row, "remedy", "nothing need be done");
    } else {
      row["remedy"] = each.remedy;
    }
  }
  return json_text(std::move(json));
}

int run_doctor(const CommandLine& line) {
  const Arguments args =
      Options("doctor", "[FOLDER]")
          .about(
              R"(Tries what shmifctl needs, and says in a line for each what works on this machine:
                 a bus in FOLDER (default: /dev/shm), a program as a host on it, network
                 namespaces, the TUN device, /proc, seccomp filters, control groups for the limits
                 of labs, open files, and programs of others that some commands use. After an
                 arrow stands what to do.

                 Exits with 0 if buses and hosts work, also if something else is limited, and
                 with 1 if they do not. Leaves nothing behind.)")
          .words(0, 1)
          .flag("json", "print JSON, for scripts")
          .example("shmifctl doctor", "what works here")
          .example("shmifctl doctor /tmp", "whether buses in /tmp work")
          .example("shmifctl doctor --json | jq -r '.findings[] | select(.health == \"fails\")'",
                   "what does not work, for scripts")
          .parse(line);
  const std::vector<Finding> findings = check_machine(
      args.positional().empty() ? "/dev/shm" : args.positional()[0], "/proc/self/exe");
  if (args.flag("json")) {
    const std::string text = doctor_json(findings);
    std::fwrite(text.data(), 1, text.size(), stdout);
  } else {
    for (const Finding& each : findings) {
      std::printf("%-8s %-11s %s%s%s\n", to_string(each.health), each.subject,
                  base::printable(each.text).c_str(), each.remedy.empty() ? "" : " -> ",
                  each.remedy.c_str());
    }
  }
  return std::ranges::any_of(findings,
                             [](const Finding& each) { return each.health == Health::fails; })
             ? kFailed
             : kDone;
}

}  // namespace

const Command kDoctorCommand{"doctor", "say what works on this machine, and what to do",
                             run_doctor};

}  // namespace shmif::tools
