#include "perf/report/html.hpp"

#include <nlohmann/json.hpp>

#include "perf/report/page.hpp"
#include "perf/report/text.hpp"

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

}  // namespace

Result<std::string> to_html(const Report& report) {
  std::string page;
  for (const std::string_view piece : page_pieces()) page += piece;
  if (page.empty()) {
    return Error(Errc::not_supported,
                 "cannot make a page of " + report.name() +
                     ": this shmifperf was built without HTML reports (install npm and configure "
                     "with -DSHMIF_REPORT_HTML=ON, or use --text)");
  }
  // The later mark first, because the text for the earlier one may contain anything.
  const bool whole = fill(page, "@RESULT@", json_for_page(report.json())) &&
                     fill(page, "@TEXT@", text_for_page(to_text(report)));
  if (!whole) return Error(Errc::not_supported, "the report page has no place for the result");
  return page;
}

}  // namespace shmif::perf
