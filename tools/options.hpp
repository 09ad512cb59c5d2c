#pragma once
// The command line of one command: described once, parsed by cxxopts, explained by --help.
//
// cxxopts is included by options.cpp alone, which keeps it out of every other compilation, and it
// never gets to see a list: it would split one at commas. A repeatable option is a plain one that
// may occur more than once.

#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shmif/mac.hpp"
#include "tools/command.hpp"

namespace shmif::tools {

/// What was on the command line. The typed getters throw UsageError, naming option and value, when
/// the value is not of their kind, and answer nothing when the option was not given.
class Arguments {
 public:
  /// The words that belong to no option, in order.
  const std::vector<std::string>& positional() const noexcept { return positional_; }
  /// The program to run, for a command that takes one behind "--".
  const std::vector<std::string>& program() const noexcept { return program_; }

  bool given(std::string_view option) const noexcept;
  bool flag(std::string_view option) const noexcept { return given(option); }
  std::optional<std::string> text(std::string_view option) const;
  std::optional<std::uint64_t> size(std::string_view option) const;
  /// Bytes of a packet, in digits.
  std::optional<std::uint32_t> packet_bytes(std::string_view option) const;
  std::optional<std::uint64_t> count(
      std::string_view option, std::uint64_t least = 0,
      std::uint64_t most = std::numeric_limits<std::uint64_t>::max()) const;
  /// A time; without a unit in seconds.
  std::optional<std::chrono::nanoseconds> seconds(std::string_view option) const;
  std::optional<double> share(std::string_view option) const;
  std::optional<MacAddress> mac(std::string_view option) const;
  /// Every value of a repeatable option, in order.
  std::vector<std::string> all(std::string_view option) const;
  /// Every option given, as long name and value, in the order of the command line.
  const std::vector<std::pair<std::string, std::string>>& in_order() const noexcept {
    return options_;
  }

 private:
  friend class Options;
  std::vector<std::string> positional_;
  std::vector<std::string> program_;
  std::vector<std::pair<std::string, std::string>> options_;
};

/// The description of a command line. --help and --log-level belong to every command.
class Options {
 public:
  /// `synopsis` is what follows the options: "PATH", "LINK LINK", "PATH -- COMMAND [ARGUMENT]...".
  Options(std::string command, std::string synopsis);

  /// A sentence or a paragraph for --help, wrapped there.
  Options& about(std::string text);
  /// `names` is "json", or "c,count" with a short form; `text` says what it does.
  Options& flag(const std::string& names, std::string text);
  Options& value(const std::string& names, std::string placeholder, std::string text);
  Options& repeatable(const std::string& names, std::string placeholder, std::string text);
  /// Parsed as repeatable; the command sees to it that each bus gets one at most.
  Options& once_per_bus(const std::string& names, std::string placeholder, std::string text);
  /// An option whose meaning the command looks up itself, any number of times. Without `text`
  /// --help does not list it. `alone` is its value when it stands alone; nothing: it needs one.
  Options& open(const std::string& name, std::string placeholder, std::string text,
                std::optional<std::string> alone);
  Options& example(std::string command_line, std::string text);
  /// How many words without an option the command takes. Default: exactly one.
  Options& words(std::size_t least, std::size_t most);
  /// What follows "--" is a program to run and must be there; else it is words like the others.
  Options& takes_program();

  /// Parses. Throws Exit after printing --help, UsageError for a line that does not fit. Sets the
  /// level of the log.
  Arguments parse(const CommandLine& line) const;
  std::string help() const;

 private:
  struct Option {
    char letter = 0;
    std::string name;
    std::string placeholder;  ///< empty: a flag
    std::string text;
    std::string often{};  ///< how often, for --help; empty: once
    std::optional<std::string> alone{};
  };
  Options& add(const std::string& names, std::string placeholder, std::string text,
               std::string often);
  bool takes_no_value(const std::string& name) const;
  [[noreturn]] void refuse_unknown(const std::string& name, const CommandLine& line) const;
  std::string program_remedy(const CommandLine& line) const;

  std::string command_;
  std::string synopsis_;
  std::string about_;
  std::vector<Option> options_;
  std::vector<std::pair<std::string, std::string>> examples_;
  std::size_t least_ = 1;
  std::size_t most_ = 1;
  bool takes_program_ = false;
};

/// `text` in lines of 80 columns, with a line end. It begins in `column`; further lines are
/// indented.
std::string wrapped(const std::string& text, std::size_t indent, std::size_t column);

/// How values are written (base/quantity.hpp): what `help values` prints.
std::string values_help();

/// Sets the level of the log. Throws UsageError for a word that is none.
void apply_log_level(const std::string& level);

}  // namespace shmif::tools
