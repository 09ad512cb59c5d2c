// The controller of a lab: its other machines. A controller at the other end of ssh runs the hosts
// there. It does nothing by itself: this one says when a host starts, and decides what its end
// means. So order, restarts and events are the same for hosts on all machines.

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "base/printable.hpp"
#include "tools/common/command.hpp"
#include "tools/common/version.hpp"
#include "tools/lab/lab_run.hpp"
#include "tools/uplink/ssh_session.hpp"

namespace shmif::tools {

namespace {

/// The other machine takes its hosts down if it hears nothing for several of these.
constexpr std::chrono::seconds kAliveInterval{3};

/// For the answer to a change: the line over there may take four seconds, and the rest is for ssh.
constexpr std::chrono::seconds kMaxFarChange{8};

/// How `uplink --ssh` takes a host: an IPv6 address in brackets.
std::string for_uplink(const std::string& ssh, const std::string& path) {
  const std::size_t at = ssh.find('@');
  const std::string user = at == std::string::npos ? "" : ssh.substr(0, at + 1);
  const std::string host = ssh.substr(user.size());
  if (host.find(':') == std::string::npos) return ssh + ':' + path;
  return std::string(user).append(1, '[').append(host).append("]:").append(path);
}

}  // namespace

std::string far_lab_name(const Lab& lab, const std::string& machine) {
  return lab.name + '-' + machine;
}

std::string far_bus_path(const Lab& lab, const std::string& machine, const std::string& bus) {
  return "/dev/shm/" + far_lab_name(lab, machine) + '.' + bus;
}

void LabRun::start_machines() {
  for (const LabMachine& spec : lab_.machines) {
    const bool used = std::ranges::any_of(
        lab_.hosts, [&](const LabHost& each) { return each.machine.value == spec.name; });
    if (!used) continue;
    Machine machine;
    machine.spec = &spec;
    machine.output.name = "machine-" + spec.name;
    machine.output.may_colour = false;
    ChildWish wish;
    wish.program = "ssh";
    wish.words = ssh_command(spec.options, spec.ssh.value,
                             spec.program + " up --stdio -- " + base::quote_word(lab_.file));
    wish.words.erase(wish.words.begin());
    wish.folder = lab_.folder;
    wish.on_death = SIGTERM;
    wish.has_line = true;
    machine.child.emplace(LabChild::start(wish).value());
    UniqueFd line = machine.child->take_line();
    UniqueFd same(::dup(line.get()));
    machine.line.emplace(std::move(line), std::move(same), MachineLine::kMaxAnswer);
    Json request;
    request["lab"] = lab_.text;
    std::error_code ignored;
    request["file"] = std::filesystem::absolute(lab_.file, ignored).lexically_normal().string();
    request["version"] = version_number();
    request["name"] = lab_.name;
    request["machine"] = spec.name;
    request["folder"] = spec.folder;
    if (options_.seed) request["seed"] = *options_.seed;
    machine.line->send(request);
    machines_.push_back(std::move(machine));
  }
  alive_due_ = Clock::now() + kAliveInterval;
}

/// The buses on both sides are there: joins them.
void LabRun::start_uplinks(const Machine& machine) {
  const LabMachine& spec = *machine.spec;
  for (const LabBus& bus : lab_.buses) {
    if (!lab_.spans(bus, spec)) continue;
    Helper helper;
    helper.output.name = "uplink-" + spec.name;
    helper.output.on_terminal = false;
    helper.bus = bus.name;
    helper.port = helper.output.name;
    std::vector<std::string> words{
        "uplink",        bus.path,
        "--ssh",         for_uplink(spec.ssh.value, far_bus_path(lab_, spec.name, bus.name)),
        "--far-program", spec.program,
        "--port-name",   helper.port};
    for (const std::string& each : spec.options) words.insert(words.end(), {"--ssh-option", each});
    start_helper(std::move(helper), std::move(words), SIGTERM);
  }
}

bool LabRun::machines_run() const {
  return std::ranges::any_of(machines_, [](const Machine& each) { return each.child.has_value(); });
}

void LabRun::tell_machine(const std::string& name, const Json& record) {
  for (Machine& each : machines_) {
    if (each.spec->name == name && each.line) each.line->send(record);
  }
}

void LabRun::keep_machines_alive() {
  const Clock::time_point now = Clock::now();
  if (now < alive_due_) return;
  alive_due_ = now + kAliveInterval;
  for (Machine& each : machines_) {
    if (each.line) each.line->send({{"alive", true}});
  }
}

void LabRun::take_machines() {
  keep_machines_alive();
  for (Machine& machine : machines_) {
    if (!machine.child) continue;
    take_output(machine.output, *machine.child);
    machine.line->flush();
    take_records(machine);
    if (const auto status = machine.child->take_end()) {
      take_records(machine);  // that came meanwhile
      take_machine_end(machine, *status);
    }
  }
  if (far_change_ && Clock::now() >= far_change_->until) {
    end_far_change("machine " + far_change_->machine + " did not answer within " +
                   std::to_string(kMaxFarChange.count()) +
                   " s, so the change may still come (is its ssh connection alive?)");
  }
}

void LabRun::take_records(Machine& machine) {
  try {
    for (const Json& record : machine.line->receive()) take_record(machine, record);
  } catch (const Json::exception&) {
    refuse_machine(machine,
                   "sent what this version does not understand (install the same version on "
                   "both machines)");
  }
  if (machine.line->is_wrong()) {
    refuse_machine(machine,
                   "sent what is no record of a lab (does a shell there print something when "
                   "it starts?)");
  }
}

/// Ends the connection to a machine that does not do what is agreed.
void LabRun::refuse_machine(Machine& machine, const std::string& why) {
  if (machine.failure.empty()) machine.failure = why;
  machine.child->signal(SIGTERM);
}

/// Asks for the first change of all.
void LabRun::change_on(const std::string& machine) {
  far_change_ = FarChange{machine, ++far_changes_, Clock::now() + kMaxFarChange};
  const auto asked = std::ranges::find_if(
      machines_, [&](const Machine& each) { return each.spec->name == machine && each.child; });
  if (asked == machines_.end()) return end_far_change("machine " + machine + " is lost");
  asked->asked = far_changes_;
  tell_machine(machine, {{"change", changes_.front().words}, {"number", far_changes_}});
}

/// The change that another machine was asked for has failed, if it has no answer yet.
void LabRun::end_far_change(const std::string& why) {
  if (far_change_->status) return;
  far_change_->status = kFailed;
  change_text_ = why;
}

LabRun::Host* LabRun::host_of_record(const std::string& name, const std::string& machine) {
  const auto found = std::ranges::find_if(hosts_, [&](const Host& each) {
    return each.spec->name == name && each.spec->machine.value == machine && each.runs_far;
  });
  return found == hosts_.end() ? nullptr : &*found;
}

void LabRun::take_record(Machine& machine, const Json& record) {
  const std::string& there = machine.spec->name;
  const std::string key = record.empty() ? "" : record.begin().key();
  if (!machine.failure.empty()) return;  // it was refused
  if (key == "up") {
    // Each one starts processes here.
    if (std::exchange(machine.up, true)) {
      return refuse_machine(machine,
                            "said twice that it is up (install the same version on both "
                            "machines)");
    }
    start_uplinks(machine);
  } else if (key == "changed") {
    const auto number = record.value("number", std::uint64_t{0});
    if (number == 0 || number > machine.asked) {
      return refuse_machine(machine, "answered what nobody asked");
    }
    // An answer that comes too late is none.
    if (!far_change_ || far_change_->number != number || far_change_->status) return;
    change_text_ = record.at("text").get<std::string>();
    far_change_->status = record.at("changed").get<int>();
  } else if (Host* const host = host_of_record(record.at(key).get<std::string>(), there)) {
    if (key == "out") {
      take_text(host->output, record.at("text").get<std::string>());
    } else if (key == "ready") {
      if (host->phase == Phase::starting) become_ready(*host);
    } else if (key == "ended") {
      host->saw_text = record.at("saw").get<bool>();
      host_ended(*host, record.at("status").get<int>());
    }
  }
}

void LabRun::take_machine_end(Machine& machine, int status) {
  take_output(machine.output, *machine.child);
  machine.child.reset();
  machine.line.reset();
  const std::string& name = machine.spec->name;
  if (!ending_ && machine.failure.empty()) machine.failure = end_text(status);
  for (Host& host : hosts_) {
    if (host.spec->machine.value != name || !host.runs_far) continue;
    host.runs_far = false;
    host.phase = Phase::ended;
    if (ending_) continue;
    host.failure = "was lost with machine " + name;
    trigger(LabTrigger::What::host_ended, host.spec->name);
  }
  if (far_change_ && far_change_->machine == name) end_far_change("machine " + name + " is lost");
  if (ending_) return;
  const std::string what = "machine " + name + ", ssh " + machine.spec->ssh.value + ", ";
  if (ready_) {
    say(what + machine.failure + ": its hosts are lost, and the lab goes on without them");
  } else {
    fail_start(what + machine.failure + " (try '" + "ssh " + machine.spec->ssh.value + ' ' +
                   machine.spec->program + " --version')",
               &machine.output, status == kNotSupported ? kNotSupported : kFailed);
  }
}

}  // namespace shmif::tools
