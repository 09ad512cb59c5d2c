// shmifctl ls: every bus and lab on this machine.

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/text.hpp"
#include "tools/common/json.hpp"
#include "tools/common/options.hpp"
#include "tools/lab/state.hpp"
#include "tools/shmifctl/commands.hpp"
#include "tools/show/describe.hpp"

namespace shmif::tools {

namespace {

const char* state_of(const FoundLab& lab) {
  return !lab.alive ? "dead" : lab.state.ready ? "up" : "starting";
}

/// The controller, or that of a dead lab.
std::string pid_of(const FoundLab& lab) {
  if (!lab.alive) return std::to_string(lab.state.pid);
  return lab.pid == 0 ? "-" : std::to_string(lab.pid);
}

std::size_t live_ports_of(const BusInfo& bus) {
  return static_cast<std::size_t>(std::ranges::count_if(bus.ports, &PortInfo::live));
}

/// The lab that a bus belongs to, and its name there; empty if to none.
std::string lab_of(const BusInfo& bus, const std::vector<FoundLab>& labs) {
  for (const FoundLab& lab : labs) {
    for (const LabStateBus& each : lab.state.buses) {
      if (each.path == bus.path) return lab.state.name;
    }
  }
  return {};
}

std::string ls_json(const std::vector<FoundLab>& labs, const std::vector<BusInfo>& buses) {
  Json json;
  json["labs"] = Json::array();
  for (const FoundLab& lab : labs) {
    Json& row = json["labs"].emplace_back();
    row["name"] = lab.state.name;
    row["state"] = state_of(lab);
    row["user"] = lab.user;
    row["file"] = lab.state.file;
    row["results"] = lab.state.results;
    if (lab.alive && lab.pid == 0) {
      set_null(row, "pid", "its process is in another pid namespace");
    } else {
      row["pid"] = lab.alive ? lab.pid : lab.state.pid;
    }
    row["buses"] = Json::array();
    for (const LabStateBus& bus : lab.state.buses) {
      row["buses"].push_back({{"name", bus.name}, {"path", bus.path}});
    }
    row["hosts"] = Json::array();
    for (const LabStateHost& host : lab.state.hosts) {
      row["hosts"].push_back({{"name", host.name}, {"buses", host.buses}});
    }
    row["far_hosts"] = lab.state.far_hosts;
  }
  json["buses"] = Json::array();
  for (const BusInfo& bus : buses) {
    Json& row = json["buses"].emplace_back();
    row["path"] = bus.path;
    row["format"] = to_string(bus.format);
    row["mtu"] = bus.mtu;
    row["ring_bytes"] = bus.ring_bytes;
    if (bus.format == BusFormat::shmif) {
      row["live_ports"] = live_ports_of(bus);
    } else {
      set_null(row, "live_ports", "a bus of NetBSD's format has no table of ports");
    }
    const std::string lab = lab_of(bus, labs);
    if (lab.empty()) {
      set_null(row, "lab", "it belongs to no lab");
    } else {
      row["lab"] = lab;
    }
  }
  return json_text(std::move(json));
}

void print_ls(const std::vector<FoundLab>& labs, const std::vector<BusInfo>& buses) {
  if (!labs.empty()) {
    std::vector<std::vector<std::string>> rows{{"LAB", "STATE", "USER", "HOSTS", "PID", "FILE"}};
    for (const FoundLab& lab : labs) {
      rows.push_back({base::printable(lab.state.name), state_of(lab), base::printable(lab.user),
                      std::to_string(lab.state.hosts.size() + lab.state.far_hosts.size()),
                      pid_of(lab), base::printable(lab.state.file)});
    }
    std::printf("%s\n", aligned(rows).c_str());
  }
  if (buses.empty()) {
    std::printf("no bus (make one with 'shmifctl create', or a lab with 'shmifctl up')\n");
    return;
  }
  std::vector<std::vector<std::string>> rows{{"BUS", "PORTS", "MTU", "RING", "LAB"}};
  for (const BusInfo& bus : buses) {
    const std::string lab = lab_of(bus, labs);
    rows.push_back({base::printable(bus.path),
                    bus.format == BusFormat::shmif ? std::to_string(live_ports_of(bus)) : "-",
                    std::to_string(bus.mtu), format_bytes(bus.ring_bytes),
                    lab.empty() ? "-" : base::printable(lab)});
  }
  std::printf("%s", aligned(rows).c_str());
}

int run_ls(const CommandLine& line) {
  const Arguments args =
      Options("ls", "")
          .about(
              R"(Lists the labs of this user, and every bus that this user may see: those in
                 /dev/shm, those of labs, and those that running processes use. Root sees those
                 of all users. PORTS counts live ports. HOSTS counts those on other machines, too
                 (far_hosts of --json). A "dead" lab was killed together with its guardian;
                 'shmifctl down' removes what it left.)")
          .words(0, 0)
          .flag("json", "print JSON, for scripts")
          .example("shmifctl ls", "which labs and buses there are")
          .example("shmifctl ls --json | jq -r '.labs[] | .name, .hosts[].name'",
                   "the labs and their hosts")
          .parse(line);
  const std::vector<FoundLab> labs = find_labs();
  std::vector<std::string> paths;
  for (const FoundLab& lab : labs) {
    for (const LabStateBus& bus : lab.state.buses) paths.push_back(bus.path);
  }
  const std::vector<BusInfo> buses = find_buses(paths);
  if (args.flag("json")) {
    const std::string text = ls_json(labs, buses);
    std::fwrite(text.data(), 1, text.size(), stdout);
  } else {
    print_ls(labs, buses);
  }
  return kDone;
}

}  // namespace

const Command kLsCommand{"ls", "list the buses and labs of this machine", run_ls};

}  // namespace shmif::tools
