#include <algorithm>
#include <cerrno>
#include <charconv>
#include <map>
#include <utility>

#include "base/files.hpp"
#include "base/quantity.hpp"
#include "base/text.hpp"
#include "instruments/heat/source.hpp"

namespace shmif::perf {
namespace {

constexpr std::uint64_t kKibibyte = 1024;

std::optional<AddressRange> read_addresses(std::string_view word) {
  constexpr int kHexadecimal = 16;
  const std::size_t dash = word.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto begin = base::read_digits(word.substr(0, dash), kHexadecimal);
  const auto end = base::read_digits(word.substr(dash + 1), kHexadecimal);
  if (!begin || !end || *begin >= *end) return std::nullopt;
  return AddressRange{*begin, *end};
}

/// Reads address, permissions, offset, device, inode, and then the name, which may have spaces.
std::optional<MappingUse> read_mapping(std::string_view line) {
  const auto range = read_addresses(base::take_word(line));
  const std::string_view permissions = base::take_word(line);
  base::take_word(line);
  base::take_word(line);
  const std::string_view inode = base::take_word(line);
  if (!range || inode.empty()) return std::nullopt;
  const std::string name(line.substr(std::min(line.find_first_not_of(' '), line.size())));
  return MappingUse{{*range, name, base::read_digits(inode).value_or(0)},
                    permissions.substr(0, 3) != "---"};
}

/// Reads a line such as "Rss: 12 kB". Result: bytes.
std::optional<std::uint64_t> read_field(std::string_view line, std::string_view name) {
  if (!line.starts_with(name)) return std::nullopt;
  line.remove_prefix(name.size());
  const std::size_t begin = line.find_first_not_of(' ');
  if (begin == std::string_view::npos || !line.ends_with(" kB")) return std::nullopt;
  const auto number = base::read_digits(line.substr(begin, line.size() - begin - 3));
  return number ? std::optional(*number * kKibibyte) : std::nullopt;
}

class ClearRefs : public HeatSource {
 public:
  ClearRefs(const TaskId& process, KernelFiles files)
      : process_(process),
        files_(std::move(files)),
        folder_("/proc/" + std::to_string(process.number)) {}

  const HeatProvenance& provenance() const noexcept override { return provenance_; }
  Looking looking() const noexcept override { return Looking::whole_ranges; }
  /// The time that we spend grows with the target's memory.
  std::chrono::nanoseconds cost(std::chrono::nanoseconds here) const noexcept override {
    return here;
  }

  Result<std::vector<NamedRange>> ranges() override {
    auto uses = read();
    if (!uses) return std::move(uses).error();
    std::vector<NamedRange> ranges;
    for (MappingUse& use : *uses) {
      // The kernel maps these into every process.
      const bool is_kernels = use.memory.name.starts_with("[v");
      if (use.is_accessible && !is_kernels) ranges.push_back(std::move(use.memory));
    }
    return ranges;
  }

  Result<void> forget(Regions& /*regions*/) override { return write(); }

  Result<void> look(Regions& regions) override {
    const auto uses = read();
    if (!uses) return uses.error();
    std::map<std::uint64_t, std::uint64_t> referenced;  // by the mapping's first address
    std::uint64_t total = 0;
    for (const MappingUse& use : *uses) {
      referenced[use.memory.range.begin] = use.referenced_bytes;
      total += use.referenced_bytes;
    }
    working_set_ = std::max(working_set_.value_or(0), total);
    std::vector<Sighting> seen;
    for (const AddressRange& range : regions.target()) {
      const auto found = referenced.find(range.begin);
      seen.push_back({found != referenced.end() && found->second > 0, std::nullopt});
    }
    regions.record(seen);
    return {};
  }

  std::optional<std::uint64_t> take_working_set() override {
    return std::exchange(working_set_, std::nullopt);
  }

  Result<void> write() const {
    if (auto same = expect_same_process(); !same) return same;
    auto written = files_.write(folder_ + "/clear_refs", "1\n");
    if (written) return {};
    return told(written.error());
  }

 private:
  /// Makes sure that we do not touch a later process with the same number.
  Result<void> expect_same_process() const {
    const auto stat = task_stat_in(folder_, files_);
    if (stat && stat->start_ticks == process_.start_ticks && stat->state != 'Z') return {};
    return Error::from_errno(ESRCH, "cannot watch process " + std::to_string(process_.number));
  }

  Result<std::vector<MappingUse>> read() const {
    if (auto same = expect_same_process(); !same) return same.error();
    const auto text = files_.read(folder_ + "/smaps");
    if (!text) return told(text.error());
    return read_smaps(*text);
  }

  static Error told(const Error& error) {
    if (error.code == std::errc::no_such_file_or_directory) {
      return {std::make_error_code(std::errc::no_such_process), error.message};
    }
    if (error.code == std::errc::permission_denied ||
        error.code == std::errc::operation_not_permitted) {
      return {error.code, error.message + " (run as the process's user, or as root)"};
    }
    return error;
  }

  TaskId process_;
  KernelFiles files_;
  std::string folder_;
  std::optional<std::uint64_t> working_set_;
  HeatProvenance provenance_{"clear_refs", "mapping",
                             "/proc/PID/clear_refs, Referenced in /proc/PID/smaps",
                             "Referenced in /proc/PID/smaps does not tell reads from writes"};
};

}  // namespace

Result<std::vector<MappingUse>> read_smaps(std::string_view text) {
  std::vector<MappingUse> uses;
  for (const std::string_view line : base::lines_in(text)) {
    if (auto mapping = read_mapping(line)) {
      uses.push_back(*std::move(mapping));
    } else if (uses.empty()) {
      return Error(Errc::bad_argument, "not as /proc/PID/smaps");
    } else if (const auto referenced = read_field(line, "Referenced:")) {
      uses.back().referenced_bytes = *referenced;
    }
  }
  return uses;
}

Result<std::unique_ptr<HeatSource>> watch_by_clear_refs(const TaskId& process,
                                                        const KernelFiles& files) {
  auto source = std::make_unique<ClearRefs>(process, files);
  if (auto allowed = source->write(); !allowed) return std::move(allowed).error();
  return std::unique_ptr<HeatSource>(std::move(source));
}

}  // namespace shmif::perf
