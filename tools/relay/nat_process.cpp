#include "tools/relay/nat_process.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <list>
#include <sstream>
#include <system_error>

#include "base/files.hpp"
#include "tools/common/program.hpp"

namespace shmif::tools {

namespace {

constexpr int kLookAgainMs = 5;
constexpr int kStartMs = 10'000;
constexpr int kEndMs = 1'000;
constexpr std::uint32_t kMaxPasstMtu = 65520;

/// The path of a program in PATH; empty if there is none.
std::string program_in_path(const std::string& name) {
  const char* const path = std::getenv("PATH");
  std::istringstream directories(path != nullptr ? path : "/usr/bin:/bin");
  for (std::string directory; std::getline(directories, directory, ':');) {
    std::string file = (directory.empty() ? "." : directory) + '/' + name;
    if (::access(file.c_str(), X_OK) == 0 && !std::filesystem::is_directory(file)) return file;
  }
  return {};
}

/// These options keep slirp4netns from doing more than its work. Older versions do not know all of
/// them.
constexpr const char* kSandbox = "--enable-sandbox";
constexpr const char* kSeccomp = "--enable-seccomp";

bool may_mount() noexcept {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> rights{};
  if (::syscall(SYS_capget, &header, rights.data()) != 0) return false;
  return (rights[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective & CAP_TO_MASK(CAP_SYS_ADMIN)) != 0;
}

std::vector<std::string> slirp_confinement() {
  if (is_sandboxed(NatProgram::slirp4netns)) return {kSandbox, kSeccomp};
  return {kSeccomp};
}

/// Removes the option that slirp4netns says it does not know. Result: false if it says something
/// else.
bool drop_unknown(std::vector<std::string>& confinement, const std::string& said) {
  if (confinement.empty() || (said.find("unrecognized option") == std::string::npos &&
                              said.find("unknown option") == std::string::npos))
    return false;
  const auto named = std::ranges::find_if(confinement, [&](const std::string& option) {
    return said.find(option.substr(2)) != std::string::npos;
  });
  if (named == confinement.end()) return false;  // another of our options
  confinement.erase(named);
  return true;
}

std::vector<std::string> slirp_words(const NatWish& wish, const std::string& socket,
                                     const std::vector<std::string>& confinement) {
  std::vector<std::string> words{"slirp4netns", "--target-type=bess",
                                 "--cidr=" + wish.network.to_string(),
                                 "--mtu=" + std::to_string(wish.mtu)};
  if (!wish.loopback) words.emplace_back("--disable-host-loopback");
  words.insert(words.end(), confinement.begin(), confinement.end());
  words.push_back(socket);
  return words;
}

std::uint32_t number_of(const tap::IpAddress& v4) noexcept {
  std::uint32_t number = 0;
  std::memcpy(&number, v4.bytes.data(), sizeof number);
  return ntohl(number);
}

constexpr int kPasstSocket = 3;

std::vector<std::string> passt_words(const NatWish& wish) {
  const NatNetwork& net = wish.network;
  std::vector<std::string> words{"passt",
                                 "--foreground",
                                 "--quiet",
                                 "--stderr",
                                 "--ipv4-only",
                                 "--fd=" + std::to_string(kPasstSocket),
                                 "--mtu=" + std::to_string(std::min(wish.mtu, kMaxPasstMtu)),
                                 "--address=" + net.first_lease(),
                                 "--netmask=" + std::to_string(net.prefix),
                                 "--gateway=" + net.gateway(),
                                 "--mac-addr=" + net.gateway_mac().to_string()};
  // If the resolver is on the loopback, passt serves names at the gateway's address, provided that
  // this address leads to the loopback. NatFilter then refuses all other frames for the loopback.
  const bool on_loopback = wish.resolver && is_loopback(*wish.resolver);
  if (!wish.loopback && !on_loopback) words.emplace_back("--no-map-gw");
  return words;
}

/// Becomes the program. It runs between fork() and exec, so it uses only system calls.
[[noreturn]] void become_program(const char* file, char* const* words, int errors, int connection,
                                 pid_t parent) noexcept {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  ::setpgid(0, 0);  // Ctrl-C ends the gateway, and the gateway ends this program
  // It needs a socket for each flow of each host, and slirp4netns does not raise the usual limit of
  // about 1,000 itself.
  allow_all_descriptors();
  const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (nothing < 0) ::_exit(127);
  ::dup2(nothing, STDIN_FILENO);
  ::dup2(nothing, STDOUT_FILENO);
  ::dup2(errors, STDERR_FILENO);
  // It has the right number already: dup2() kept O_CLOEXEC.
  if (nothing <= STDOUT_FILENO) ::fcntl(nothing, F_SETFD, 0);
  if (connection == kPasstSocket) ::fcntl(connection, F_SETFD, 0);
  if (connection >= 0 && connection != kPasstSocket) ::dup2(connection, kPasstSocket);
  ::execv(file, words);
  ::_exit(127);
}

/// Starts the program. `connection`: the socket for its descriptor 3, or -1.
pid_t start_program(const std::string& file, std::vector<std::string> words, int errors,
                    int connection) {
  const std::vector<char*> pointers = argv_of(words);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child == 0) become_program(file.c_str(), pointers.data(), errors, connection, parent);
  if (child < 0) throw Exception(Error::from_errno(errno, "cannot start " + file));
  ::setpgid(child, child);  // parent and child both do this: whoever is first
  return child;
}

std::string remedy_for(NatProgram program) {
  return std::string("install Debian's package ") + to_text(program) + ": apt install " +
         to_text(program);
}

}  // namespace

/// The sandbox of slirp4netns takes root's rights and the machine's files away from it, and is a
/// mount namespace.
bool is_sandboxed(NatProgram program) noexcept {
  return program == NatProgram::slirp4netns && ::geteuid() == 0 && may_mount();
}

const char* to_text(NatProgram program) noexcept {
  return program == NatProgram::slirp4netns ? "slirp4netns" : "passt";
}

std::string NatNetwork::address(std::uint32_t number) const {
  const in_addr address{.s_addr = htonl(first + number)};
  std::array<char, INET_ADDRSTRLEN> text{};
  return ::inet_ntop(AF_INET, &address, text.data(), text.size());
}

bool NatNetwork::contains(const tap::IpAddress& address) const noexcept {
  return !address.is_v6() && (number_of(address) ^ first) >> (32 - prefix) == 0;
}

std::string NatNetwork::to_string() const {
  return address(0) + '/' + std::to_string(prefix);
}

/// The MAC address that slirp4netns uses for that address. We tell passt to use it, too.
MacAddress NatNetwork::mac(std::uint32_t number) const noexcept {
  return MacAddress::from_u64(0x525500000000U | (first + number));
}

Result<NatNetwork> NatNetwork::parse(const std::string& text) {
  const Error wrong(Errc::bad_argument,
                    '"' + text +
                        "\" is not an IPv4 network with a prefix length of 8 to 25 "
                        "(such as 10.0.2.0/24)");
  const std::size_t slash = text.find('/');
  if (slash == std::string::npos) return wrong;
  const auto address = tap::IpAddress::parse(text.substr(0, slash));
  if (!address || address->is_v6()) return wrong;
  NatNetwork network;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data() + slash + 1, end, network.prefix);
  if (error != std::errc() || rest != end) return wrong;
  if (network.prefix < kMinPrefix || network.prefix > kMaxPrefix) return wrong;
  network.first = number_of(*address);
  if ((network.first & ~0U >> network.prefix) != 0) {
    return Error(Errc::bad_argument, '"' + text + "\" is an address in a network, not a network");
  }
  const std::uint32_t top = network.first >> 24U;
  constexpr std::uint32_t kThisNetwork = 0, kLoopback = 127, kMulticast = 224;
  if (top == kThisNetwork || top == kLoopback || top >= kMulticast) {
    return Error(Errc::bad_argument,
                 '"' + text + "\" is for loopback or multicast (choose one such as 10.0.2.0/24)");
  }
  return network;
}

std::optional<std::uint32_t> name_server_of(const NatWish& wish) {
  const NatNetwork& net = wish.network;
  if (wish.program == NatProgram::slirp4netns) return net.first + NatNetwork::kNameServer;
  if (!wish.resolver) return std::nullopt;
  if (is_loopback(*wish.resolver)) return net.first + NatNetwork::kGateway;
  if (net.contains(*wish.resolver)) return number_of(*wish.resolver);
  return std::nullopt;
}

Result<NatProgram> find_nat_program(const NatWish& wish) {
  if (wish.program) {
    if (!program_in_path(to_text(*wish.program)).empty()) return *wish.program;
    return Error(Errc::not_supported, std::string("there is no ") + to_text(*wish.program) +
                                          " in PATH (" + remedy_for(*wish.program) + ')');
  }
  for (const NatProgram program : {NatProgram::slirp4netns, NatProgram::passt}) {
    if (!program_in_path(to_text(program)).empty()) return program;
  }
  return Error(Errc::not_supported, "there is neither slirp4netns nor passt in PATH (" +
                                        remedy_for(NatProgram::slirp4netns) + ')');
}

NatProcess::NatProcess(NatProcess&& other) noexcept
    : program_(other.program_),
      pid_(std::exchange(other.pid_, -1)),
      status_(other.status_),
      errors_(std::move(other.errors_)),
      said_(std::move(other.said_)),
      connection_(std::move(other.connection_)) {}

NatProcess::~NatProcess() {
  kill();
}

/// Also ends a helper of slirp4netns, which waits for the connection in the same process group.
void NatProcess::kill() noexcept {
  if (pid_ <= 0) return;
  ::kill(-pid_, SIGKILL);
  while (::waitpid(pid_, &status_, 0) < 0 && errno == EINTR) continue;
  pid_ = -1;
}

/// Takes the status of a program that has ended. Before that, it ends the program's helper, because
/// afterwards the number of the group may belong to another. Result: whether the program has ended.
bool NatProcess::bury_if_ended() noexcept {
  siginfo_t info{};
  const auto id = static_cast<id_t>(pid_);
  if (::waitid(P_PID, id, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != pid_)
    return false;
  kill();
  return true;
}

Result<std::optional<NatProcess>> NatProcess::start(NatProgram program, const NatWish& wish,
                                                    const StopSignals& stop) {
  const std::string file = program_in_path(to_text(program));
  if (file.empty()) {
    return Error(Errc::not_supported,
                 std::string("there is no ") + to_text(program) + " in PATH any more");
  }
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0)
    return Error::from_errno(errno, "cannot make a pipe");
  NatProcess made;
  made.program_ = program;
  made.errors_ = UniqueFd(ends[0]);
  const UniqueFd errors(ends[1]);
  if (program == NatProgram::passt) {
    std::array<int, 2> pair{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0)
      return Error::from_errno(errno, "cannot make a pair of sockets");
    made.connection_ = UniqueFd(pair[0]);
    const UniqueFd theirs(pair[1]);
    made.pid_ = start_program(file, passt_words(wish), errors.get(), theirs.get());
    return std::optional<NatProcess>(std::move(made));
  }
  const auto folder = base::TemporaryFolder::make("shmifctl").value();
  const std::string socket = folder.path() + "/socket";
  auto confinement = slirp_confinement();
  auto connected = Result<UniqueFd>(UniqueFd());
  for (;;) {
    made.pid_ = start_program(file, slirp_words(wish, socket, confinement), errors.get(), -1);
    connected = made.connect_to(socket, stop);
    if (connected) break;
    if (made.pid_ >= 0 || !drop_unknown(confinement, made.said_))
      return std::move(connected).error();
  }
  if (!*connected) return std::optional<NatProcess>();
  made.connection_ = *std::move(connected);
  return std::optional<NatProcess>(std::move(made));
}

/// Result: a descriptor that is not open, if a signal came first.
Result<UniqueFd> NatProcess::connect_to(const std::string& path, const StopSignals& stop) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  for (int waited = 0; waited < kStartMs; waited += kLookAgainMs) {
    UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!socket) return Error::from_errno(errno, "cannot make a socket");
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
      return socket;
    if (bury_if_ended()) return Error(Errc::link_ended, why_ended());
    if (stop.wait(kLookAgainMs)) return UniqueFd();
  }
  return Error(Errc::timed_out,
               std::string(to_text(program_)) + " does not listen after 10 s" + last_words());
}

/// The last line of its error output, after a colon; empty if there is none.
std::string NatProcess::last_words() {
  std::string text;
  std::array<char, 4096> part{};
  constexpr std::size_t kMax = 64 << 10;  // as much as a pipe holds; a helper may go on writing
  for (ssize_t n = 0;
       text.size() < kMax && (n = ::read(errors_.get(), part.data(), part.size())) > 0;)
    text.append(part.data(), static_cast<std::size_t>(n));
  said_ = text;
  while (text.ends_with('\n')) text.pop_back();
  const std::size_t line = text.rfind('\n');
  if (line != std::string::npos) text.erase(0, line + 1);
  std::ranges::replace_if(text, [](char c) { return c < ' ' || c > '~'; }, '?');
  return text.empty() ? text : ": " + text;
}

namespace {

/// Whether this machine has a default route of IPv4; true if it does not say.
bool has_default_route() {
  std::ifstream routes("/proc/net/route");  // a heading; then interface, destination, ...
  std::string line;
  if (!std::getline(routes, line)) return true;
  while (std::getline(routes, line)) {
    std::istringstream words(line);
    std::array<std::string, 8> column;
    for (std::string& each : column) words >> each;
    constexpr std::size_t kDestination = 1, kMask = 7;
    if (column[kDestination] == "00000000" && column[kMask] == "00000000") return true;
  }
  return false;
}

}  // namespace

std::string NatProcess::why_ended() {
  for (int waited = 0; pid_ > 0 && waited < kEndMs; waited += kLookAgainMs) {
    if (bury_if_ended()) break;
    ::usleep(kLookAgainMs * 1000);
  }
  const std::string name = to_text(program_);
  if (pid_ > 0) {
    kill();
    return name + " closed its connection and did not end";
  }
  if (WIFSIGNALED(status_)) {
    const char* const signal = ::sigabbrev_np(WTERMSIG(status_));
    return name + " was ended by SIG" + (signal != nullptr ? signal : "?");
  }
  if (program_ == NatProgram::passt && !has_default_route()) {
    return name +
           " needs a default route of IPv4 on this machine, and there is none (add one: ip route "
           "add default via ADDRESS; or use --with slirp4netns, which needs none)" +
           last_words();
  }
  return name + " ended with exit code " + std::to_string(WEXITSTATUS(status_)) + last_words();
}

std::vector<tap::IpAddress> name_servers(const std::string& path) {
  std::vector<tap::IpAddress> servers;
  std::istringstream file(base::text_of_regular_file(path));
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string word;
    std::string text;
    if (!(words >> word >> text) || word != "nameserver") continue;
    const auto address = tap::IpAddress::parse(text.substr(0, text.find('%')));
    if (address) servers.push_back(*address);
  }
  return servers;
}

namespace {

bool is_below(const std::filesystem::path& directory, const std::filesystem::path& path) {
  return std::ranges::mismatch(directory, path).in1 == directory.end();
}

}  // namespace

bool stays_in(std::span<const std::filesystem::path> directories,
              const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  constexpr unsigned kMaxLinks = 40;  // the kernel follows as many
  if (!path.is_absolute()) return false;
  const auto is_inside = [&](const fs::path& at) {
    return std::ranges::any_of(directories,
                               [&](const fs::path& each) { return is_below(each, at); });
  };
  // Links on the way to the directories themselves do not matter: the program has each directory
  // under its given name.
  const auto leads_there = [&](const fs::path& at) {
    return std::ranges::any_of(directories,
                               [&](const fs::path& each) { return is_below(at, each); });
  };
  std::list<fs::path> parts(path.begin(), path.end());
  fs::path at = path.root_path();
  std::error_code unknown;
  for (unsigned links = 0; !parts.empty();) {
    const fs::path part = std::move(parts.front());
    parts.pop_front();
    if (part.empty() || part == "." || part == "/") continue;
    // ".." is the parent of the place to which a link led, as in the kernel, and not the parent of
    // the link.
    fs::path next = part == ".." ? at.parent_path() : at / part;
    if (!leads_there(next)) {
      if (!is_inside(next)) return false;
      if (fs::is_symlink(next, unknown)) {
        if (++links > kMaxLinks) return false;
        const fs::path target = fs::read_symlink(next, unknown);
        parts.insert(parts.begin(), target.begin(), target.end());
        next = target.is_absolute() ? path.root_path() : at;
      }
    }
    at = std::move(next);
  }
  return is_inside(at);
}

bool is_loopback(const tap::IpAddress& address) noexcept {
  if (!address.is_v6()) return address.bytes[0] == IN_LOOPBACKNET;
  return std::ranges::all_of(address.bytes.begin(), address.bytes.end() - 1,
                             [](std::uint8_t byte) { return byte == 0; }) &&
         address.bytes[15] == 1;
}

}  // namespace shmif::tools
