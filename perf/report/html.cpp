#include "perf/report/report.hpp"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/text.hpp"
#include "perf/report/fields.hpp"

namespace shmif::perf {

namespace {

/// JSON that is safe in a page: "<" could end the script around it or begin a comment.
std::string json_for_page(const nlohmann::json& json) {
  std::string out;
  for (const char c : json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)) {
    if (c == '<') {
      out += "\\u003c";
    } else {
      out += c;
    }
  }
  return out;
}

std::string text_for_page(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      default: out += c;
    }
  }
  return out;
}

/// Replaces `mark`, which occurs once in `page`, by `text`. Does not search the inserted text
/// again.
bool fill(std::string& page, std::string_view mark, const std::string& text) {
  const auto at = page.find(mark);
  if (at == std::string::npos) return false;
  page.replace(at, mark.size(), text);
  return true;
}

/// The page with one result or several, as JSON and as text. `of` names them in messages.
Result<std::string> page_with(const std::string& of, const std::string& json,
                              const std::string& text) {
  std::string page;
  for (const std::string_view piece : page_pieces()) page += piece;
  if (page.empty()) {
    return Error(Errc::not_supported,
                 "cannot make a page of " + of +
                     ": this shmifperf was built without HTML reports (install libjs-chart.js and "
                     "configure with -DSHMIF_REPORT_HTML=ON, or use --text)");
  }
  // The later mark first, because the text for the earlier one may contain anything.
  const bool whole = fill(page, "@RESULT@", json) &&
                     fill(page, "@COLUMNS@", json_for_page(page_columns())) &&
                     fill(page, "@TEXT@", text_for_page(text));
  if (!whole) return Error(Errc::not_supported, "the report page has no place for the result");
  return page;
}

}  // namespace

Result<std::string> to_html(const Report& report) {
  return page_with(report.name(), json_for_page(report.json()), to_text(report));
}

std::vector<std::string> names_on_page(const std::vector<Report>& reports) {
  std::vector<std::string> names;
  const auto file_of = [](const Report& report) {
    return std::filesystem::path(report.name()).filename().string();
  };
  for (const Report& report : reports) {
    const std::string file = file_of(report);
    const auto same = std::ranges::count(reports, file, file_of);
    names.push_back(base::printable(same > 1 || file.empty() ? report.name() : file));
  }
  return names;
}

Result<std::string> to_html(const std::vector<Report>& reports) {
  if (reports.size() > kMaxOverlaid) {
    return Error(Errc::bad_argument, "cannot make one page of " + std::to_string(reports.size()) +
                                         " results: it has colours for at most " +
                                         std::to_string(kMaxOverlaid));
  }
  const std::vector<std::string> names = names_on_page(reports);
  std::string json = "{\"overlaid\":[";
  std::string text;
  std::string of;
  for (std::size_t i = 0; i < reports.size(); ++i) {
    json += (i == 0 ? "{\"name\":" : ",{\"name\":") + json_for_page(names[i]) +
            ",\"result\":" + json_for_page(reports[i].json()) + '}';
    text += names[i] + '\n' + to_text(reports[i]) + '\n';
    of += (i == 0 ? "" : ", ") + names[i];
  }
  return page_with(of, json + "]}", text);
}

}  // namespace shmif::perf
