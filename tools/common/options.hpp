#pragma once
// Command-line values that base/quantity.hpp does not read.

#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shmif/mac.hpp"
#include "tools/common/command.hpp"

namespace shmif::tools {

/// Octal permission bits, "0600" or "660", at most 0777.
std::optional<std::uint32_t> parse_mode(std::string_view text) noexcept;

/// A size as text for people: "4 MiB", "1.5 KiB", "14 B".
std::string format_bytes(std::uint64_t bytes);

/// A time as it was given on the command line, with its unit: "5 s" for "5", and "500ms" as it is.
std::string with_unit_of_time(const std::string& given);

// The command line of one command. A command describes it once; this parses it with cxxopts and
// makes --help from it.
//
// Only options.cpp includes cxxopts. cxxopts never parses a list, because it would split the list
// at commas: a repeatable option is a plain option that may occur more than once.

/// The contents of the command line. If a value has the wrong type, the typed getters throw
/// UsageError, with option and value. They return an empty value if the option was not given.
class Arguments {
 public:
  /// The words that are not options, in order.
  const std::vector<std::string>& positional() const noexcept { return positional_; }
  /// The program to run, if the command takes one after "--".
  const std::vector<std::string>& program() const noexcept { return program_; }

  bool given(std::string_view option) const noexcept;
  bool flag(std::string_view option) const noexcept { return given(option); }
  std::optional<std::string> text(std::string_view option) const;
  std::optional<std::uint64_t> size(std::string_view option) const;
  /// Bytes of a packet, written in digits.
  std::optional<std::uint32_t> packet_bytes(std::string_view option) const;
  std::optional<std::uint64_t> count(
      std::string_view option, std::uint64_t min = 0,
      std::uint64_t max = std::numeric_limits<std::uint64_t>::max()) const;
  /// A time. Without a unit, it is in seconds.
  std::optional<std::chrono::nanoseconds> seconds(std::string_view option) const;
  std::optional<double> share(std::string_view option) const;
  std::optional<MacAddress> mac(std::string_view option) const;
  /// Every value of a repeatable option, in order.
  std::vector<std::string> all(std::string_view option) const;
  /// Every option given, as its long name and value, in the order of the command line.
  const std::vector<std::pair<std::string, std::string>>& in_order() const noexcept {
    return options_;
  }

 private:
  friend class Options;
  std::vector<std::string> positional_;
  std::vector<std::string> program_;
  std::vector<std::pair<std::string, std::string>> options_;
};

/// The description of a command line. Every command has --help and --log-level.
class Options {
 public:
  /// `synopsis` follows the options: "PATH", "LINK LINK", "PATH -- COMMAND [ARGUMENT]...".
  Options(std::string command, std::string synopsis);

  /// Sentences or paragraphs for --help. They are wrapped there. This and all texts below may be
  /// raw strings, as base::unfolded() reads them.
  Options& about(std::string_view text);
  /// `names`: "json", or "c,count" with a short form. `text` says what the flag does.
  Options& flag(const std::string& names, std::string_view text);
  Options& value(const std::string& names, std::string placeholder, std::string_view text);
  Options& repeatable(const std::string& names, std::string placeholder, std::string_view text);
  /// Parsed like repeatable(); the command checks that each bus has at most one.
  Options& once_per_bus(const std::string& names, std::string placeholder, std::string_view text);
  /// An option that the command interprets itself, any number of times. Without `text`, --help does
  /// not list it. `alone`: its value if the user omits it; empty if it needs a value.
  Options& open(const std::string& name, std::string placeholder, std::string_view text,
                std::optional<std::string> alone);
  Options& example(std::string command_line, std::string_view text);
  /// How many words that are not options the command takes. Default: exactly one.
  Options& words(std::size_t min, std::size_t max);
  /// The first word is the path of a bus. Users may leave it out if SHMIF_BUS has it
  /// (tools/common/command.hpp): the line then has one word less than words() permits, or
  /// `is_left_out` tells. `condition`: what else must be true of the line, for --help.
  Options& bus_first(std::string_view condition = {},
                     bool (*is_left_out)(const Arguments&) = nullptr);
  /// "--" must be given, followed by a program to run. Without this call, words after "--" are
  /// ordinary words.
  Options& takes_program();
  /// "--" may be given, followed by a program to run.
  Options& may_take_program();

  /// Parses the line. Throws Exit after printing --help, and UsageError for a wrong line. An empty
  /// value is wrong for every option. Sets the log level.
  Arguments parse(const CommandLine& line) const;
  std::string help() const;
  /// The same as an entry of the manual page, in mdoc, without the options that every command has,
  /// those of open(), and the examples. cmake/manual_page.cmake joins it with what only the page
  /// says. For that, a comment follows each part: ".\" @create" what the command does,
  /// ".\" @create --size" an option.
  std::string mdoc() const;

 private:
  /// Option::often of an option that may occur any number of times, but whose help does not say so.
  static constexpr const char* kOpen = "open";
  struct Option {
    char letter = 0;
    std::string name;
    std::string placeholder;  ///< empty for a flag
    std::string text;
    std::string often{};  ///< how often, for --help; empty means once
    std::optional<std::string> alone{};
  };
  Options& add(const std::string& names, std::string placeholder, std::string_view text,
               std::string often);
  bool takes_no_value(const std::string& name) const;
  /// What else the user may have meant; empty if that is unclear.
  std::string meant_instead(const std::string& name, const CommandLine& line) const;
  /// The option that begins with `letter`, "output" rather than "output-format". Empty if there is
  /// none, or if the letter could mean several.
  std::optional<std::string> begun_by(char letter) const;
  [[noreturn]] void refuse_unknown(const std::string& name, const CommandLine& line) const;
  std::vector<std::string> split_letters(const std::vector<std::string>& words) const;
  void refuse_odd_values(const std::vector<std::string>& words) const;
  void refuse_empty_values(const Arguments& given) const;
  void refuse_odd_counts(const Arguments& given) const;
  Arguments read_words(const CommandLine& line) const;
  std::optional<bool> takes_next_word(const std::string& word) const;
  std::optional<std::size_t> begin_of_program(const std::vector<std::string>& words) const;
  std::string program_remedy(const CommandLine& line) const;
  void take_default_bus(Arguments& given) const;
  std::string too_few_words() const;

  std::string command_;
  std::string synopsis_;
  std::string about_;
  std::vector<Option> options_;
  std::vector<std::pair<std::string, std::string>> examples_;
  std::size_t min_ = 1;
  std::size_t max_ = 1;
  bool has_bus_ = false;  ///< bus_first() was called
  std::string bus_condition_;
  bool (*is_bus_left_out_)(const Arguments&) = nullptr;
  enum class Program { none, optional, required } program_words_ = Program::none;
};

/// `text` in lines of 80 columns, with a final newline. The first line begins in `column`; the next
/// lines are indented.
std::string wrapped(const std::string& text, std::size_t indent, std::size_t column);

/// The formats of values (base/quantity.hpp), as printed by `help values`.
std::string values_help();
/// The same as a section of a manual page, in mdoc.
std::string values_mdoc();

/// Sets the log level. Throws UsageError for an unknown word.
void apply_log_level(const std::string& level);
/// Turns on debug lines of these categories. "help" prints the categories and exits. Throws
/// UsageError for an unknown category.
void apply_debug(const std::string& categories);
/// The explanation of --debug, for --help.
inline constexpr const char* kDebugText =
    "write debug messages of these categories (or all) to standard error; --debug=help lists them";

}  // namespace shmif::tools
