#include "perf/report/report.hpp"

#include <array>
#include <cerrno>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validation_results.hpp>
#include <valijson/validator.hpp>

#include "perf/report/json.hpp"

namespace shmif::perf {

namespace {

using Adapter = valijson::adapters::NlohmannJsonAdapter;

// An hour of 1,000 jobs with an interval per second takes less than a tenth of that.
constexpr std::size_t kMaxBytes = std::size_t{4} << 30U;
// The schema is 7 levels deep. Deeper input would only cause needless recursion.
constexpr int kMaxDepth = 32;

Error refused(const std::string& name, const std::string& why) {
  return {Errc::bad_argument, "cannot read result " + name + ": " + why};
}

const valijson::Schema& schema() {
  static const auto made = [] {
    auto result = std::make_unique<valijson::Schema>();
    const nlohmann::json document = nlohmann::json::parse(schema_text());
    valijson::SchemaParser(valijson::SchemaParser::kDraft7)
        .populateSchema(Adapter(document), *result);
    return result;
  }();
  return *made;
}

/// Why the schema rejects it; empty: it does not. If several forms are allowed, each makes a
/// complaint; the one about the innermost place is the most useful.
std::string complaint(const nlohmann::json& json) {
  valijson::Validator validator(valijson::Validator::kStrongTypes);
  valijson::ValidationResults results;
  if (validator.validate(schema(), Adapter(json), &results)) return {};
  valijson::ValidationResults::Error innermost;
  valijson::ValidationResults::Error error;
  while (results.popError(error)) {
    if (error.context.size() > innermost.context.size()) innermost = error;
  }
  std::string where;
  for (const std::string& part : innermost.context) where += part;
  return "it does not match the schema: " + where + ": " + innermost.description;
}

/// The program that wrote the file, for messages; empty if the file does not tell.
std::string writer_of(const nlohmann::json& json) {
  const auto version = json.find("shmifperf_version");
  if (version == json.end() || !version->is_string()) return {};
  return " of shmifperf " + version->get<std::string>();
}

/// Result: false if reading failed before the end; errno tells why.
bool read_all(std::istream& from, std::string& into) {
  std::array<char, 65536> piece{};
  while (from.read(piece.data(), piece.size()) || from.gcount() > 0) {
    into.append(piece.data(), static_cast<std::size_t>(from.gcount()));
    if (into.size() > kMaxBytes) break;  // parse() refuses it
  }
  return !from.bad();
}

}  // namespace

Report::Report(std::shared_ptr<const nlohmann::json> json, std::string name)
    : json_(std::move(json)), name_(std::move(name)) {}

Result<Report> Report::parse(std::string_view text, const std::string& name) {
  if (text.size() > kMaxBytes) return refused(name, "it is larger than any result (4 GiB)");
  bool deep = false;
  const auto limit = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    deep = deep || depth > kMaxDepth;
    return !deep;  // false: drops everything below
  };
  auto json = std::make_shared<nlohmann::json>();
  try {
    *json = nlohmann::json::parse(text, limit);
  } catch (const nlohmann::json::exception& e) {
    return refused(name,
                   std::string("it is not JSON (") + e.what() +
                       "); 'shmifperf run --output-format=json --output=FILE' writes a result that "
                       "can be read");
  }
  if (deep) return refused(name, "it is nested deeper than any result");
  if (!json->is_object()) return refused(name, "it is JSON, but not a result of shmifperf run");
  const auto format = json->find("format_version");
  if (format == json->end()) {
    return refused(name, "it has no format_version, so it is not a result of shmifperf run");
  }
  if (*format != kReportFormat) {
    return refused(name, "it has format_version " + format->dump(-1, ' ', true) + writer_of(*json) +
                             ", but this shmifperf reads " + std::to_string(kReportFormat) +
                             "; use the shmifperf that wrote it");
  }
  const std::string wrong = complaint(*json);
  if (!wrong.empty()) return refused(name, wrong);
  return Report(std::move(json), name);
}

Result<Report> Report::load(const std::string& path) {
  std::string text;
  if (path == "-") {
    const bool read = read_all(std::cin, text);
    return read ? parse(text, "on standard input")
                : Error::from_errno(EIO, "cannot read a result from standard input");
  }
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file || !read_all(file, text)) {
    return Error::from_errno(errno == 0 ? EIO : errno, "cannot read result " + path);
  }
  return parse(text, path);
}

}  // namespace shmif::perf
