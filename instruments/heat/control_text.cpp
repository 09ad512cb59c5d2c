#include "instruments/heat/control_text.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/quantity.hpp"
#include "base/text.hpp"

namespace shmif::perf {
namespace {

constexpr std::array<std::pair<HeatVerb, const char*>, 6> kVerbs{{{HeatVerb::status, "status"},
                                                                  {HeatVerb::show, "show"},
                                                                  {HeatVerb::set, "set"},
                                                                  {HeatVerb::on, "on"},
                                                                  {HeatVerb::off, "off"},
                                                                  {HeatVerb::forget, "forget"}}};
constexpr std::array<std::pair<HeatBackend, const char*>, 5> kBackends{
    {{HeatBackend::automatic, "auto"},
     {HeatBackend::client, "client"},
     {HeatBackend::written, "written"},
     {HeatBackend::clear_refs, "clear_refs"},
     {HeatBackend::damon, "damon"}}};
constexpr std::size_t kMaxColumns = 1000;

Error malformed(std::string_view what) {
  return {Errc::bad_argument,
          "the monitor of access heat cannot read \"" + base::printable(what) + '"'};
}

/// Removes the text up to the next newline, and the newline. Result: the text without it.
std::string_view take_line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

/// Sets `member`. A member that is already set is an error.
template <class T>
Result<void> set_once(std::optional<T>& member, Result<T> value, std::string_view line) {
  if (!value) return std::move(value).error();
  if (member) return malformed(line);
  member = *std::move(value);
  return {};
}

/// Reads "fvaddr 4096-8192".
Result<DamonMemory> read_damon(std::string_view value) {
  const std::size_t space = std::min(value.find(' '), value.size());
  const std::string word(value.substr(0, space));
  const std::string ranges(value.substr(std::min(space + 1, value.size())));
  return read_damon_memory(&word, space < value.size() ? &ranges : nullptr);
}

Result<std::size_t> read_columns(std::string_view value) {
  const auto number = base::read_digits(value);
  if (!number || *number > kMaxColumns) return malformed(value);
  return static_cast<std::size_t>(*number);
}

Result<void> read_setting(HeatRequest& request, std::string_view line) {
  const std::size_t space = std::min(line.find(' '), line.size());
  const std::string_view name = line.substr(0, space);
  const std::string_view value = line.substr(std::min(space + 1, line.size()));
  if (name == "attrs") return set_once(request.attributes, read_attributes(value), line);
  if (name == "targets") return set_once(request.targets, read_pids(value), line);
  if (name == "backend") return set_once(request.backend, read_heat_backend(value), line);
  if (name == "damon") return set_once(request.damon, read_damon(value), line);
  if (name == "clients") return set_once(request.clients, Result(std::string(value)), line);
  if (name == "json" && value.empty()) {
    request.as_json = true;
    return {};
  }
  if (name == "colour" && value.empty()) {
    request.in_colour = true;
    return {};
  }
  if (name == "columns") {
    const auto columns = read_columns(value);
    if (!columns) return columns.error();
    request.columns = *columns;
    return {};
  }
  return malformed(line);
}

/// The error codes that have a word, so that both sides see the same code.
struct CodeWord {
  std::error_code code;
  std::string_view word;
};
const std::array<CodeWord, 6>& code_words() {
  static const std::array<CodeWord, 6> words{
      {{make_error_code(Errc::busy), "busy"},
       {make_error_code(Errc::bad_argument), "bad_argument"},
       {make_error_code(Errc::not_supported), "not_supported"},
       {std::make_error_code(std::errc::no_such_process), "no_such_process"},
       {std::make_error_code(std::errc::operation_not_permitted), "not_permitted"},
       {std::make_error_code(std::errc::io_error), "failed"}}};
  return words;
}

}  // namespace

const char* to_word(HeatVerb verb) noexcept {
  return std::ranges::find(kVerbs, verb, &std::pair<HeatVerb, const char*>::first)->second;
}
const char* to_word(HeatBackend backend) noexcept {
  return std::ranges::find(kBackends, backend, &std::pair<HeatBackend, const char*>::first)->second;
}

Result<HeatBackend> read_heat_backend(std::string_view word) {
  std::string all;
  for (const auto& [each, name] : kBackends) {
    if (word == name) return each;
    all += (all.empty() ? "" : ", ") + std::string(name);
  }
  return Error(Errc::bad_argument,
               '"' + base::printable(word) + "\" is not a backend (one of " + all + ')');
}

Result<HeatRequest> read_heat_request(std::string_view text) {
  if (text.size() > kMaxRequestBytes || !text.ends_with("\n\n"))
    return malformed(text.substr(0, 20));
  text.remove_suffix(1);
  HeatRequest request;
  const std::string_view verb = take_line(text);
  const auto found =
      std::ranges::find_if(kVerbs, [&](const auto& row) { return row.second == verb; });
  if (found == kVerbs.end()) return malformed(verb);
  request.verb = found->first;
  while (!text.empty()) {
    if (auto read = read_setting(request, take_line(text)); !read) return std::move(read).error();
  }
  const bool takes_settings = request.verb == HeatVerb::set || request.verb == HeatVerb::on;
  if (request.has_settings() && !takes_settings)
    return malformed("settings for " + std::string(verb));
  return request;
}

std::string heat_request_text(const HeatRequest& request) {
  std::string text = to_word(request.verb);
  if (request.attributes) text += "\nattrs " + attributes_text(*request.attributes);
  if (request.targets) {
    std::string numbers;
    for (const pid_t pid : *request.targets) {
      numbers += (numbers.empty() ? "" : ",") + std::to_string(pid);
    }
    text += "\ntargets " + numbers;
  }
  if (request.backend) text += std::string("\nbackend ") + to_word(*request.backend);
  if (request.damon) {
    text += std::string("\ndamon ") + to_word(request.damon->space);
    if (!request.damon->ranges.empty()) text += ' ' + address_ranges_text(request.damon->ranges);
  }
  if (request.clients) text += "\nclients " + *request.clients;
  if (request.as_json) text += "\njson";
  // Sent only if colours are wanted, because a monitor of an earlier version does not know the
  // word.
  if (request.in_colour) text += "\ncolour";
  return text + "\ncolumns " + std::to_string(request.columns) + "\n\n";
}

std::string heat_answer_text(const Result<std::string>& answer) {
  if (answer) return "ok " + std::to_string(answer->size()) + '\n' + *answer;
  std::string_view word = code_words().back().word;
  for (const CodeWord& each : code_words()) {
    if (each.code == answer.error().code) word = each.word;
  }
  const std::string& message = answer.error().message;
  return std::string(word) + ' ' + std::to_string(message.size()) + '\n' + message;
}

Result<std::string> read_heat_answer(std::string_view text) {
  const Error unknown(Errc::not_supported,
                      "the monitor of access heat answers in an unknown way (other version?)");
  const std::string_view head = take_line(text);
  const std::size_t space = head.find(' ');
  if (space == std::string_view::npos) return unknown;
  const auto length = base::read_digits(head.substr(space + 1));
  if (!length || *length != text.size()) return unknown;
  const std::string_view word = head.substr(0, space);
  if (word == "ok") return std::string(text);
  for (const CodeWord& each : code_words()) {
    if (each.word == word) return Error(each.code, std::string(text));
  }
  return unknown;
}

}  // namespace shmif::perf
