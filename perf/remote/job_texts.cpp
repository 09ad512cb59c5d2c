#include "perf/remote/job_texts.hpp"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "perf/frame/header_template.hpp"
#include "perf/option/option_table.hpp"
#include "perf/remote/limits.hpp"
#include "perf/report/table.hpp"

namespace shmif::perf {

namespace {

bool is_of_client(const std::string& option) noexcept {
  const OptionRow* const row = find_option(option);
  return row != nullptr && row->on_server == OnServer::client_only;
}

/// The value of `headers` with the path of its capture as the server opens it.
Result<std::string> allowed_headers(const std::string& value, const ServerLimits& limits) {
  const std::string_view capture = HeaderTemplate::capture_in(value);
  if (capture.empty()) return value;
  auto path = allowed_path(limits, std::string(capture));
  if (!path) return Error{path.error().code, "headers: " + path.error().message};
  // Opening a FIFO would wait until a writer opens it.
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(*path, ignored)) {
    return Error{Errc::bad_argument, "headers: there is no file \"" + *path + '"'};
  }
  std::string changed = value;
  changed.replace(static_cast<std::size_t>(capture.data() - value.data()), capture.size(), *path);
  if (HeaderTemplate::capture_in(changed) != *path) {
    return Error{Errc::bad_argument,
                 "headers: the path \"" + *path + "\" has characters that end a path in headers"};
  }
  return changed;
}

/// The value as the server reads it.
Result<std::string> allowed_value(const OptionRow& row, const std::string& value,
                                  const ServerLimits& limits) {
  return row.on_server == OnServer::names_capture ? allowed_headers(value, limits) : value;
}

template <class Options>
void set_all(const OptionTexts& texts, const ServerLimits& limits, const std::string& who,
             Options& into, std::vector<std::string>& problems) {
  for (const auto& [name, value] : texts) {
    if (problems.size() >= kMaxProblems) return;
    const OptionRow* const row = find_option(name);
    if (row == nullptr) {
      problems.push_back(who + unknown_option(printable(name)).message);
      continue;
    }
    const auto allowed = allowed_value(*row, value, limits);
    const auto done = allowed ? set_option(*row, *allowed, into) : Result<void>(allowed.error());
    if (!done) problems.push_back(who + done.error().message);
  }
}

}  // namespace

JobTexts texts_of(const JobSet& set) {
  JobTexts texts;
  for (const auto& option : set.run.given) {
    if (!is_of_client(option.first)) texts.run.push_back(option);
  }
  for (const JobOptions& job : set.jobs) {
    JobTexts::Job text{.name = job.name, .where = job.where, .options = {}};
    for (auto it = job.given.begin(); it != job.given.end(); ++it) {
      const OptionRow* const row = find_option(it->first);
      // The section of the job replaced the value of [global].
      const bool replaced = row != nullptr && row->once &&
                            std::any_of(it + 1, job.given.end(), [&](const auto& later) {
                              return later.first == it->first;
                            });
      const bool is_sent = it->first != "name" && !replaced && !is_of_client(it->first);
      if (is_sent) text.options.push_back(*it);
    }
    texts.jobs.push_back(std::move(text));
  }
  return texts;
}

JobSet job_set_of(const JobTexts& texts, const ServerLimits& limits,
                  std::vector<std::string>& problems) {
  JobSet set;
  // Each text is one job or more, and reading its captures takes time.
  const std::string too_many = too_many_jobs(limits, texts.jobs.size(), 0);
  if (!too_many.empty()) {
    problems.push_back(too_many);
    return set;
  }
  set_all(texts.run, limits, "", set.run, problems);
  for (const JobTexts::Job& text : texts.jobs) {
    if (!is_job_name(text.name)) {
      problems.push_back('"' + printable(text.name) + "\" is not a job name");
      continue;
    }
    JobOptions job;
    job.name = text.name;
    job.where = printable(text.where);
    set_all(text.options, limits, "job \"" + printable(text.name) + "\": ", job, problems);
    job.name = text.name;  // overrides an option "name"
    job.clock_shift_ns = text.clock_shift_ns;
    job.other_end_elsewhere = text.other_end_elsewhere;
    job.verify_state = text.state;
    set.jobs.push_back(std::move(job));
  }
  if (problems.size() > kMaxProblems) problems.resize(kMaxProblems);
  return set;
}

}  // namespace shmif::perf
