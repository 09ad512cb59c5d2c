// The controller of a lab on another machine: does what the controller at the other end of its
// standard input and output asks for (tools/uplink/machine_line.hpp). When that line ends, in
// whatever way, it takes its hosts down.

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>

#include "tools/common/command.hpp"
#include "tools/common/version.hpp"
#include "tools/lab/lab_run.hpp"

namespace shmif::tools {

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
    ChildWish wish;
    wish.words = request.at("change").get<std::vector<std::string>>();
    wish.folder = lab_.folder;
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
