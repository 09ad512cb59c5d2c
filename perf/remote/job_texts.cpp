#include "perf/remote/job_texts.hpp"

#include <algorithm>

#include "perf/option/option_table.hpp"
#include "perf/remote/limits.hpp"
#include "perf/report/table.hpp"

namespace shmif::perf {

namespace {

bool is_of_client(const std::string& option) noexcept {
  const OptionRow* const row = find_option(option);
  return row != nullptr && row->on_server == OnServer::client_only;
}

template <class Options>
void set_all(const OptionTexts& texts, const std::string& who, Options& into,
             std::vector<std::string>& problems) {
  for (const auto& [name, value] : texts) {
    if (problems.size() >= kMaxProblems) return;
    const OptionRow* const row = find_option(name);
    if (row == nullptr) {
      problems.push_back(who + unknown_option(printable(name)).message);
    } else if (auto done = set_option(*row, value, into); !done) {
      problems.push_back(who + done.error().message);
    }
  }
}

}  // namespace

JobTexts texts_of(const JobSet& set) {
  JobTexts texts;
  for (const auto& option : set.run.given) {
    if (!is_of_client(option.first)) texts.run.push_back(option);
  }
  for (const JobOptions& job : set.jobs) {
    JobTexts::Job text{job.name, job.where, {}};
    for (const auto& option : job.given) {
      if (option.first != "name") text.options.push_back(option);
    }
    texts.jobs.push_back(std::move(text));
  }
  return texts;
}

JobSet job_set_of(const JobTexts& texts, std::vector<std::string>& problems) {
  JobSet set;
  set_all(texts.run, "", set.run, problems);
  for (const JobTexts::Job& text : texts.jobs) {
    if (!is_job_name(text.name)) {
      problems.push_back('"' + printable(text.name) + "\" is not a job name");
      continue;
    }
    JobOptions job;
    job.name = text.name;
    job.where = printable(text.where);
    set_all(text.options, "job \"" + printable(text.name) + "\": ", job, problems);
    job.name = text.name;  // overrides an option "name"
    set.jobs.push_back(std::move(job));
  }
  if (problems.size() > kMaxProblems) problems.resize(kMaxProblems);
  return set;
}

}  // namespace shmif::perf
