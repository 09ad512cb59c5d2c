#pragma once
// Samples by function: a flat profile, and a tree of calls.
//
// While samples come, each address is only looked up in the mappings: which file, and where in it.
// The files are opened at that time, because they may be gone later. Symbols are read at the end.

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "instruments/counters/kernel_counters.hpp"
#include "instruments/counters/sample.hpp"
#include "instruments/counters/sample_format.hpp"
#include "instruments/counters/session.hpp"
#include "instruments/counters/symbol_table.hpp"
#include "instruments/watch/kernel_files.hpp"

namespace shmif::perf {

struct SampleOptions {
  Sampling sampling;
  bool on_exec = false;     ///< samples come when the process executes a program
  std::vector<int> cpus{};  ///< samples everything on these CPUs instead of processes
};

/// Samples one event on processes or CPUs. Threads: one at a time.
class SampleRun {
 public:
  /// Loads and starts, on the processes or on the CPUs of the options. If the kernel does not let
  /// this user sample the kernel, samples in user space only. Errors: as CounterSession::load(). If
  /// the kernel refused the event, `refused` gets the reason.
  static Result<SampleRun> start(const CounterEvent& event, std::span<const TaskId> processes,
                                 const SampleOptions& options,
                                 std::optional<Refusal>* refused = nullptr,
                                 KernelCounters& kernel = kernel_counters());

  /// Passes all records since the last call to `sink`. Blocks: never.
  Result<void> read(SampleSink& sink);
  /// Stops sampling. Samples taken so far can still be read.
  void stop();

  /// The counts of all reads together.
  const SampleCounts& counts() const noexcept { return counts_; }
  bool user_space_only() const noexcept { return user_space_only_; }

 private:
  SampleRun() = default;
  Result<void> load(const CounterEvent& event, std::span<const CounterTarget> targets,
                    const SampleOptions& options, std::optional<VectorFault>& fault,
                    KernelCounters& kernel);

  std::vector<CounterSession> sessions_;
  SampleCounts counts_;
  bool user_space_only_ = false;
};

struct ProfileRow {
  std::string symbol;  ///< "[no symbol]" if the object has no symbol there
  std::string object;  ///< the file's name without its folder, "[kernel]", "[vdso]", "[unknown]"
  std::uint64_t samples = 0;
  double share = 0;  ///< of all samples
};

/// A function and the functions that it called.
struct CallNode {
  std::string symbol;
  std::string object;
  std::uint64_t samples = 0;  ///< in the function and in those that it called
  std::uint64_t own = 0;      ///< in the function itself
  std::vector<CallNode> calls{};
};

struct SampleProfileResult {
  std::uint64_t samples = 0;
  std::vector<ProfileRow> rows;    ///< the most samples first
  std::vector<CallNode> roots;     ///< empty without call chains
  std::vector<std::string> notes;  ///< what could not be found out, and why
};

/// A format whose result is also available as data. Threads: one at a time.
class SampleProfile final : public SampleFormat {
 public:
  explicit SampleProfile(bool chains = false, KernelFiles files = KernelFiles());

  /// Adds a process that already runs: reads its mappings.
  void add_process(pid_t process);
  /// Looks up the samples that came since the last call. Call it after each read. Records come from
  /// the rings of several CPUs, so the record of a fork or a mapping may arrive after a sample in
  /// it, or only with the next read. So a sample whose mapping is unknown waits for one more call.
  void settle();
  /// Looks up all samples. Call it after the last read.
  void finish();

  std::uint64_t fields() const override;
  void sample(const Sample& sample) override;
  void mapped(const CodeMapping& mapping) override;
  void executed(pid_t process, std::string_view name) override;
  void forked(pid_t parent, pid_t child) override;
  /// The flat profile.
  std::string text() const override;

  /// Reads the symbols. Blocks: as reading the files does.
  SampleProfileResult result() const;

 private:
  /// A code position: the object, and the offset in its file; in the kernel, the address.
  struct Place {
    std::size_t object = 0;
    std::uint64_t at = 0;
    auto operator<=>(const Place&) const = default;
  };
  struct Object {
    std::string path;
    UniqueFd file;  ///< empty: it could not be opened, and `why` tells why
    std::string why{};
  };
  struct Waiting {
    pid_t process = 0;
    bool in_kernel = false;
    std::uint64_t ip = 0;
    std::vector<std::uint64_t> chain;
    bool has_waited = false;  ///< has already waited for one call of settle()
  };

  /// What look_up() does with a sample whose object is not known yet.
  enum class IfUnknown : std::uint8_t { wait, count };
  void look_up(Waiting& sample, IfUnknown if_unknown);
  const MappedFile* mapping_of(pid_t process, std::uint64_t address);
  std::size_t object_of(pid_t process, const MappedFile& mapping);
  UniqueFd open_object(pid_t process, const MappedFile& mapping) const;
  Place place_of(pid_t process, bool in_kernel, std::uint64_t address);
  std::vector<Place> chain_of(const Waiting& sample);
  std::vector<SymbolTable> read_symbols(std::vector<std::string>& notes) const;
  ProfileRow named(const Place& place, const std::vector<SymbolTable>& tables) const;

  bool chains_;
  KernelFiles files_;
  std::map<pid_t, AddressSpace> spaces_;
  std::map<pid_t, pid_t> parent_of_;  ///< of forked processes that still run the parent's program
  std::set<pid_t> read_again_;        ///< processes whose mappings this settle() has read again
  std::deque<Object> objects_;
  std::map<std::string, std::size_t> object_of_path_;
  std::vector<Waiting> waiting_;
  std::map<Place, std::uint64_t> counts_;
  std::map<std::vector<Place>, std::uint64_t> chain_counts_;
};

}  // namespace shmif::perf
