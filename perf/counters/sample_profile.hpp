#pragma once
// Samples by function: a flat profile, and a tree of calls.
//
// While samples come, only mappings are looked up: which file, and where in it. The files of the
// objects are opened then, because they may be gone later. Their symbols are read at the end.

#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "perf/counters/sample_format.hpp"
#include "perf/symbols/address_space.hpp"
#include "perf/symbols/symbol_table.hpp"
#include "perf/watch/kernel_files.hpp"

namespace shmif::perf {

struct ProfileRow {
  std::string symbol;  ///< "[no symbol]" if the object has none there
  std::string object;  ///< the file's name without its folder, "[kernel]", "[vdso]", "[unknown]"
  std::uint64_t samples = 0;
  double share = 0;  ///< of all samples
};

/// A function, and those that it called.
struct CallNode {
  std::string symbol;
  std::string object;
  std::uint64_t samples = 0;  ///< in it, and in what it called
  std::uint64_t own = 0;      ///< in itself
  std::vector<CallNode> calls{};
};

struct SampleProfileResult {
  std::uint64_t samples = 0;
  std::vector<ProfileRow> rows;    ///< the most samples first
  std::vector<CallNode> roots;     ///< empty without call chains
  std::vector<std::string> notes;  ///< what could not be found out, and why
};

/// A format like the others, of which the result can also be had as data. Threads: one at a time.
class SampleProfile final : public SampleFormat {
 public:
  explicit SampleProfile(bool chains = false, KernelFiles files = KernelFiles());

  /// A process that runs already: its mappings are read.
  void add_process(pid_t process);
  /// Looks up the samples that came since the last call: to be called after each read. Records come
  /// from the rings of several CPUs, so that of a fork or a mapping may come behind a sample in it,
  /// or with the next read: a sample whose mapping is not known waits for one more call.
  void settle();
  /// After the last read: looks up all samples.
  void finish();

  std::uint64_t fields() const override;
  void sample(const Sample& sample) override;
  void mapped(const CodeMapping& mapping) override;
  void executed(pid_t process, std::string_view name) override;
  void forked(pid_t parent, pid_t child) override;
  /// The flat profile.
  std::string text() const override;

  /// Reads the symbols. Blocks: as the files do.
  SampleProfileResult result() const;

 private:
  /// Where a program was: which object, and which byte of its file. Of the kernel: the address.
  struct Place {
    std::size_t object = 0;
    std::uint64_t at = 0;
    auto operator<=>(const Place&) const = default;
  };
  struct Object {
    std::string path;
    UniqueFd file;  ///< none: it could not be opened
    std::string why{};
  };
  struct Waiting {
    pid_t process = 0;
    bool in_kernel = false;
    std::uint64_t ip = 0;
    std::vector<std::uint64_t> chain;
    bool has_waited = false;  ///< for a call of settle()
  };

  void look_up(Waiting& sample, bool may_wait);
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
  std::map<pid_t, pid_t> parent_of_;  ///< of those that run what their parents run
  std::set<pid_t> read_again_;        ///< their mappings have been read in this settle()
  std::deque<Object> objects_;
  std::map<std::string, std::size_t> object_of_path_;
  std::vector<Waiting> waiting_;
  std::map<Place, std::uint64_t> counts_;
  std::map<std::vector<Place>, std::uint64_t> chain_counts_;
};

}  // namespace shmif::perf
