#include <algorithm>
#include <cstdio>
#include <set>

#include "base/nearest.hpp"
#include "perf/option/job_file.hpp"
#include "perf/option/option_table.hpp"
#include "tools/common/options.hpp"
#include "tools/common/options_help.hpp"
#include "tools/shmifperf/commands.hpp"

namespace shmif::tools {

namespace {

using perf::CategoryInfo;
using perf::OptionRow;

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

/// "0 to 100 (per cent); default: 50" or "0 to 1h; default unit: seconds; default: 1s": range, unit
/// and default value.
std::string values_of(const OptionRow& row) {
  const bool has_units = row.placeholder.starts_with("TIME") ||
                         row.placeholder.starts_with("RATE") || row.placeholder.starts_with("SIZE");
  std::string text = row.range;
  if (!row.unit.empty()) {
    text += has_units ? "; default unit: " + row.unit : " (" + row.unit + ')';
  }
  return text + "; default: " + row.standard;
}

std::string heading(const OptionRow& row) {
  return row.flag ? row.name + "[=" + row.placeholder + ']' : row.name + '=' + row.placeholder;
}

std::string described(const OptionRow& row) {
  std::string text = "  " + heading(row) + '\n';
  text += "      " + wrapped(row.text, 6, 6);
  text += "      " + wrapped("Values: " + values_of(row), 6, 6);
  for (const std::string& alias : row.aliases) text += "      Other name: " + alias + '\n';
  return text;
}

std::string described(const CategoryInfo& info) {
  std::string text = std::string(info.title) + " (" + info.name + ")\n\n";
  for (const std::string& line : lines_of(info.intro)) {
    text += line.starts_with("  ") ? line + '\n' : wrapped(line, 0, 0);
  }
  for (const OptionRow& row : perf::option_table()) {
    if (row.category == info.category) text += '\n' + described(row);
  }
  return text;
}

std::string as_mdoc(const OptionRow& row) {
  const std::set<std::string> names = stand_ins(row.placeholder);
  std::string text = ".It Fl Fl " + row.name;
  text += row.flag ? " Ns Op Ns = Ns Ar " : " Ns = Ns Ar ";
  text += mdoc_argument(row.placeholder) + '\n' + mdoc_text(row.text, names);
  text += ".br\n" + mdoc_text("Values: " + values_of(row) + '.', names);
  for (const std::string& alias : row.aliases) text += ".br\nOther name: " + alias + ".\n";
  return text;
}

std::string as_mdoc(const CategoryInfo& info) {
  std::string text = ".Ss " + std::string(info.title) + '\n';
  bool literal = false;
  for (const std::string& line : lines_of(info.intro)) {
    const bool table = line.starts_with("  ");
    if (table != literal) text += table ? ".Bd -literal\n" : ".Ed\n.Pp\n";
    literal = table;
    text += table ? mdoc_literal(line.substr(2)) + '\n' : mdoc_text(line);
  }
  if (literal) text += ".Ed\n";
  text += ".Bl -tag -width Ds\n";
  for (const OptionRow& row : perf::option_table()) {
    if (row.category == info.category) text += as_mdoc(row);
  }
  return text + ".El\n";
}

std::string everything_as_mdoc() {
  std::string text = ".Sh JOB OPTIONS\n";
  for (const CategoryInfo& info : perf::option_categories()) text += as_mdoc(info);
  return text + values_mdoc();
}

std::string everything() {
  std::string text;
  for (const CategoryInfo& info : perf::option_categories()) {
    if (!text.empty()) text += '\n';
    text += described(info);
  }
  return text + "\nValues (values)\n\n" + values_help();
}

[[noreturn]] void refuse_unknown(const std::string& name) {
  std::vector<std::string> known{"values"};
  for (const CategoryInfo& info : perf::option_categories()) known.emplace_back(info.name);
  for (const OptionRow& row : perf::option_table()) {
    known.push_back(row.name);
    known.insert(known.end(), row.aliases.begin(), row.aliases.end());
  }
  std::string what = "there is no option or category \"" + name + '"';
  if (const auto meant = nearest(name, known)) what += ", did you mean \"" + *meant + "\"?";
  throw UsageError{what};
}

/// Finds an option by any of its names, or a category. If a name is both, such as engine, shows
/// both.
std::string named(const std::string& name) {
  if (name == "values") return values_help();
  const auto& categories = perf::option_categories();
  const auto it = std::find_if(categories.begin(), categories.end(),
                               [&](const CategoryInfo& info) { return info.name == name; });
  if (it != categories.end()) return described(*it);
  const OptionRow* const row = perf::find_option(name);
  if (row == nullptr) refuse_unknown(name);
  return described(*row);
}

}  // namespace

std::optional<std::string> help_asked_for(const std::vector<std::string>& words) {
  for (const std::string& word : words) {
    if (word == "--cmdhelp" || word == "--cmdhelp=all") return everything();
    for (const char* option : {"--help=", "--cmdhelp="}) {
      if (word.starts_with(option)) return named(word.substr(word.find('=') + 1));
    }
  }
  return std::nullopt;
}

namespace {

int run_options(const CommandLine& line) {
  const Arguments args =
      Options("options", "[NAME|CATEGORY]")
          .about(
              R"(Explains the options of jobs and runs: all of them, one, or those of a category
                 (job, traffic, length, frames, engine, verification, measurement, records,
                 place, run), or how values are written (values). Options are written NAME=VALUE
                 in a job file and --NAME=VALUE on the command line.)")
          .words(0, 1)
          .value("profile", "NAME", "print the job file of a profile of 'shmifperf run'")
          .flag("profiles", "list the profiles")
          .flag("man", "print all options as a section of a manual page, in mdoc")
          .example("shmifperf options rate", "what an option means")
          .example("shmifperf options length", "what ends a job, and how limits combine")
          .example("shmifperf options --profile voip >voip.job", "a job file to begin with")
          .parse(line);
  const bool named_one = !args.positional().empty();
  const int kinds = int{args.given("profile")} + int{args.flag("profiles")} +
                    int{args.flag("man")} + int{named_one};
  if (kinds > 1) throw UsageError{"give only one of a name, --profile, --profiles and --man"};
  if (const auto name = args.text("profile")) {
    const perf::Profile* const profile = perf::find_profile(*name);
    if (profile == nullptr) throw UsageError{perf::unknown_profile(*name)};
    print(profile->text);
  } else if (args.flag("profiles")) {
    for (const perf::Profile& profile : perf::profiles()) {
      std::printf("%-8s  %s\n", profile.name, profile.summary);
    }
  } else {
    print(named_one          ? named(args.positional()[0])
          : args.flag("man") ? everything_as_mdoc()
                             : everything());
  }
  return kDone;
}

}  // namespace

const Command kOptionsCommand{"options", "explain the options of jobs and runs", run_options};

}  // namespace shmif::tools
