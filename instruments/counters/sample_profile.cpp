#include "instruments/counters/sample_profile.hpp"

#include <fcntl.h>
#include <sys/auxv.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/text.hpp"

namespace shmif::perf {

namespace {

constexpr std::size_t kKernel = 0;
constexpr std::size_t kUnknown = 1;
constexpr const char* kKernelSymbols = "/proc/kallsyms";
constexpr const char* kVdso = "[vdso]";

/// The name without the folders: "libc.so.6".
std::string object_name(const std::string& path) {
  if (path.empty() || path.starts_with("//")) return "[anonymous]";
  return path.starts_with('/') ? path.substr(path.rfind('/') + 1) : path;
}

/// The symbols of the vDSO: it is the same in all processes, so this process reads its own.
SymbolTable vdso_symbols() {
  const auto maps = KernelFiles().read("/proc/self/maps");
  const auto at = ::getauxval(AT_SYSINFO_EHDR);
  if (!maps || at == 0) return {};
  for (const MappedFile& each : read_maps(*maps)) {
    if (each.begin != at) continue;
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel gives the address as a number
    const auto* const image = reinterpret_cast<const std::byte*>(each.begin);
    auto table = SymbolTable::of_elf_image({image, each.end - each.begin});
    return table ? *std::move(table) : SymbolTable();
  }
  return {};
}

/// Adds a chain of calls, the outermost first.
void add_calls(std::vector<CallNode>& roots, std::span<const ProfileRow> chain,
               std::uint64_t samples) {
  std::vector<CallNode>* nodes = &roots;
  CallNode* last = nullptr;
  for (const ProfileRow& each : chain) {
    auto node = std::ranges::find_if(*nodes, [&](const CallNode& other) {
      return other.symbol == each.symbol && other.object == each.object;
    });
    if (node == nodes->end()) {
      nodes->push_back({each.symbol, each.object});
      node = nodes->end() - 1;
    }
    node->samples += samples;
    last = &*node;
    nodes = &node->calls;
  }
  if (last != nullptr) last->own += samples;
}

void sort_calls(std::vector<CallNode>& nodes) {
  std::ranges::sort(nodes, [](const CallNode& a, const CallNode& b) {
    return a.samples != b.samples ? a.samples > b.samples : a.symbol < b.symbol;
  });
  for (CallNode& each : nodes) sort_calls(each.calls);
}

}  // namespace

SampleProfile::SampleProfile(bool chains, KernelFiles files)
    : chains_(chains), files_(std::move(files)) {
  objects_.push_back({"[kernel]", {}});
  objects_.push_back({"[unknown]", {}});
}

std::uint64_t SampleProfile::fields() const {
  return chains_ ? std::uint64_t{PERF_SAMPLE_CALLCHAIN} : 0;
}

void SampleProfile::add_process(pid_t process) {
  const auto maps = files_.read("/proc/" + std::to_string(process) + "/maps");
  if (!maps) return;
  for (MappedFile& each : read_maps(*maps)) spaces_[process].add(std::move(each));
}

void SampleProfile::sample(const Sample& sample) {
  Waiting waiting{sample.process, sample.in_kernel, sample.ip, {}};
  if (chains_) waiting.chain.assign(sample.chain.begin(), sample.chain.end());
  waiting_.push_back(std::move(waiting));
}

void SampleProfile::mapped(const CodeMapping& mapping) {
  spaces_[mapping.process].add({mapping.begin, mapping.begin + mapping.bytes, mapping.file_offset,
                                std::string(mapping.file)});
}

void SampleProfile::executed(pid_t process, std::string_view /*name*/) {
  spaces_[process].clear();
  parent_of_.erase(process);
}

void SampleProfile::forked(pid_t parent, pid_t child) {
  if (parent == child) return;  // a thread
  spaces_[child] = spaces_[parent];
  parent_of_[child] = parent;
}

UniqueFd SampleProfile::open_object(pid_t process, const MappedFile& mapping) const {
  // Another file may now have the path of the mapped one. If it is a terminal, it must not become
  // ours; if it is a pipe, opening it must not wait for a writer.
  constexpr int kHow = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  const std::string folder = "/proc/" + std::to_string(process);
  std::array<char, 64> range{};
  std::snprintf(range.data(), range.size(), "/map_files/%llx-%llx",
                static_cast<unsigned long long>(mapping.begin),
                static_cast<unsigned long long>(mapping.end));
  // The first path is the mapped file itself, even if it was deleted; only root may open it.
  for (const std::string& path : {folder + range.data(), folder + "/root" + mapping.file}) {
    UniqueFd file(::open(files_.path(path).c_str(), kHow));
    if (file) return file;
  }
  return UniqueFd(::open(mapping.file.c_str(), kHow));
}

std::size_t SampleProfile::object_of(pid_t process, const MappedFile& mapping) {
  const auto known = object_of_path_.find(mapping.file);
  if (known != object_of_path_.end()) return known->second;
  Object object{mapping.file, {}};
  // Each object keeps a file open, and a process may map any number of files.
  constexpr std::size_t kMaxFiles = 512;
  if (mapping.file.starts_with('/') && !mapping.file.starts_with("//")) {
    if (objects_.size() < kMaxFiles) object.file = open_object(process, mapping);
    if (!object.file) {
      const std::error_code code(errno, std::generic_category());
      object.why = objects_.size() < kMaxFiles ? "cannot open it: " + code.message()
                                               : "too many files have samples";
    }
  }
  objects_.push_back(std::move(object));
  return object_of_path_[mapping.file] = objects_.size() - 1;
}

const MappedFile* SampleProfile::mapping_of(pid_t process, std::uint64_t address) {
  const MappedFile* mapping = spaces_[process].find(address);
  if (mapping != nullptr) return mapping;
  if (read_again_.insert(process).second) {
    add_process(process);
    mapping = spaces_[process].find(address);
    if (mapping != nullptr) return mapping;
  }
  // The record of a mapping that the parent made before the fork may arrive after that of the fork.
  const auto parent = parent_of_.find(process);
  return parent == parent_of_.end() ? nullptr : spaces_[parent->second].find(address);
}

SampleProfile::Place SampleProfile::place_of(pid_t process, bool in_kernel, std::uint64_t address) {
  if (in_kernel) return {kKernel, address};
  const MappedFile* const mapping = mapping_of(process, address);
  if (mapping == nullptr) return {kUnknown, 0};
  return {object_of(process, *mapping), address - mapping->begin + mapping->file_offset};
}

/// The places of the calls, the innermost first.
std::vector<SampleProfile::Place> SampleProfile::chain_of(const Waiting& sample) {
  std::vector<Place> chain;
  bool in_kernel = sample.in_kernel;
  for (const std::uint64_t each : sample.chain) {
    if (each >= PERF_CONTEXT_MAX) {
      in_kernel = each == PERF_CONTEXT_KERNEL;
      continue;
    }
    // All but the innermost are return addresses, which may already belong to the next function.
    const std::uint64_t address = chain.empty() || each == 0 ? each : each - 1;
    chain.push_back(place_of(sample.process, in_kernel, address));
  }
  if (chain.empty()) chain.push_back(place_of(sample.process, sample.in_kernel, sample.ip));
  return chain;
}

void SampleProfile::look_up(Waiting& sample, IfUnknown if_unknown) {
  const Place place = place_of(sample.process, sample.in_kernel, sample.ip);
  if (place.object == kUnknown && if_unknown == IfUnknown::wait && !sample.has_waited) {
    sample.has_waited = true;
    waiting_.push_back(std::move(sample));
    return;
  }
  ++counts_[place];
  if (chains_) ++chain_counts_[chain_of(sample)];
}

void SampleProfile::settle() {
  read_again_.clear();
  for (Waiting& each : std::exchange(waiting_, {})) look_up(each, IfUnknown::wait);
}

void SampleProfile::finish() {
  read_again_.clear();
  for (Waiting& each : std::exchange(waiting_, {})) look_up(each, IfUnknown::count);
}

/// The symbols of each object. A table is empty if they could not be read; a note tells why.
std::vector<SymbolTable> SampleProfile::read_symbols(std::vector<std::string>& notes) const {
  std::vector<SymbolTable> tables(objects_.size());
  const auto take = [&](std::size_t object, Result<SymbolTable> table) {
    if (table) {
      tables[object] = *std::move(table);
      const std::string& trouble = tables[object].trouble();
      if (!trouble.empty()) notes.push_back(objects_[object].path + ": " + trouble);
    } else {
      notes.push_back(objects_[object].path + ": " + table.error().message);
    }
  };
  const bool kernel =
      std::ranges::any_of(counts_, [](const auto& each) { return each.first.object == kKernel; });
  if (kernel) {
    const auto text = files_.read(kKernelSymbols);
    take(kKernel, text ? SymbolTable::of_kallsyms(*text) : Result<SymbolTable>(text.error()));
  }
  for (std::size_t at = kUnknown + 1; at < objects_.size(); ++at) {
    const Object& object = objects_[at];
    if (object.path == kVdso) tables[at] = vdso_symbols();
    if (object.file) take(at, SymbolTable::of_elf_file(object.file.get()));
    if (!object.why.empty()) notes.push_back(object.path + ": " + object.why);
  }
  return tables;
}

ProfileRow SampleProfile::named(const Place& place, const std::vector<SymbolTable>& tables) const {
  const SymbolTable& table = tables[place.object];
  const bool kernel = place.object == kKernel;
  const auto address = kernel ? std::optional(place.at) : table.address_of(place.at);
  const Symbol* const symbol = address ? table.find(*address) : nullptr;
  return {symbol == nullptr ? "[no symbol]" : demangled(symbol->name),
          object_name(objects_[place.object].path)};
}

SampleProfileResult SampleProfile::result() const {
  SampleProfileResult result;
  const std::vector<SymbolTable> tables = read_symbols(result.notes);
  std::map<Place, ProfileRow> names;
  const auto name_of = [&](const Place& place) -> const ProfileRow& {
    const auto known = names.find(place);
    return known != names.end() ? known->second
                                : names.emplace(place, named(place, tables)).first->second;
  };
  std::map<std::pair<std::string, std::string>, std::uint64_t> sums;
  for (const auto& [place, samples] : counts_) {
    const ProfileRow& name = name_of(place);
    sums[{name.object, name.symbol}] += samples;
    result.samples += samples;
  }
  for (const auto& [name, samples] : sums) {
    const double share = static_cast<double>(samples) / static_cast<double>(result.samples);
    result.rows.push_back({name.second, name.first, samples, share});
  }
  std::ranges::sort(result.rows, [](const ProfileRow& a, const ProfileRow& b) {
    if (a.samples != b.samples) return a.samples > b.samples;
    return a.symbol != b.symbol ? a.symbol < b.symbol : a.object < b.object;
  });
  for (const auto& [places, samples] : chain_counts_) {
    std::vector<ProfileRow> chain;
    for (const Place& each : places) chain.push_back(name_of(each));
    std::ranges::reverse(chain);
    add_calls(result.roots, chain, samples);
  }
  sort_calls(result.roots);
  return result;
}

std::string SampleProfile::text() const {
  std::string out;
  for (const ProfileRow& row : result().rows) {
    out += std::to_string(row.samples) + ' ' + base::printable(row.symbol) + " in " +
           base::printable(row.object) + '\n';
  }
  return out;
}

Result<void> SampleRun::load(const CounterEvent& event, std::span<const CounterTarget> targets,
                             const SampleOptions& options, std::optional<VectorFault>& fault,
                             KernelCounters& kernel) {
  const std::array setup{EventSetup{event, 0, options.sampling}};
  for (const CounterTarget& target : targets) {
    CounterSession session = session_over({}, kernel);
    if (auto programmed = session.program(setup); !programmed) return programmed.error();
    if (auto loaded = session.load(target, &fault); !loaded) return loaded;
    sessions_.push_back(std::move(session));
  }
  return {};
}

Result<SampleRun> SampleRun::start(const CounterEvent& event, std::span<const TaskId> processes,
                                   const SampleOptions& options, std::optional<Refusal>* refused,
                                   KernelCounters& kernel) {
  SampleRun run;
  const auto targets = target_list(processes, options.cpus, options.on_exec);
  CounterEvent sampled = event;
  std::optional<VectorFault> fault;
  auto loaded = run.load(sampled, targets, options, fault, kernel);
  const bool denied = fault && (fault->number == EACCES || fault->number == EPERM);
  // Try again in user space only. That does not help for a tracepoint, which lies in the kernel, or
  // for whole CPUs, where the kernel asks for the same right.
  if (!loaded && denied && options.cpus.empty() && !sampled.exclude_kernel &&
      sampled.type != PERF_TYPE_TRACEPOINT) {
    sampled.exclude_kernel = true;
    sampled.exclude_hypervisor = true;
    run.user_space_only_ = true;
    run.sessions_.clear();
    fault.reset();
    loaded = run.load(sampled, targets, options, fault, kernel);
  }
  if (!loaded) {
    const int number = loaded.error().code.value();
    if (fault && refused != nullptr) *refused = fault->refusal;
    // The kernel does not even permit the session's own clock.
    if (!fault && refused != nullptr && !options.cpus.empty() &&
        (number == EACCES || number == EPERM)) {
      *refused = explain_refusal(number, sampled, {.whole_cpu = true});
    }
    return std::move(loaded).error();
  }
  for (CounterSession& session : run.sessions_) {
    auto started = session.start();
    // If a target has already ended, that is noticed at the end of the run.
    if (!started && session.state() != SessionState::ended) return std::move(started).error();
  }
  return run;
}

Result<void> SampleRun::read(SampleSink& sink) {
  for (CounterSession& session : sessions_) {
    const auto got = session.read_samples(sink);
    if (!got) return got.error();
    counts_.samples += got->samples;
    counts_.lost += got->lost;
    counts_.lost_is_least = counts_.lost_is_least || got->lost_is_least;
  }
  return {};
}

void SampleRun::stop() {
  for (CounterSession& session : sessions_) {
    if (session.state() == SessionState::started) (void)session.stop();
  }
}

}  // namespace shmif::perf
