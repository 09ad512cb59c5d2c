// The controller of a lab: its other machines. A controller at the other end of ssh runs the hosts
// there. It does nothing by itself: this one says when a host starts, and decides what its end
// means. So order, restarts and events are the same for hosts on all machines.

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>
#include <utility>

#include "base/text.hpp"
#include "tools/common/command.hpp"
#include "tools/common/program.hpp"
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
    ChildWish wish{
        .program = "ssh",
        .words = ssh_command(spec.options, spec.ssh.value,
                             spec.program + " up --stdio -- " + base::quote_word(lab_.file)),
        .folder = lab_.folder,
        .on_death = SIGTERM,
        .has_line = true};
    wish.words.erase(wish.words.begin());
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
    const std::string name = "uplink-" + spec.name;
    std::vector<std::string> words{
        "uplink",        bus.path,
        "--ssh",         for_uplink(spec.ssh.value, far_bus_path(lab_, spec.name, bus.name)),
        "--far-program", spec.program,
        "--port-name",   name};
    for (const std::string& each : spec.options) words.insert(words.end(), {"--ssh-option", each});
    start_helper({.output = {.name = name, .on_terminal = false}, .bus = bus.name, .port = name},
                 std::move(words), SIGTERM);
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

// ---- At the other end ----
//
// Does what the controller at the other end of its standard input and output asks for
// (tools/uplink/machine_line.hpp). When that line ends, in whatever way, it takes its hosts down.

namespace {

constexpr std::chrono::seconds kRequestPatience{60};
constexpr std::chrono::seconds kLastWords{2};
constexpr std::size_t kMaxUnsent = std::size_t{4} << 20U;

/// Standard input and output become the line. What is printed goes to standard error.
MachineLine line_of_standard_streams() {
  UniqueFd in(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
  UniqueFd out(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
  const UniqueFd none(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (none) ::dup2(none.get(), STDIN_FILENO);
  ::dup2(STDERR_FILENO, STDOUT_FILENO);
  return {std::move(in), std::move(out), MachineLine::kMaxRequest};
}

/// The first record. Empty if none comes. Until it is answered, nothing else comes than signs of
/// life.
std::optional<Json> first_request(MachineLine& line) {
  const auto until = std::chrono::steady_clock::now() + kRequestPatience;
  while (line.is_open()) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    pollfd wanted{line.in(), POLLIN, 0};
    if (left.count() <= 0 || ::poll(&wanted, 1, static_cast<int>(left.count())) == 0) break;
    const std::vector<Json> records = line.receive();
    if (!records.empty()) return records.front();
  }
  return std::nullopt;
}

/// The lab as it is on this machine: under another name, so that a machine can be both.
Lab far_lab(const Json& request, const std::string& machine) {
  LabProblems ignored;  // the other controller has told of them
  Lab lab = read_lab(request.at("lab").get<std::string>(), request.at("file").get<std::string>(),
                     ignored);
  lab.name = request.at("name").get<std::string>();
  for (LabBus& each : lab.buses) each.path = far_bus_path(lab, machine, each.name);
  lab.name = far_lab_name(lab, machine);
  lab.folder = request.at("folder").get<std::string>();
  if (const char* const home = std::getenv("HOME"); !lab.folder.starts_with('/')) {
    lab.folder = std::string(home == nullptr ? "/" : home) + '/' + lab.folder;
  }
  if (lab.find_machine(machine) == nullptr) {
    throw Exception(Error(Errc::bad_argument, "the lab has no machine \"" + machine + '"'));
  }
  if (::access(lab.folder.c_str(), X_OK) != 0) {
    throw Exception(Error::from_errno(errno, "cannot use the folder " + lab.folder,
                                      "give another as machine." + machine + ".folder"));
  }
  return lab;
}

}  // namespace

void LabRun::tell_near(const Json& record) {
  options_.far->line.send(record);
}

/// A host waits in its writes while the near side does not take what others have printed.
bool LabRun::reads_hosts() const {
  return options_.far == nullptr || options_.far->line.unsent() < kMaxUnsent;
}

/// Output of a host, in records of a bounded length that do not cut characters.
void LabRun::tell_output(const std::string& name, std::string_view text) {
  while (!text.empty()) {
    std::size_t size = std::min(text.size(), MachineLine::kMaxText);
    for (int i = 0; i < 3 && size < text.size() && (text[size] & 0xC0) == 0x80; ++i) --size;
    tell_near({{"out", name}, {"text", text.substr(0, size)}});
    text.remove_prefix(size);
  }
}

/// What is still to be told, when everything else is done.
void LabRun::tell_last() {
  MachineLine& line = options_.far->line;
  const Clock::time_point until = Clock::now() + kLastWords;
  while (line.wanted_out() >= 0 && Clock::now() < until) {
    pollfd wanted{line.wanted_out(), POLLOUT, 0};
    ::poll(&wanted, 1, 100);
    line.flush();
  }
}

void LabRun::take_requests() {
  MachineLine& line = options_.far->line;
  line.flush();
  const std::vector<Json> requests = line.receive();
  const Clock::time_point now = Clock::now();
  if (!requests.empty()) heard_ = now;
  if (now - heard_ >= kFarPatience && start_failure_.empty()) {
    fail_start("the controller of the lab was silent for 20 s", nullptr);
  }
  if (ending_) return;
  for (const Json& each : requests) do_request(each);
  if (change_) {
    change_->read_output(change_text_);
    if (const auto status = change_->take_end()) {
      change_->read_output(change_text_);
      change_text_.resize(std::min(change_text_.size(), MachineLine::kMaxText));
      change_.reset();
      tell_near({{"changed", *status},
                 {"text", std::exchange(change_text_, {})},
                 {"number", far_changes_}});
    }
  }
}

void LabRun::do_request(const Json& request) {
  const std::string key = request.empty() ? "" : request.begin().key();
  if (key == "change") {
    const ChildWish wish{.words = request.at("change").get<std::vector<std::string>>(),
                         .folder = lab_.folder};
    far_changes_ = request.at("number").get<std::uint64_t>();
    change_text_.clear();
    change_.emplace(LabChild::start(wish).value());
    return;
  }
  if (key != "start" && key != "signal") return;  // alive
  for (Host& host : hosts_) {
    if (host.spec->name != request.at(key).get<std::string>()) continue;
    if (key == "signal") {
      signal_host(host, request.at("number").get<int>());
    } else if (!host.child) {
      for (const auto& [bus, line] : request.at("lines").items()) {
        LineNow& now = lines_[host.spec->name + '.' + bus];
        now.link_down = line.at("down").get<bool>();
        now.moved_to = line.at("on").get<std::string>();
        if (line.contains("fault")) now.fault = line.at("fault").get<std::string>();
      }
      start_host(host);
    }
  }
}

int run_far_lab() {
  std::signal(SIGPIPE, SIG_IGN);
  MachineLine line = line_of_standard_streams();
  const auto request = first_request(line);
  if (!request) {
    return fail(
        "no lab came from standard input (only 'shmifctl up' of a lab with machines uses "
        "--stdio)");
  }
  try {
    const std::string version = request->at("version").get<std::string>();
    if (version != version_number()) {
      return fail("the versions differ: " + version + " here and " + version_number() +
                  " there (install the same on both machines)");
    }
    LabFar far{request->at("machine").get<std::string>(), line};
    const Lab lab = far_lab(*request, far.machine);
    LabRunOptions options;
    options.far = &far;
    if (request->contains("seed")) options.seed = request->at("seed").get<std::uint64_t>();
    const StopSignals stop;
    return run_lab(lab, options, stop);
  } catch (const Json::exception&) {
    return fail(
        "what came from standard input is no lab of this version (install the same version "
        "on both machines)");
  }
}

}  // namespace shmif::tools
