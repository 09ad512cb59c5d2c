#include "tools/common/json.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/result.hpp"
#include "tools/common/output.hpp"

namespace shmif::tools {

namespace {

constexpr const char* kReasons = "why_null";

/// In each object, the reasons stand behind the figures.
void put_reasons_last(Json& json) {
  if (!json.is_structured()) return;
  for (Json& each : json) put_reasons_last(each);
  if (!json.is_object() || !json.contains(kReasons)) return;
  Json reasons = std::move(json[kReasons]);
  json.erase(kReasons);
  json[kReasons] = std::move(reasons);
}

}  // namespace

std::string json_text(Json object) {
  put_reasons_last(object);
  return object.dump(2, ' ', true, Json::error_handler_t::replace) + '\n';
}

std::string json_line(const Json& json) {
  return json.dump(-1, ' ', true, Json::error_handler_t::replace) + '\n';
}

void set_null(Json& object, const char* name, const char* why) {
  object[name] = nullptr;
  object[kReasons][name] = why;
}

void set_figure(Json& object, const char* name, std::optional<std::uint64_t> figure,
                const char* why_null) {
  if (figure) {
    object[name] = *figure;
  } else {
    set_null(object, name, why_null);
  }
}

JsonOutput::JsonOutput(bool wanted) {
  if (!wanted) return;
  std::fflush(stdout);
  output_.reset(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  if (!output_) throw Exception(Error::from_errno(errno, "cannot duplicate standard output"));
  ::dup2(STDERR_FILENO, STDOUT_FILENO);
}

JsonOutput::~JsonOutput() {
  if (!is_wanted()) return;
  std::fflush(stdout);
  ::dup2(output_.get(), STDOUT_FILENO);
}

void JsonOutput::print(const std::string& text) const {
  std::fflush(stdout);
  ::dup2(output_.get(), STDOUT_FILENO);
  std::fwrite(text.data(), 1, text.size(), stdout);
  flush_output();
  ::dup2(STDERR_FILENO, STDOUT_FILENO);
}

}  // namespace shmif::tools
