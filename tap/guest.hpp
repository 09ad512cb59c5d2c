#pragma once
// Guest: a program that runs as a host of its own, with interfaces whose far ends are handed out.
// The engine of `shmifctl exec`.
//
//   supervisor (the caller)  --clone-->  init, pid 1 of the guest  --fork-->  the command
//        ^   bridges link <-> bus             sets everything up,
//        |   forwards signals                 reaps, reports
//        +------- one socket: links and news up, orders down ------+
//
// The guest has user, network, pid, mount, IPC and UTS namespaces of its own. The command is root
// in them, with every capability over them, and outside it is its caller and nothing more
// (no_new_privs). What it finds:
//
// - The interfaces that were asked for, up, with carrier and addresses, before it starts; loopback
//   up. A TAP device where /dev/net/tun may be opened and used, else a veth pair whose far end is
//   in a second network namespace, where the guest does not see it.
// - Ids. Called by root: every id means itself. Called by an ordinary user: the user is root; the
//   ranges of /etc/subuid and /etc/subgid are there as ids from 1 on, by newuidmap and newgidmap.
//   Without such a range there is one id only, and a seccomp filter answers 0 to setgroups and to
//   the set*id calls without doing anything, so that daemons which drop their privileges start;
//   there is nothing to drop, because that root is only the caller.
// - A fresh /proc and /sys. Where the outer world forbids them (a container with a masked /proc),
//   the outer ones stay and notes() says so.
// - A private, empty /run with the directories of the outer one (and /run/user/UID itself), and
//   private, empty /var/lib/misc, /var/lib/dhcp and the like: pid files, sockets and leases of
//   hosts on one machine do not meet, and can be written by an ordinary user too.
// - A private layer over /etc: what a DHCP client does to /etc/resolv.conf stays in the guest.
//   Where overlay is missing, only /etc/resolv.conf is private.
// - net.ipv4.ping_group_range open, and no IPv6 duplicate address detection, so that an address can
//   be used at once.
// - The caller's environment, working directory, terminal, standard streams, other inherited
//   descriptors, signal mask and ignored signals. No descriptor of ours.
//
// Processes: init dies with the supervisor by PDEATHSIG, whatever killed the supervisor, and the
// kernel then kills everything in the pid namespace. When the command ends, the processes that it
// left behind get a SIGTERM and 100 ms (GuestOptions::grace) to end; then init ends, too. Nothing
// has to be cleaned up: interfaces, namespaces and mounts go with the last process.
//
// Signals: the terminal's reach the command from the terminal. What other processes send to the
// supervisor is forwarded to the command; what the kernel sent it is not, so nothing arrives twice
// (but the hang-up of a terminal whose session the supervisor leads: nobody else would pass it on).
// A command that stops (Ctrl-Z) stops the supervisor too where a shell waits for it, and SIGCONT
// continues both. At the end the terminal has the modes and the foreground process group that it
// had before; a supervisor that is itself killed by SIGKILL leaves that to the shell.
//
// Process groups: shells with job control need to see the number of their process group, and that
// of the outer one is nobody's in the guest's pid namespace (getpgrp() is 0 there). So where the
// supervisor is the whole job of a shell (it leads its process group, and the standard streams are
// all the terminal), the command is in a group of the guest's, number 1, and that has the terminal
// while the job is in the foreground; signals then go to the group. A job that starts in the
// background is in a group of the guest's, too, also as a part of a pipeline: in the outer one, a
// shell would take the number 0 of the foreground for its own, and take the terminal from the
// user's shell. It stops when it asks for the terminal, and gets it when the job is in the
// foreground. Elsewhere, in a script or a pipeline, the guest's processes stay in the supervisor's
// group: keys and the terminal are for others in there, too.

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bus/result.hpp"
#include "bus/unique_fd.hpp"
#include "shmif/bus.hpp"
#include "shmif/mac.hpp"
#include "tap/cidr.hpp"

namespace shmif::tap {

enum class Via : std::uint8_t {
  any,   ///< tap where it can be had, else veth
  tap,   ///< a TAP device, or not_supported
  veth,  ///< a veth pair, or not_supported
};

struct GuestInterface {
  std::string name = "tap0";
  std::vector<Cidr> addresses;      ///< none: up, for other protocols or a DHCP client
  std::vector<IpAddress> gateways;  ///< default routes, at most one per family
  std::optional<MacAddress> mac;    ///< nothing: random b2:a0:xx:xx:xx:xx
  std::uint32_t mtu = 1500;
  /// Let the guest leave segmentation and checksums to whoever serves our end.
  bool offload = false;
};

struct GuestOptions {
  std::vector<std::string> command;  ///< searched for in PATH
  /// Runs in the command's place, when there is no command, and its result is the exit status. It
  /// sees a copy of the caller's memory, and what that shares; descriptors that are close-on-exec
  /// are closed.
  std::function<int()> body;
  std::vector<GuestInterface> interfaces;
  Via via = Via::any;
  std::string hostname;  ///< empty: the outer one
  /// Take the signals that are sent to this process and forward them: they are blocked in the
  /// calling thread, and in the threads it starts, as long as the guest lives.
  bool forward_signals = true;
  std::string tun_device = "/dev/net/tun";
  /// After the command has ended, the processes that it left behind get a SIGTERM and this much
  /// time to end.
  std::chrono::milliseconds grace{100};
};

/// Our end of one of the guest's interfaces.
struct GuestLink {
  std::string interface;  ///< its name in the guest
  LinkKind kind = LinkKind::tap;
  UniqueFd descriptor;  ///< tap: the TAP's file; veth: a packet socket bound to our end
  MacAddress mac;       ///< the guest's
  std::uint32_t mtu = 0;
};

/// How the command ended.
struct GuestExit {
  /// Its exit status; 128 + n when signal n ended it; 127 when it was not found, 126 when it could
  /// not be executed.
  int status = 0;
  /// Why it could not be executed, for a person; else empty.
  std::string failure{};
  /// How many processes it left in sessions of their own, as a program does that puts itself into
  /// the background. They have ended with it. Counted after an exit status of 0.
  int daemons = 0;
  /// How many it left in its own session, as a shell leaves jobs in the background. Counted only if
  /// it waited for no child at all: then it did nothing but start them.
  int jobs = 0;
};

/// How the guest's interface number `interface` is now.
struct GuestInterfaceState {
  std::size_t interface = 0;
  bool promiscuous = false;  ///< somebody listens in (tcpdump does that)
  bool carrier = true;       ///< it is up and has carrier: frames reach the guest
  std::uint32_t mtu = 0;

  bool operator==(const GuestInterfaceState&) const = default;
};

/// What happened since the last dispatch().
struct GuestNews {
  std::optional<GuestExit> exit;
  std::vector<GuestInterfaceState> interfaces;  ///< those that changed
};

/// Threads: one at a time, and always the one that called start(): the guest dies with that thread.
class Guest {
 public:
  /// Makes the guest, all but the command's start. Call while the process has a single thread; the
  /// guest's init is a copy of it and does not exec. Later the process may start threads.
  /// Blocks: until the interfaces are up (some 10 ms; at most 30 s). Errors: bad_argument,
  /// not_supported (this machine has no user namespaces, or not the device asked for), or the
  /// system's. Nothing is left behind then.
  static Result<Guest> start(GuestOptions options);
  /// Makes one that runs a further command in the guest whose init is `init`, held by the pidfd
  /// `init_file`. It has the same ids, interfaces, mounts and processes; of the options, `command`,
  /// `body` and `forward_signals` count. The calling process moves into the guest's namespaces, but
  /// keeps its own pid namespace; where the guest is another user's, it stays outside and keeps its
  /// rights. What the command leaves behind stays in the guest.
  /// Blocks, Errors: as start(); EPERM or EACCES where the guest is another user's.
  static Result<Guest> enter(pid_t init, int init_file, GuestOptions options);
  Guest(Guest&&) noexcept;
  Guest& operator=(Guest&&) noexcept;
  ~Guest();  ///< kills every process of the guest, waits until they are gone

  /// One per interface, in the order of the options. Move the descriptors out.
  std::span<GuestLink> links() noexcept;
  /// What could not be had and what is there instead, one sentence each, for a person.
  const std::vector<std::string>& notes() const noexcept;
  /// Init, as seen from here.
  pid_t pid() const noexcept;

  /// Starts the command. Call when the links are served. `hostname`: as in the options, for a name
  /// that was not known before.
  Result<void> release(const std::string& hostname = {});

  /// Readable when dispatch() has something to do. For poll and epoll.
  int descriptor() const noexcept;
  /// Does what is due: forwards signals, stops with a command that stopped, gathers news. After an
  /// exit was reported, every process of the guest is gone.
  /// Blocks: while stopped; at the guest's end, until the kernel has killed what was left.
  GuestNews dispatch();
  /// Dispatches until the command ended, passing over other news.
  GuestExit wait();
  /// Sends the command a signal.
  void signal(int number) noexcept;

 private:
  struct Impl;
  explicit Guest(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::tap
