#pragma once
// Gives a network a way to the world without privileges: runs slirp4netns or passt as a child
// process. Such a program has its own TCP/IP stack, and opens an ordinary socket of its user for
// each connection.

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "shmif/mac.hpp"
#include "tap/cidr.hpp"
#include "tools/common/signals.hpp"

namespace shmif::tools {

enum class NatProgram {
  slirp4netns,  ///< serves many hosts
  passt,        ///< serves one host
};

const char* to_text(NatProgram program) noexcept;

/// An IPv4 network, and the addresses in it that both programs use.
struct NatNetwork {
  static constexpr unsigned kMinPrefix = 8;
  static constexpr unsigned kMaxPrefix = 25;                     ///< the limit of slirp4netns
  static constexpr std::uint32_t kGateway = 2, kNameServer = 3;  ///< numbers within the network

  std::uint32_t first = 0x0a000200;  ///< address of the network as a number: 10.0.2.0
  unsigned prefix = 24;

  /// "10.0.2.0/24". Errors: bad_argument, also for networks that cannot contain hosts.
  static Result<NatNetwork> parse(const std::string& text);
  std::string to_string() const;
  bool contains(const tap::IpAddress& address) const noexcept;
  std::string gateway() const { return address(kGateway); }
  std::string name_server() const { return address(kNameServer); }
  MacAddress gateway_mac() const noexcept { return mac(kGateway); }
  MacAddress name_server_mac() const noexcept { return mac(kNameServer); }
  std::string first_lease() const { return address(15); }
  std::string last_lease() const { return address(30); }

 private:
  std::string address(std::uint32_t number) const;
  MacAddress mac(std::uint32_t number) const noexcept;
};

struct NatWish {
  std::optional<NatProgram> program = {};  ///< empty: the better one of those that are installed
  NatNetwork network = {};
  bool loopback = false;    ///< the gateway's address leads to this machine's 127.0.0.1
  bool link_local = false;  ///< hosts reach 169.254.0.0/16
  std::uint32_t mtu = 1500;
  std::optional<tap::IpAddress> resolver = {};  ///< the first IPv4 name server of this machine
};

/// The address in the network at which names are served. slirp4netns has its own address for that.
/// With passt, it is the gateway's if the resolver is on the loopback, or the resolver's if that is
/// in the network. Otherwise there is no such address, and hosts ask the resolver itself.
/// `wish.program` must be set.
std::optional<std::uint32_t> name_server_of(const NatWish& wish);

/// Looks in PATH. Errors: not_supported if there is no such program; the message says how to get
/// it. Blocks: never.
Result<NatProgram> find_nat_program(const NatWish& wish);

/// Whether the program gets a sandbox, in which it sees only kSandboxDirectories of this machine.
bool is_sandboxed(NatProgram program) noexcept;
inline constexpr std::array<const char*, 2> kSandboxDirectories{"/etc", "/run"};

/// The running program. The destructor ends it. Threads: one at a time.
class NatProcess {
 public:
  /// Starts `program`, and connects. slirp4netns gets its own seccomp filter, and a root's one also
  /// its sandbox, unless it says that it does not know the option. Result: empty if a signal came
  /// first. Errors: timed_out; what the program said when it ended at once; an errno.
  /// Blocks: until the program listens, at most 10 s.
  static Result<std::optional<NatProcess>> start(NatProgram program, const NatWish& wish,
                                                 const StopSignals& stop);
  NatProcess(NatProcess&& other) noexcept;
  NatProcess& operator=(NatProcess&&) = delete;
  ~NatProcess();

  NatProgram program() const noexcept { return program_; }
  /// The connection. To slirp4netns: SOCK_SEQPACKET with one frame in each packet. To passt: a
  /// stream of records as in shmif/stream_link.hpp.
  UniqueFd take_connection() noexcept { return std::move(connection_); }
  /// Waits until the program has ended, and says how it ended. Blocks: for at most a second; then
  /// it kills the program.
  std::string why_ended();

 private:
  NatProcess() = default;
  void kill() noexcept;
  bool bury_if_ended() noexcept;
  std::string last_words();
  Result<UniqueFd> connect_to(const std::string& path, const StopSignals& stop);

  NatProgram program_ = NatProgram::slirp4netns;
  pid_t pid_ = -1;
  int status_ = 0;    ///< valid once pid_ is -1
  UniqueFd errors_;   ///< its standard error: the first 64 KiB
  std::string said_;  ///< what last_words() read
  UniqueFd connection_;
};

// The name servers that this machine asks.

inline constexpr const char* kResolvConf = "/etc/resolv.conf";

/// The name servers of the file at `path`, in their order: those of the lines "nameserver ADDRESS"
/// that have an address. Blocks: for the disk.
std::vector<tap::IpAddress> name_servers(const std::string& path = kResolvConf);

/// Whether a program that has only these `directories` (absolute paths) can find the file: each
/// symbolic link on the way to it must stay there, too. `path`: absolute. Blocks: for the disk.
bool stays_in(std::span<const std::filesystem::path> directories,
              const std::filesystem::path& path);

/// Whether only programs of the same machine, or of the same network namespace, reach the address.
bool is_loopback(const tap::IpAddress& address) noexcept;

}  // namespace shmif::tools
