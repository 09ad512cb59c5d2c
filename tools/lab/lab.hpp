#pragma once
// A lab: buses, hosts on them, captures, what happens while it runs, and the test that decides.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shmif/bus.hpp"
#include "shmif/mac.hpp"
#include "tap/cidr.hpp"
#include "tools/lab/value.hpp"

namespace shmif::tools {

struct LabBus {
  std::string name;
  LabPlace place;
  std::string path;
  BusOptions options;
};

/// A host's interface on one bus. It has the bus's name.
struct LabInterface {
  LabName bus;
  std::vector<LabItem<tap::Cidr>> addresses{};
  std::vector<LabItem<tap::IpAddress>> gateways{};
  std::optional<LabItem<MacAddress>> mac{};
  std::string fault{};  ///< empty: none
  /// Of a host that is started again, as its line was last:
  bool link_down = false;
  std::string moved_to{};  ///< another bus; empty: it is on `bus`

  const std::string& bus_now() const noexcept { return moved_to.empty() ? bus.value : moved_to; }
};

/// When a host counts as ready.
struct LabReady {
  enum class When : std::uint8_t {
    up,    ///< its interfaces are up on their buses, and its program was started
    tcp,   ///< a process in it listens on a TCP port
    udp,   ///< a process in it has a UDP socket on a port
    file,  ///< a file exists, as the host sees it
    log,   ///< a line of its output contains a text
  };
  When when = When::up;
  unsigned port = 0;
  std::string text{};  ///< the path or the text

  /// "tcp 80", as in the file; "its interfaces" without a condition.
  std::string to_string() const;
};

enum class LabRestart : std::uint8_t { no, always, on_failure };

/// A file that a host sees.
struct LabFile {
  std::string path;      ///< in the host
  std::string contents;  ///< if `source` is empty
  std::string source;    ///< an absolute path on this machine
  LabPlace place{};
};

/// Another machine that runs hosts of the lab.
struct LabMachine {
  std::string name;
  LabPlace place;
  LabName ssh{};  ///< "b", "user@b"
  std::string program = "shmifctl";
  std::vector<std::string> options{};  ///< of ssh
  std::string folder{};                ///< empty: the home directory there
};

/// What a host is.
enum class LabHostKind : std::uint8_t {
  program,    ///< a program in namespaces of its own
  vm,         ///< a virtual machine behind the host's interfaces
  container,  ///< a container of podman
};

struct LabHost {
  std::string name;
  std::string group;  ///< its name in the file: of a `count`, all have the same
  LabPlace place;
  LabHostKind kind = LabHostKind::program;
  /// Of a virtual machine: its command, for sh -c. Of a container: options of podman and the image.
  LabName made_by{};
  LabName machine{};  ///< empty: this one
  std::vector<LabInterface> interfaces{};
  bool forward = false;
  std::string run{};  ///< empty: the host waits for its end; of a container: the image's program
  LabReady ready{};
  std::vector<LabName> after{};
  std::vector<std::pair<std::string, std::string>> environment{};
  std::vector<LabFile> files{};
  LabRestart restart = LabRestart::no;
  unsigned restarts = 5;
  bool may_fail = false;
  bool output_on_terminal = true;
  /// Empty: those of the machine, if the lab has a way out. Without an address: none.
  std::optional<std::vector<tap::IpAddress>> name_servers{};
  std::optional<std::uint64_t> memory_bytes{};
  std::optional<double> cpus{};
};

struct LabCapture {
  std::string name;
  LabPlace place;
  std::vector<LabName> buses{};
  std::string file{};
  std::string filter{};
};
/// The file for one bus of a capture of several: "lab.left.pcapng" for "lab.pcapng".
std::string lab_file_for_bus(std::string file, const std::string& bus);

struct LabGateway {
  std::string name;
  LabPlace place;
  LabName bus;
  std::string network{};
};

/// An option of shmifperf, as `--NAME=VALUE`.
struct LabPerfOption {
  std::string name;
  std::string value;
  LabPlace place;
};

struct LabPerfJob {
  std::string name;
  LabPlace place;
  std::vector<LabPerfOption> options{};
};

/// A run of shmifperf.
struct LabPerf {
  std::string name;
  LabPlace place;
  LabName bus{};                         ///< its jobs are on this bus; or
  LabName host{};                        ///< it runs in this host
  LabName file{};                        ///< a job file, as an absolute path; empty: none
  std::vector<LabPerfOption> options{};  ///< of all jobs
  std::vector<LabPerfJob> jobs{};        ///< without these and a file: one job of the run's name
};

/// What starts an event of `at`.
struct LabTrigger {
  enum class What : std::uint8_t { ready, log, frame, host_ready, host_ended };
  What what = What::ready;           ///< ready: the whole lab is
  LabName of{};                      ///< the host, or the bus
  std::string text{};                ///< a part of a line of output, or a filter
  std::chrono::nanoseconds then{0};  ///< the event is that much later
};

/// An entry of `at`.
struct LabEvent {
  enum class What : std::uint8_t { down, up, fault, move, partition, heal, stop, start };
  LabPlace place;
  LabTrigger trigger{};
  What what = What::down;
  LabName host{};  ///< of down, up, fault, move, stop, start; of these two, or a run of shmifperf
  LabName bus{};   ///< of the line, of partition and heal
  std::string text{};  ///< the faults, the groups, or the bus to move to
  LabPlace text_place{};

  /// "link r1.right down": what is done, for logs.
  std::string to_string() const;
  /// The names in the groups of a partition.
  std::vector<std::vector<std::string>> groups() const;
};

struct LabTest {
  LabPlace place;
  LabName host;
  std::string run;
};

struct Lab {
  std::string name;
  std::string file;    ///< as given
  std::string folder;  ///< the absolute path of the folder with the file
  std::string text;    ///< of the file
  std::vector<LabBus> buses{};
  std::vector<LabMachine> machines{};
  std::vector<LabHost> hosts{};
  std::vector<LabCapture> captures{};
  std::vector<LabGateway> gateways{};
  std::vector<LabPerf> perfs{};
  std::vector<LabEvent> events{};
  std::optional<LabTest> test{};

  const LabBus* find_bus(std::string_view wanted) const noexcept;
  const LabPerf* find_perf(std::string_view wanted) const noexcept;
  const LabMachine* find_machine(std::string_view wanted) const noexcept;
  /// A path of the file, which may begin in the lab's folder, as an absolute one.
  std::string path_of(const std::string& given) const {
    return given.starts_with('/') ? given : folder + '/' + given;
  }
  /// Whether a host on that machine is on the bus.
  bool spans(const LabBus& bus, const LabMachine& machine) const;
  /// The host of the name `wanted`, or all hosts of that `count`.
  std::vector<const LabHost*> find_hosts(std::string_view wanted) const;
};

/// Reads a lab. What is wrong goes to `problems`; the result is only good if there is no error.
/// `file`: the path, for the names of the lab and of the folder. Threads: any. Blocks: for the disk
/// (sources of files).
Lab read_lab(std::string_view text, const std::string& file, LabProblems& problems);

/// Compares the parts of a lab with each other: unknown names, an address twice, a cycle of
/// `after`. read_lab() calls it.
void check_lab(const Lab& lab, LabProblems& problems);

/// Looks for what hosts need of this machine: programs of virtual machines and containers, and
/// files in whose place they have their own. load_lab() calls it.
void check_lab_needs(const Lab& lab, LabProblems& problems);

/// A file that a run of the lab writes into the folder of results.
struct LabResultFile {
  std::string name;  ///< a path in that folder
  LabPlace place;
  std::string what;  ///< whose it is: "capture.all"
};
std::vector<LabResultFile> result_files_of_lab(const Lab& lab);
/// The paths of all files that a run of the lab reads or writes, if its results are in `results`.
std::vector<std::string> files_of_lab(const Lab& lab, const std::string& results);

/// Reads the file of a lab: what `check` and `up` do first. If the lab has runs of shmifperf, asks
/// that program whether their options are right. Errors: the file cannot be read, or is larger than
/// 4 MiB.
Result<Lab> load_lab(const std::string& file, LabProblems& problems);

/// The name of a lab from its file, even if that has errors. For `down`.
std::string name_of_lab_file(const std::string& file);

}  // namespace shmif::tools
