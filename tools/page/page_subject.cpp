#include "tools/page/page_subject.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <optional>
#include <thread>
#include <utility>

#include "base/printable.hpp"
#include "base/result.hpp"
#include "shmif/bus.hpp"
#include "tools/lab/lab.hpp"
#include "tools/lab/state.hpp"
#include "tools/show/describe.hpp"

namespace shmif::tools {

namespace {

std::string last_part(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

/// Whether each bus that a host is on was made.
bool has_all_buses(const LabState& state) {
  return std::ranges::all_of(state.hosts, [&](const LabStateHost& host) {
    return std::ranges::all_of(host.buses, [&](const std::string& name) {
      return std::ranges::find(state.buses, name, &LabStateBus::name) != state.buses.end();
    });
  });
}

/// The state of a lab that may be just starting: it makes its buses one after another. Blocks:
/// until all are there, at most for a few seconds.
LabState with_all_buses(const FoundLab& found) {
  constexpr std::chrono::milliseconds kBetweenLooks{20};
  constexpr int kMaxLooksAtStart = 250;
  LabState state = found.state;
  for (int look = 0; look < kMaxLooksAtStart && !state.ready && !has_all_buses(state); ++look) {
    std::this_thread::sleep_for(kBetweenLooks);
    std::optional<LabState> now = read_lab_state(found.folder, state.name);
    if (now) state = *std::move(now);
  }
  return state;
}

/// The lab that `word` names, by its name or its file. Throws Exception if that is a lab which does
/// not run. Result: empty if it names none.
std::optional<PageSubject> lab_named(const std::string& word) {
  const bool is_file = word.ends_with(".toml");
  const std::optional<FoundLab> found =
      is_file ? find_lab_of_file(word, name_of_lab_file(word)).value() : find_lab(word);
  if (!found || !found->alive) {
    if (!found && !is_file && word.find('/') != std::string::npos) return std::nullopt;
    const bool is_there = is_file && std::filesystem::exists(word);
    const std::error_code why = std::make_error_code(std::errc::no_such_file_or_directory);
    if (found || is_there) {
      const std::string file = is_there ? word : found->state.file;
      throw Exception(Error(why, "cannot show the lab " + word + ": it is not up (" +
                                     base::quote_command("shmifctl up", file) + " starts it)"));
    }
    throw Exception(Error(why, "cannot show " + word +
                                   ": there is no such file, and no lab of that name is up "
                                   "('shmifctl ls' lists labs and buses)"));
  }
  if (is_file && !is_of_file(found->state, word)) {
    const std::string& name = found->state.name;
    throw Exception(Error(std::make_error_code(std::errc::no_such_file_or_directory),
                          "cannot show the lab of " + word + ": the lab " + name +
                              " that is up is of " + found->state.file + " (" +
                              base::quote_command("shmifctl serve", name) + " shows that one)"));
  }
  const LabState state = with_all_buses(*found);
  PageSubject subject{
      .name = state.name, .buses = {}, .lab = ServedLab{state.name, found->folder, state.file}};
  subject.buses.reserve(state.buses.size());
  for (const LabStateBus& bus : state.buses) subject.buses.push_back({bus.name, bus.path});
  return subject;
}

}  // namespace

PageSubject subject_of(const std::vector<std::string>& words) {
  if (words.size() == 1 && !Bus::open(words.front())) {
    if (std::optional<PageSubject> lab = lab_named(words.front())) return *std::move(lab);
  }
  PageSubject subject;
  subject.buses.reserve(words.size());
  for (const std::string& path : words) {
    static_cast<void>(look_at(path));
    const auto same = std::ranges::count(words, last_part(path), last_part);
    subject.buses.push_back({same > 1 ? path : last_part(path), path});
    subject.name += (subject.name.empty() ? "" : ", ") + subject.buses.back().name;
  }
  return subject;
}

}  // namespace shmif::tools
