#pragma once
// Guest: runs a program as a host of its own, with interfaces. The caller gets the far ends of the
// interfaces. This is the engine of `shmifctl exec`.
//
//   supervisor (the caller)  --clone-->  init, pid 1 of the guest  --fork-->  the command
//        ^   bridges link <-> bus             sets everything up,
//        |   forwards signals                 reaps, reports
//        +------- one socket: links and news up, orders down ------+
//
// The guest has its own user, network, pid, mount, IPC and UTS namespaces. Inside, the command is
// root with every capability over them. Outside, it has only the rights of its caller
// (no_new_privs). The command finds:
//
// - The interfaces that were asked for, up, with carrier and addresses, before it starts; loopback
//   is up. Each is a TAP device if /dev/net/tun can be opened and used, otherwise a veth pair. The
//   far end of such a pair is in a second network namespace, where the guest does not see it.
// - Ids. If root calls, every id is mapped to itself. If an ordinary user calls, that user is root
//   in the guest, and newuidmap and newgidmap map the ranges of /etc/subuid and /etc/subgid to ids
//   from 1 on. Without such ranges there is only one id. Then a seccomp filter makes setgroups and
//   the set*id calls return 0 without any effect, so that daemons which drop their privileges
//   start. This is safe, because the guest's root has only the rights of the caller.
// - A fresh /proc and /sys. If the outer world forbids that (a container with a masked /proc), the
//   outer ones stay, and notes() says so.
// - A private, empty /run with the directories of the outer one (and /run/user/UID itself), and
//   private, empty /var/lib/misc, /var/lib/dhcp and the like. So pid files, sockets and leases of
//   hosts on one machine do not collide, and an ordinary user can write them, too.
// - Private layers over /etc and /var/lib; for an ordinary user, also over /var/log and /var/cache.
//   So what a DHCP client does to /etc/resolv.conf stays in the guest. Where the kernel permits no
//   overlay, the layer has copies; what is too much to copy is read-only, and notes() says so.
// - If asked for, a kernel that forwards packets, as a router does.
// - If asked for, a bridge that connects an interface and persistent TAP devices (GuestLan).
// - net.ipv4.ping_group_range open. IPv6 addresses that were asked for can be used at once. If the
//   kernel is able to, it looks for duplicates meanwhile (optimistic_dad), and removes an address
//   that has a duplicate. For addresses that are added later it looks first, which takes some 2 s.
// - The caller's environment, working directory, terminal, standard streams, other inherited
//   descriptors, signal mask and ignored signals; but no descriptor of ours.
//
// Processes: when the supervisor dies, for whatever reason, PDEATHSIG kills init, and the kernel
// then kills everything in the pid namespace. When the command ends, the processes that it left
// behind get a SIGTERM and 100 ms (GuestOptions::grace) to end; then init ends, too. There is no
// cleanup: interfaces, namespaces and mounts disappear with the last process.
//
// Signals: the terminal's signals reach the command from the terminal. The supervisor forwards to
// the command what other processes send to it, but not what the kernel sent, so no signal arrives
// twice. (There is one exception: if the supervisor leads the session of a terminal that hangs up,
// nobody else would pass the hang-up on.) If the command stops (Ctrl-Z), the supervisor stops, too,
// if a shell waits for it; SIGCONT continues both. At the end the terminal has the modes and the
// foreground process group that it had before. If the supervisor itself is killed by SIGKILL, the
// shell must restore them.
//
// Process groups: shells with job control need to see the number of their process group. The outer
// group has no number in the guest's pid namespace (getpgrp() is 0 there). So if the supervisor is
// the whole job of a shell (it leads its process group, and the standard streams are all the
// terminal), the command leads a group, as any job of a shell does. That group has the terminal
// while the job is in the foreground, and signals then go to the group. A job that starts in the
// background is in a group of the guest's own, too, even as a part of a pipeline. In the outer
// group, a shell would take the number 0 of the foreground for its own, and take the terminal from
// the user's shell. A job in the background stops when it asks for the terminal, and gets it when
// the job is in the foreground. Elsewhere, in a script or a pipeline, the guest's processes stay in
// the supervisor's group, because keys and the terminal are for others in that group, too.

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "shmif/bus.hpp"
#include "shmif/mac.hpp"
#include "tap/cidr.hpp"

namespace shmif::tap {

/// What the guest's interfaces are made of.
enum class Via : std::uint8_t {
  any,   ///< tap if possible, otherwise veth
  tap,   ///< a TAP device, or not_supported
  veth,  ///< a veth pair, or not_supported
};

/// A kernel bridge in the guest, for programs that open TAP devices themselves.
struct GuestLan {
  std::string bridge = "lan0";  ///< its name
  /// TAP devices in the bridge. They have no owner, so every user of the guest who may open
  /// /dev/net/tun may attach to them, and they stay when a program closes them.
  std::vector<std::string> taps;
};

/// An interface that the guest gets.
struct GuestInterface {
  std::string name = "tap0";        ///< its name in the guest
  std::vector<Cidr> addresses;      ///< empty: up, for other protocols or a DHCP client
  std::vector<IpAddress> gateways;  ///< default routes, at most one per family
  std::optional<MacAddress> mac;    ///< unset: random b2:a0:xx:xx:xx:xx
  /// The MAC address comes with release(). Until then the interface is down.
  bool mac_comes_later = false;
  std::uint32_t mtu = 1500;  ///< in bytes of layer 3
  /// Let the guest leave segmentation and checksums to the program that serves our end.
  bool offload = false;
  /// Puts the interface into a bridge. The bridge has the same MAC address. It has the addresses
  /// and gateways, and the interface does not.
  std::optional<GuestLan> lan{};
};

/// What a guest is, and what it runs.
struct GuestOptions {
  std::vector<std::string> command;  ///< searched for in PATH
  /// If `command` is empty, this runs in its place. Its result is the exit status. It sees a copy
  /// of the caller's memory, and memory that the caller shares. Close-on-exec descriptors are
  /// closed.
  std::function<int()> body;
  /// Runs in the guest, in the process that then becomes `command`; empty: nothing. Result: false:
  /// it has said why the command must not start, and the exit status is 125.
  std::function<bool()> before_command{};
  std::vector<GuestInterface> interfaces;  ///< may be empty: only loopback
  Via via = Via::any;                      ///< for all interfaces
  /// The guest forwards IPv4 and IPv6 packets between its interfaces, from before the command
  /// starts. Otherwise it does not, whatever the machine does.
  bool forward = false;
  std::string hostname;  ///< empty: the outer host name
  /// Name servers for /etc/resolv.conf, beside the outer one's search and options lines; none at
  /// all if the list has none. Empty: as outside.
  std::optional<std::vector<IpAddress>> name_servers;
  /// Take the signals that are sent to this process and forward them. They are blocked in the
  /// calling thread, and in the threads that it starts, as long as the guest lives.
  bool forward_signals = true;
  std::string tun_device = "/dev/net/tun";  ///< for interfaces that are TAP devices
  /// How long processes that the command left behind may take to end. They get a SIGTERM when it
  /// ends.
  std::chrono::milliseconds grace{100};
};

/// Our end of one of the guest's interfaces.
struct GuestLink {
  std::string interface;          ///< its name in the guest
  LinkKind kind = LinkKind::tap;  ///< tap or veth
  UniqueFd descriptor;            ///< tap: the TAP's file; veth: a packet socket bound to our end
  MacAddress mac;                 ///< of the guest's interface; zero if it comes later
  std::uint32_t mtu = 0;          ///< of the guest's interface, as it was made
};

/// How the command ended.
struct GuestExit {
  /// Its exit status; 128 + n if signal n ended it; 127 if it was not found, 126 if it could not be
  /// executed; 125 if the guest could not start it.
  int status = 0;
  /// Why there is no status of the command itself, as text for the user. Empty if there is one.
  std::string failure{};
  /// How many processes it left in sessions of their own, as programs that go into the background
  /// do. They have ended with it. Counted only after an exit status of 0.
  int daemons = 0;
  /// How many processes it left in its own session, as a shell leaves jobs in the background.
  /// Counted only if it did not wait for any child, because then it only started them.
  int jobs = 0;
};

/// The current state of the guest's interface number `interface`.
struct GuestInterfaceState {
  std::size_t interface = 0;  ///< index in GuestOptions::interfaces
  /// A program receives all frames (tcpdump does). The bridge of a GuestLan does not count, because
  /// the port learns the addresses behind it.
  bool promiscuous = false;
  bool carrier = true;  ///< up and with carrier: frames reach the guest
  /// False: the interface is in a namespace into which nobody here may look. Then `carrier` is
  /// true.
  bool carrier_known = true;
  std::uint32_t mtu = 0;  ///< in bytes of layer 3
  MacAddress mac{};       ///< its own address; zero if not known
  /// Other addresses for which it receives frames: those of macvlans, VLANs and programs. At most
  /// 16; with more, the interface counts as promiscuous.
  std::vector<MacAddress> other_macs{};

  bool operator==(const GuestInterfaceState&) const = default;  ///< whether nothing has changed
};

/// IP addresses that the guest's interfaces have got since the last look, including those of
/// loopback, bridges and the like. The kernel answers for each of them on every interface. Those in
/// further namespaces of the guest are not among them.
struct GuestAddresses {
  std::vector<IpAddress> added{};  ///< empty: no new ones
  bool missed = false;             ///< there may be more: the kernel had no room to tell them
};

/// What happened since the last dispatch().
struct GuestNews {
  std::optional<GuestExit> exit;                ///< empty: the command still runs
  GuestAddresses addresses{};                   ///< addresses that came
  std::vector<GuestInterfaceState> interfaces;  ///< those whose state changed
};

/// Threads: one at a time, and always the thread that called start(): the guest dies with that
/// thread.
class Guest {
 public:
  /// Makes the guest; release() then starts the command. Call it while the process has a single
  /// thread: the guest's init is a copy of the process, and does not exec. Later the process may
  /// start threads. Blocks: until the interfaces are made, and up unless their MAC address comes
  /// later (some 10 ms; at most 30 s). Errors: bad_argument, timed_out, not_supported (this machine
  /// has no user namespaces, or not the device asked for), or an errno. After an error, no part
  /// of the guest is left behind.
  static Result<Guest> start(GuestOptions options);
  /// Makes a guest that runs a further command in the running guest whose init is `init`, held by
  /// the pidfd `init_file`. The command has the same ids, interfaces, mounts and processes. Set
  /// only the options `command`, `body` and `forward_signals`. The calling process moves into the
  /// guest's namespaces, but keeps its own pid namespace. If the guest belongs to another user, the
  /// calling process stays outside and keeps its rights. Processes that the command leaves behind
  /// stay in the guest. Blocks, Errors: as start(); EPERM or EACCES if the guest belongs to another
  /// user.
  static Result<Guest> enter(pid_t init, int init_file, GuestOptions options);
  Guest(Guest&&) noexcept;             ///< the other may then only be assigned to or destroyed
  Guest& operator=(Guest&&) noexcept;  ///< as the destructor; then as the constructor
  ~Guest();  ///< kills every process of the guest, and waits for their end

  /// One per interface, in the order of the options. Move the descriptors out.
  std::span<GuestLink> links() noexcept;
  /// What was not possible, and what is used instead. One sentence each, for the user.
  const std::vector<std::string>& notes() const noexcept;
  /// Pid of init, in our pid namespace.
  pid_t pid() const noexcept;

  /// Starts the command. Call it after the links are served. `hostname`: as in the options, if the
  /// name was not known before. `macs`: the addresses of all interfaces, in their order, if one of
  /// them has mac_comes_later.
  Result<void> release(const std::string& hostname = {}, std::span<const MacAddress> macs = {});

  /// Readable when dispatch() has something to do. For poll and epoll.
  int descriptor() const noexcept;
  /// Does what is due: forwards signals, stops with a command that stopped, gathers news. Once it
  /// has reported an exit, every process of the guest is gone. Blocks: while stopped; and at the
  /// guest's end, until the kernel has killed the remaining processes.
  GuestNews dispatch();
  /// Dispatches until the command has ended, and drops other news.
  GuestExit wait();
  /// Sends the command a signal.
  void signal(int number) noexcept;

 private:
  struct Impl;
  explicit Guest(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::tap
