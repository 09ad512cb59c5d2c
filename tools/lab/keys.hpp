#pragma once
// The keys of a lab's file, one row for each, and the parts of read_lab() that are in files of
// their own. The reader refuses what no row allows, and a test compares the rows with
// docs/lab.schema.json.

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tools/lab/lab.hpp"
#include "tools/lab/value.hpp"

namespace shmif::tools {

/// One key of a table.
struct LabKey {
  const char* name;
  std::uint8_t kinds;  ///< a set of ValueKind
  /// What it means, in a few words: the description in the schema, and help in messages.
  const char* text;
};

/// A kind of table, and its keys.
struct LabTable {
  const char* name;  ///< as in messages and in the schema: "host"
  std::span<const LabKey> keys;
};

extern const LabTable kLabKeys;      ///< the whole file
extern const LabTable kBusKeys;      ///< bus.NAME
extern const LabTable kHostKeys;     ///< host.NAME
extern const LabTable kCaptureKeys;  ///< capture.NAME
extern const LabTable kGatewayKeys;  ///< gateway.NAME
extern const LabTable kPerfKeys;     ///< perf.NAME
extern const LabTable kEventKeys;    ///< an entry of `at`
extern const LabTable kTestKeys;     ///< test
extern const LabTable kMachineKeys;  ///< machine.NAME
extern const LabTable kFileKeys;     ///< a file of a host, if it is not a text

/// Reads the keys of one table. The constructor adds a problem for each key that is unknown or has
/// a value of another kind; the getters then return an empty value. Threads: one at a time.
class LabTableReader {
 public:
  /// `table` must live as long as this.
  LabTableReader(const LabValue& table, const LabTable& known, LabProblems& problems);

  /// The value of a key, if it is there and of a kind that the key can have.
  const LabValue* find(const char* key) const noexcept;
  std::optional<std::string> text(const char* key) const;
  /// The same with its place.
  std::optional<LabName> name(const char* key) const;
  /// The texts of a key that takes a text or a list of texts. Adds a problem for each item that is
  /// not a text.
  std::vector<LabName> names(const char* key) const;
  /// One of `words`, of which the first is the default. Adds a problem for any other text.
  std::string choice(const char* key, std::initializer_list<const char*> words) const;
  /// A number of bytes, as an integer or a text such as "4M". Adds a problem for any other text.
  std::optional<std::uint64_t> size(const char* key) const;
  std::optional<bool> boolean(const char* key) const;
  /// An integer from `min` to `max`; adds a problem for any other.
  std::optional<std::int64_t> integer(const char* key, std::int64_t min, std::int64_t max) const;
  LabPlace place_of(const char* key) const;
  /// Whether the table has the key, with any value.
  bool has(const char* key) const noexcept { return table_.find(key) != nullptr; }
  /// Adds a problem at the place of the key.
  void error(const char* key, const std::string& text) const {
    problems_.error(place_of(key), text);
  }
  LabProblems& problems() const noexcept { return problems_; }

 private:
  const LabValue& table_;
  const LabTable& known_;
  LabProblems& problems_;
};

/// The characters of names.
inline constexpr std::string_view kNameSigns =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

/// A name of a host, a bus or a capture. Result: false, and a problem, if it cannot be one.
bool check_name(const std::string& what, const LabName& name, std::size_t most,
                LabProblems& problems);

/// Why a text says no faults of a line; empty if it does.
std::string why_no_faults(const std::string& text);

/// The same faults with a seed that follows from `seed` and `name`, if they have none.
std::string with_seed(const std::string& faults, std::uint64_t seed, const std::string& name);

/// Adds a machine to `lab`.
void read_machine(const LabValue::Entry& entry, Lab& lab, LabProblems& problems);

/// Adds the host, or all hosts of its `count`, to `lab`.
void read_host(const LabValue::Entry& entry, Lab& lab, LabProblems& problems);

/// Adds a run of shmifperf to `lab`.
void read_perf(const LabValue::Entry& entry, Lab& lab, LabProblems& problems);

// ---- Runs of shmifperf ----

/// The path of shmifperf: beside this program, or else in the directories of PATH. Errors: it is in
/// none of them.
Result<std::string> find_shmifperf();

/// The words of `shmifperf` for a run, without its name. `results`: the folder of results; empty:
/// only to check the options.
std::vector<std::string> perf_words(const Lab& lab, const LabPerf& perf,
                                    const std::string& results);

/// Asks shmifperf whether it takes the options of all runs. What it refuses becomes a problem at
/// the place of the option, the job or the run. Blocks: for a process for each run.
void check_perf_options(const Lab& lab, LabProblems& problems);

}  // namespace shmif::tools
