#include "tools/common/options.hpp"

#include <algorithm>
#include <cstdio>
// Its regular expressions have three faults. For long words, they need so much stack that it
// overflows. They do not match a line end in a value. They are built before main(), where too
// little memory ends the program without a message.
#define CXXOPTS_NO_REGEX true
#include <cxxopts.hpp>

#include "base/quantity.hpp"
#include "base/text.hpp"
#include "shmif/debug/debug.hpp"
#include "shmif/log.hpp"
#include "tap/cidr.hpp"

namespace shmif::tools {

std::optional<std::uint32_t> parse_mode(std::string_view text) noexcept {
  const std::optional<std::uint64_t> bits = base::read_digits(text, 8);
  if (!bits || *bits > 0777) return std::nullopt;
  return static_cast<std::uint32_t>(*bits);
}

std::string format_bytes(std::uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  constexpr double kRoundsUp = 1023.95;  // more would be shown as 1024.0
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= (unit == 0 ? 1024 : kRoundsUp) && unit < 6) {
    value /= 1024;
    ++unit;
  }
  char text[32];
  const bool whole = unit == 0 || value == static_cast<double>(static_cast<std::uint64_t>(value));
  std::snprintf(text, sizeof text, whole ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text;
}

std::string with_unit_of_time(const std::string& given) {
  return given.find_first_not_of("0123456789.") == std::string::npos ? given + " s" : given;
}

namespace {

/// A word of a wrong command line, as a message shows it.
std::string shown(const std::string& word) {
  constexpr std::size_t kShown = 60;
  return base::shortened(word, kShown);
}

[[noreturn]] void refuse(std::string_view option, const std::string& value,
                         const std::string& why) {
  throw UsageError{"--" + std::string(option) + " \"" + shown(value) + "\" " + why};
}

/// The value of an option. Throws UsageError if cxxopts refused it.
template <class T>
T read_or_refuse(std::string_view option, const std::string& value,
                 const base::Reading<T>& reading) {
  if (reading) return *reading;
  throw UsageError{"--" + std::string(option) + ' ' + reading.why(shown(value))};
}

/// The name in cxxopts' quotation marks.
std::string quoted_name(const std::string& message) {
  const std::string open = cxxopts::LQUOTE;
  const std::size_t begin = message.find(open);
  const std::size_t end = message.find(cxxopts::RQUOTE, begin + open.size());
  if (begin == std::string::npos || end == std::string::npos) return message;
  return message.substr(begin + open.size(), end - begin - open.size());
}

std::string dashed(const std::string& name) {
  return (name.size() == 1 ? "-" : "--") + name;
}

/// The value of an option that is not known; empty if it has none, or if the next word may be
/// something else.
std::string value_of(const std::string& option, const std::vector<std::string>& words) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i].starts_with(option + '=')) return shown(words[i].substr(option.size() + 1));
    const bool is_number = i + 1 < words.size() && "0" <= words[i + 1] && words[i + 1] < ":";
    if (words[i] == option && is_number) return shown(words[i + 1]);
  }
  return {};
}

}  // namespace

void apply_log_level(const std::string& level) {
  if (!set_log_level(level)) {
    refuse("log-level", level,
           "is not a level (trace, debug, info, warning, error, critical or off)");
  }
}

void apply_debug(const std::string& categories) {
  if (categories == "help") {
    std::string text = "The categories of --debug, for example --debug=process,rate:\n";
    const auto row = [&text](const char* name, const char* about) {
      std::string left = std::string("  ") + name;
      left.resize(12, ' ');
      text += left + wrapped(about, 12, 12);
    };
    for (const DebugCategory& each : debug_categories()) row(each.name, each.about);
    row("all", "all of these");
    std::fwrite(text.data(), 1, text.size(), stdout);
    throw Exit{kDone};
  }
  const Result<void> added = add_debug(categories);
  if (added) return;
  std::vector<std::string> known;
  std::string list;
  for (const DebugCategory& each : debug_categories()) {
    known.emplace_back(each.name);
    list += std::string(each.name) + ", ";
  }
  const std::string& word = added.error().message;
  std::string what = "is not a category";
  if (const auto meant = nearest(word, known)) what += ", did you mean \"" + *meant + "\"?";
  refuse("debug", word, what + " (" + list + "or all)");
}

bool Arguments::given(std::string_view option) const noexcept {
  return std::any_of(options_.begin(), options_.end(),
                     [&](const auto& entry) { return entry.first == option; });
}

std::optional<std::string> Arguments::text(std::string_view option) const {
  for (const auto& [name, value] : options_) {
    if (name == option) return value;
  }
  return std::nullopt;
}

std::vector<std::string> Arguments::all(std::string_view option) const {
  std::vector<std::string> values;
  for (const auto& [name, value] : options_) {
    if (name == option) values.push_back(value);
  }
  return values;
}

std::optional<std::uint64_t> Arguments::size(std::string_view option) const {
  const std::optional<std::string> value = text(option);
  if (!value) return std::nullopt;
  return read_or_refuse(option, *value, base::read_size(*value));
}

std::optional<std::uint32_t> Arguments::packet_bytes(std::string_view option) const {
  const std::optional<std::string> value = text(option);
  if (!value) return std::nullopt;
  const std::uint64_t bytes = read_or_refuse(option, *value, base::read_packet_bytes(*value));
  if (bytes > UINT32_MAX) refuse(option, *value, "is out of range");
  return static_cast<std::uint32_t>(bytes);
}

std::optional<std::uint64_t> Arguments::count(std::string_view option, std::uint64_t min,
                                              std::uint64_t max) const {
  const std::optional<std::string> value = text(option);
  if (!value) return std::nullopt;
  const auto number = base::read_count(*value);
  if (number && *number >= min && *number <= max) return *number;
  std::string why = "is not a whole number";
  if (max != std::numeric_limits<std::uint64_t>::max()) {
    why += " from " + std::to_string(min) + " to " + std::to_string(max);
  } else if (min != 0) {
    why += " of " + std::to_string(min) + " or more";
  }
  refuse(option, *value, why);
}

std::optional<std::chrono::nanoseconds> Arguments::seconds(std::string_view option) const {
  const std::optional<std::string> value = text(option);
  if (!value) return std::nullopt;
  return read_or_refuse(option, *value, base::read_time(*value, base::TimeUnit::seconds));
}

std::optional<double> Arguments::share(std::string_view option) const {
  const std::optional<std::string> value = text(option);
  if (!value) return std::nullopt;
  return read_or_refuse(option, *value, base::read_share(*value));
}

std::optional<MacAddress> Arguments::mac(std::string_view option) const {
  const std::optional<std::string> value = text(option);
  if (!value) return std::nullopt;
  const std::optional<MacAddress> address = MacAddress::parse(*value);
  if (!address) refuse(option, *value, "is not a MAC address (such as b2:a0:00:00:00:01)");
  if (!address->is_unicast()) {
    refuse(option, *value,
           "is not a unicast MAC address (the first byte must be even, not all zero)");
  }
  return address;
}

Options::Options(std::string command, std::string synopsis)
    : command_(std::move(command)), synopsis_(std::move(synopsis)) {}

Options& Options::about(std::string_view text) {
  about_ = base::unfolded(text, "  ");
  return *this;
}

Options& Options::add(const std::string& names, std::string placeholder, std::string_view text,
                      std::string often) {
  Option option;
  option.name = names;
  if (names.size() > 2 && names[1] == ',') {
    option.letter = names[0];
    option.name = names.substr(2);
  } else if (names.size() == 1) {
    option.letter = names[0];
  }
  option.placeholder = std::move(placeholder);
  option.text = base::unfolded(text);
  option.often = std::move(often);
  options_.push_back(std::move(option));
  return *this;
}

Options& Options::flag(const std::string& names, std::string_view text) {
  return add(names, "", text, "");
}

Options& Options::value(const std::string& names, std::string placeholder, std::string_view text) {
  return add(names, std::move(placeholder), text, "");
}

Options& Options::repeatable(const std::string& names, std::string placeholder,
                             std::string_view text) {
  return add(names, std::move(placeholder), text, "repeatable");
}

Options& Options::once_per_bus(const std::string& names, std::string placeholder,
                               std::string_view text) {
  return add(names, std::move(placeholder), text, "once for each --bus");
}

Options& Options::open(const std::string& name, std::string placeholder, std::string_view text,
                       std::optional<std::string> alone) {
  Option option;
  option.name = name;
  option.placeholder = std::move(placeholder);
  option.text = text;
  option.often = kOpen;
  option.alone = std::move(alone);
  options_.push_back(std::move(option));
  return *this;
}

Options& Options::example(std::string command_line, std::string_view text) {
  examples_.emplace_back(std::move(command_line), base::unfolded(text));
  return *this;
}

Options& Options::words(std::size_t min, std::size_t max) {
  min_ = min;
  max_ = max;
  return *this;
}

Options& Options::bus_first(std::string_view condition, bool (*is_left_out)(const Arguments&)) {
  has_bus_ = true;
  bus_condition_ = condition;
  is_bus_left_out_ = is_left_out;
  return *this;
}

Options& Options::takes_program() {
  program_words_ = Program::required;
  return *this;
}

Options& Options::may_take_program() {
  program_words_ = Program::optional;
  return *this;
}

bool Options::takes_no_value(const std::string& name) const {
  if (name == "help") return true;
  const auto it = std::find_if(options_.begin(), options_.end(),
                               [&](const Option& option) { return option.name == name; });
  return it != options_.end() && it->placeholder.empty();
}

/// Whether the word behind the option `word` is its value; empty if there is no such option.
std::optional<bool> Options::takes_next_word(const std::string& word) const {
  const bool is_long = word.starts_with("--");
  const std::size_t equals = is_long ? word.find('=') : std::string::npos;
  const std::string name = is_long ? word.substr(2, equals - 2) : word.substr(1, 1);
  if (name == "help" || name == "h") return false;
  const bool has_value_in_it = equals != std::string::npos || (!is_long && word.size() > 2);
  if (name == "log-level" || name == "debug") return !has_value_in_it;
  for (const Option& option : options_) {
    const bool by_letter = !is_long && option.letter != 0 && option.letter == name[0];
    const bool found = option.name == name || by_letter;
    if (found) return !option.placeholder.empty() && !option.alone && !has_value_in_it;
  }
  return std::nullopt;
}

/// Where in `words` the program begins that should have been after "--"; empty if that is unclear.
std::optional<std::size_t> Options::begin_of_program(const std::vector<std::string>& words) const {
  std::size_t of_command = 0;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (!words[i].starts_with('-')) {
      if (of_command++ == max_) return i;
      continue;
    }
    const auto has_value = takes_next_word(words[i]);
    if (!has_value) return std::nullopt;
    if (*has_value) ++i;
  }
  return std::nullopt;
}

std::string Options::program_remedy(const CommandLine& line) const {
  std::string meant = synopsis_;
  if (const auto program = begin_of_program(line.words)) {
    meant.clear();
    for (std::size_t i = 0; i < line.words.size(); ++i) {
      meant += (i == 0 ? "" : i == *program ? " -- " : " ") + base::quote_word(line.words[i]);
    }
  }
  return std::string("the program and its options come after \"--\": ") + program_name() + ' ' +
         command_ + ' ' + meant;
}

/// The words in the form that cxxopts understands without regular expressions: a value directly
/// behind its letter ("-ofile") becomes a separate word.
std::vector<std::string> Options::split_letters(const std::vector<std::string>& words) const {
  std::vector<std::string> split;
  bool is_value = false;
  for (const std::string& word : words) {
    const bool is_group = !is_value && word.size() > 1 && word[0] == '-' && word[1] != '-';
    if (!is_group) {
      is_value = !is_value && word.starts_with("--") && takes_next_word(word).value_or(false);
      split.push_back(word);
      continue;
    }
    std::size_t at = 1;
    while (at < word.size() && !takes_next_word({'-', word[at]}).value_or(false)) ++at;
    split.push_back(word.substr(0, at + 1));
    is_value = at + 1 == word.size();
    if (at + 1 < word.size()) split.push_back(word.substr(at + 1));
  }
  return split;
}

std::string Options::meant_instead(const std::string& name, const CommandLine& line) const {
  const std::string right = base::right_way(command_, name, value_of(dashed(name), line.words));
  if (!right.empty()) return " (" + right + ')';
  if (name.size() != 1) return {};
  // "-ip" has one dash, but a long option has two.
  for (const std::string& word : line.words) {
    if (word.size() < 3 || word[0] != '-' || word[1] != name[0]) continue;
    const std::string whole = word.substr(1, word.find('=') - 1);
    if (std::ranges::find(options_, whole, &Option::name) != options_.end()) {
      return " (in " + word.substr(0, word.find('=')) + "), did you mean --" + whole + '?';
    }
  }
  return {};
}

std::optional<std::string> Options::begun_by(char letter) const {
  std::optional<std::string> shortest;
  for (const Option& option : options_) {
    if (option.name[0] != letter) continue;
    if (!shortest || shortest->starts_with(option.name)) {
      shortest = option.name;
    } else if (!option.name.starts_with(*shortest)) {
      return std::nullopt;
    }
  }
  return shortest;
}

void Options::refuse_unknown(const std::string& name, const CommandLine& line) const {
  std::vector<std::string> known = {"help", "log-level", "debug"};
  for (const Option& option : options_) known.push_back(option.name);
  std::string what = "unknown option " + dashed(shown(name));
  if (const std::string meant = meant_instead(name, line); !meant.empty()) {
    throw UsageError{what + meant};
  }
  if (program_words_ == Program::required && !line.tail) {
    throw UsageError{what + " (" + program_remedy(line) + ')'};
  }
  constexpr std::size_t kMaxName = 64;  // length of a name that may be misspelt
  const auto meant = name.size() == 1          ? begun_by(name[0])
                     : name.size() <= kMaxName ? nearest(name, known)
                                               : std::nullopt;
  if (meant) {
    what += ", did you mean " + dashed(*meant) + '?';
  }
  throw UsageError{what};
}

/// If a variable in a shell is empty, an option gets no value, and the next option would become its
/// value. If a flag has a value, the message of cxxopts would name only the value.
void Options::refuse_odd_values(const std::vector<std::string>& words) const {
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (!word.starts_with('-') || word.size() < 2) continue;
    const std::size_t equals = word.find('=');
    if (word.starts_with("--") && equals != std::string::npos &&
        takes_no_value(word.substr(2, equals - 2))) {
      throw UsageError{word.substr(0, equals) + " takes no value"};
    }
    if (i + 1 == words.size() || !takes_next_word(word).value_or(false)) continue;
    const std::string& next = words[i + 1];
    if (next.starts_with("--") && takes_next_word(next)) {
      throw UsageError{word + " needs a value, and " + next.substr(0, next.find('=')) +
                       " is an option (is a variable of your shell empty?)"};
    }
    ++i;
  }
}

/// No option has a meaning for an empty value. It comes from an empty variable of a shell.
void Options::refuse_empty_values(const Arguments& given) const {
  for (const auto& [name, value] : given.options_) {
    const auto option = std::ranges::find(options_, name, &Option::name);
    if (!value.empty() || option == options_.end() || option->placeholder.empty()) continue;
    throw UsageError{dashed(name) + " \"\" is empty (give " + option->placeholder + ", or leave " +
                     dashed(name) + " out)"};
  }
}

/// Puts the bus of SHMIF_BUS before the words, if they lack a bus. A line that has all its words is
/// left alone.
void Options::take_default_bus(Arguments& given) const {
  if (!has_bus_) return;
  const auto bus = default_bus();
  const bool lacks_one = given.positional_.size() + 1 == min_;
  if (!bus || !(lacks_one || (is_bus_left_out_ != nullptr && is_bus_left_out_(given)))) return;
  given.positional_.insert(given.positional_.begin(), note_default_bus(*bus));
}

std::string Options::too_few_words() const {
  const std::string give = "too few arguments (give " + synopsis_;
  if (!has_bus_) return give + ')';
  return give + ", or set " + kBusVariable + " and leave out the path of the bus)";
}

void Options::refuse_odd_counts(const Arguments& given) const {
  for (const Option& option : options_) {
    // A flag may be repeated, as in -nn.
    const bool once = option.often.empty() && !option.placeholder.empty();
    if (once && given.all(option.name).size() > 1) {
      throw UsageError{dashed(option.name) + " is given more than once"};
    }
  }
  if (given.positional_.size() < min_) {
    throw UsageError{too_few_words()};
  }
  if (given.positional_.size() > max_) {
    const std::string& word = given.positional_[max_];
    std::string remedy =
        base::right_way(command_, tap::IpAddress::parse(word) ? "ADDRESS" : "WORD", shown(word));
    if (remedy.empty())
      remedy = synopsis_.empty() ? "the command takes only options" : "give " + synopsis_;
    throw UsageError{"\"" + word + "\" is one argument too many (" + remedy + ')'};
  }
}

/// Lets cxxopts read the words.
Arguments Options::read_words(const CommandLine& line) const {
  cxxopts::Options parser(program_name() + (' ' + command_));
  auto add = parser.add_options();
  for (const Option& option : options_) {
    std::string names = option.name;
    if (option.letter != 0 && option.name.size() > 1) names.insert(0, {option.letter, ','});
    if (option.placeholder.empty()) {
      add(names, "");
    } else if (option.alone) {
      add(names, "", cxxopts::value<std::string>()->implicit_value(*option.alone));
    } else {
      add(names, "", cxxopts::value<std::string>());
    }
  }
  add("h,help", "");
  add("log-level", "", cxxopts::value<std::string>());
  add("debug", "", cxxopts::value<std::string>());
  const std::vector<std::string> words = split_letters(line.words);
  std::vector<const char*> argv = {program_name()};
  for (const std::string& word : words) argv.push_back(word.c_str());
  Arguments result;
  try {
    const cxxopts::ParseResult parsed = parser.parse(static_cast<int>(argv.size()), argv.data());
    for (const auto& entry : parsed.arguments()) {
      result.options_.emplace_back(entry.key(), entry.value());
    }
    result.positional_ = parsed.unmatched();
  } catch (const cxxopts::exceptions::no_such_option& e) {
    refuse_unknown(quoted_name(e.what()), line);
  } catch (const cxxopts::exceptions::missing_argument& e) {
    throw UsageError{dashed(quoted_name(e.what())) + " needs a value"};
  } catch (const cxxopts::exceptions::option_requires_argument& e) {
    throw UsageError{dashed(quoted_name(e.what())) + " needs a value"};
  } catch (const cxxopts::exceptions::invalid_option_syntax& e) {
    const std::string word = quoted_name(e.what());
    const std::string meant =
        word.size() > 1 ? meant_instead(word.substr(1, 1), line) : std::string();
    if (!meant.empty()) throw UsageError{"unknown option " + word.substr(0, 2) + meant};
    throw UsageError{"\"" + shown(word) +
                     "\" is not an option (write words that begin with '-' after "
                     "\"--\")"};
  } catch (const cxxopts::exceptions::exception& e) {
    throw UsageError{e.what()};
  }
  return result;
}

Arguments Options::parse(const CommandLine& line) const {
  refuse_odd_values(line.words);
  Arguments result = read_words(line);
  if (result.given("help")) {
    const std::string text = line.as_mdoc ? mdoc() : help();
    std::fwrite(text.data(), 1, text.size(), stdout);
    throw Exit{kDone};
  }
  for (const std::string& level : result.all("log-level")) apply_log_level(level);
  for (const std::string& categories : result.all("debug")) apply_debug(categories);
  refuse_empty_values(result);

  if (program_words_ == Program::required || (program_words_ == Program::optional && line.tail)) {
    if (!line.tail || line.tail->empty()) {
      throw UsageError{"no program to run (" + program_remedy(line) + ')'};
    }
    result.program_ = *line.tail;
  } else if (line.tail) {
    result.positional_.insert(result.positional_.end(), line.tail->begin(), line.tail->end());
  }
  take_default_bus(result);
  refuse_odd_counts(result);
  return result;
}

}  // namespace shmif::tools
