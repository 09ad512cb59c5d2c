// The rows of figures: their sums, and that the schema and the page about streams say the same.

#include <algorithm>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "perf/report/report.hpp"
#include "perf/worker/run_memory.hpp"
#include "tests/perf/report/distinct_sample.hpp"
#include "tests/perf/report/figures.hpp"
#include "tests/support/paths.hpp"

namespace shmif::perf::figure_rows {
namespace {

using Json = nlohmann::json;
using Keys = std::set<std::string>;

std::string text_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

/// The type of a figure in the schema.
template <class T>
Json type_of(const Figure<T>& row) {
  const auto name = [](const auto& value) {
    using V = std::remove_cvref_t<decltype(value)>;
    if constexpr (std::is_same_v<V, bool>) return "boolean";
    if constexpr (std::is_same_v<V, std::string>) return "string";
    if constexpr (std::is_same_v<V, std::uint64_t> ||
                  std::is_same_v<V, std::optional<std::uint64_t>>) {
      return "integer";
    }
    return "number";
  };
  const T of{};
  return std::visit(
      [&](auto from) -> Json {
        if constexpr (std::is_member_object_pointer_v<decltype(from)>) {
          using V = std::remove_cvref_t<decltype(of.*from)>;
          const std::string type = name(of.*from);
          // An integer or a boolean that has no room for a missing value is always known, unless it
          // is not known of a program.
          const bool known = std::is_same_v<V, std::uint64_t> || std::is_same_v<V, bool>;
          const bool of_traffic = row.is_in(kBothWays) && !row.is_in(kOfProgram);
          return known && !of_traffic ? Json(type) : Json({type, nullptr});
        } else {
          return Json({"number", nullptr});
        }
      },
      row.from);
}

/// Expects that the figures of T in `places` are in a definition of the schema as their rows say.
/// Takes their keys out of `rest`, which begins as all keys of the definition.
template <class T>
void expect_rows(const Json& definition, Places places, Keys& rest) {
  const Json& properties = definition.at("properties");
  for (const Figure<T>& row : kRowsOf<T>) {
    if (!row.is_in(places)) continue;
    const auto found = properties.find(row.key);
    ASSERT_NE(found, properties.end()) << row.key << " is missing";
    rest.erase(row.key);
    Json type = type_of(row);
    if (type.is_array()) type[1] = "null";
    EXPECT_EQ(found->at("type"), type) << row.key;
    const std::string description = found->value("description", "");
    const std::string wanted = row.description == nullptr ? "" : row.description;
    EXPECT_TRUE(wanted.empty() ? description.empty() : description.starts_with(wanted))
        << row.key << ": the schema says \"" << description << "\", the row \"" << wanted << '"';
    const Json& required = definition.at("required");
    // Results of older versions do not have these.
    constexpr std::array<std::string_view, 3> kNewer{"under_way_frames", "limit_fps",
                                                     "limit_share"};
    if (std::ranges::find(kNewer, row.key) != kNewer.end()) continue;
    EXPECT_NE(std::find(required.begin(), required.end(), row.key), required.end()) << row.key;
  }
}

TEST(FigureRows, AreInTheSchemaWithTheirTypeAndDescription) {
  const Json definitions =
      Json::parse(text_of(shmif::test::in_source("docs/shmifperf.schema.json"))).at("definitions");
  const auto expect = [&](const char* name, const auto& rows, const Keys& others) {
    SCOPED_TRACE(name);
    const Json& definition = definitions.at(name);
    Keys rest;
    for (const auto& [key, property] : definition.at("properties").items()) rest.insert(key);
    rows(definition, rest);
    EXPECT_EQ(rest, others);
  };
  const auto figures = []<class T>(T, Places places) {
    return
        [places](const Json& definition, Keys& rest) { expect_rows<T>(definition, places, rest); };
  };
  expect("sent", figures(TrafficResult{}, kOfSender), {});
  expect("received", figures(TrafficResult{}, kOfReceiver), {});
  expect("fates", figures(FlowResult{}, kInResult), {});
  expect("loss", figures(FlowResult{}, kInResult), {"flows"});
  expect("flow", figures(FlowResult{}, kInResult), {"flow", "kind", "from", "to", "gaps"});
  expect("cpu", figures(CpuResult{}, kInResult), {});
  expect("link", figures(FaultsMade{}, kInResult),
         {"hostname", "wire", "jobname", "direction", "options"});
  expect("tcp", figures(TcpResult{}, kInResult), {});
  expect("search", figures(SearchResult{}, kInResult),
         {"hostname", "jobname", "kind", "frame_bytes", "shown_trial", "trials"});
  expect("class_errors", figures(ClassErrors{}, kInResult), {});
  expect("tcp_sample", figures(TcpSample{}, kInResult), {});
  expect("interval", figures(IntervalResult{}, kInResult), {"tcp"});
  expect("counts",
         [](const Json& definition, Keys& rest) {
           expect_rows<CountsResult>(definition, kInResult, rest);
           expect_rows<WireCounters>(definition, kInResult, rest);
         },
         {"wire_lost_frames_reason", "agree", "agree_reason"});
}

template <class T>
Keys keys_in(Places place) {
  Keys keys;
  for (const Figure<T>& row : kRowsOf<T>) {
    if (row.is_in(place)) keys.insert(row.key);
  }
  return keys;
}

/// All that stands in backquotes in a text.
Keys quoted_in(const std::string& text) {
  Keys words;
  const std::regex quoted("`([a-z0-9_]+)(\\[\\])?`");
  for (std::sregex_iterator at(text.begin(), text.end(), quoted), end; at != end; ++at) {
    words.insert((*at)[1]);
  }
  return words;
}

/// The items of a list, by what is bold at the beginning of each.
std::map<std::string, std::string> items_of(const std::string& text) {
  std::map<std::string, std::string> items;
  const std::regex item(R"(- \*\*([^*]+)\*\*([^]*?)(?=\n- \*\*|\n\n|$))");
  for (std::sregex_iterator at(text.begin(), text.end(), item), end; at != end; ++at) {
    items[(*at)[1]] = (*at)[2];
  }
  return items;
}

TEST(FigureRows, OfStreamsAreEachOnThePageAboutThem) {
  const std::string page = text_of(shmif::test::in_source("docs/shmifperf-streams.md"));
  const auto begin = page.find("## `--json-stream`");
  const auto middle = page.find("The keys of `interval`:", begin);
  const auto end = page.find("\n## ", middle);
  ASSERT_NE(end, std::string::npos);
  Keys of_line;
  for (const auto& [keys, what] : items_of(page.substr(begin, middle - begin))) {
    of_line.merge(quoted_in(keys));
    of_line.merge(quoted_in(what));
  }
  Keys wanted = keys_in<RunProgress>(kInStream);
  wanted.merge(keys_in<JobProgress>(kInStream));
  wanted.insert({"jobs", "state", "interval"});
  EXPECT_EQ(of_line, wanted);
  Keys of_interval;
  for (const auto& [keys, what] : items_of(page.substr(middle, end - middle))) {
    of_interval.merge(quoted_in(keys));
    if (keys == "`tcp`") {
      EXPECT_EQ(quoted_in(what), keys_in<TcpSample>(kInStream));
    }
  }
  Keys all = keys_in<IntervalResult>(kInStream);
  all.insert("tcp");
  EXPECT_EQ(of_interval, all);
}

/// One member for each way to add.
struct Part {
  std::uint64_t count = 0, greatest = 0, newest = 0, kept = 0;
  double seconds = 0;
  std::optional<std::uint64_t> known{};
  std::optional<double> slowest{};
  bool any = false, all = true;
  std::string first{};
  bool operator==(const Part&) const = default;
};

}  // namespace
}  // namespace shmif::perf::figure_rows

namespace shmif::perf {
using figure_rows::Part;
template <>
inline constexpr auto kRowsOf<Part> = rows_of<Part>({
    {"count", &Part::count, Sum::add},
    {"greatest", &Part::greatest, Sum::greatest},
    {"newest", &Part::newest, Sum::newest},
    {"kept", &Part::kept, Sum::none},
    {"seconds", &Part::seconds, Sum::add},
    {"known", &Part::known, Sum::add},
    {"slowest", &Part::slowest, Sum::greatest},
    {"any", &Part::any, Sum::any},
    {"all", &Part::all, Sum::all},
    {"first", &Part::first, Sum::first},
});
}  // namespace shmif::perf

namespace shmif::perf::figure_rows {
namespace {

TEST(FigureRows, SayHowEachFigureOfAWholeFollowsFromItsParts) {
  Part sum{.count = 1, .greatest = 7, .newest = 3, .kept = 4, .seconds = 0.5, .known = 2};
  add_figures(sum, {.count = 10,
                    .greatest = 5,
                    .newest = 2,
                    .kept = 9,
                    .seconds = 0.25,
                    .known = 30,
                    .slowest = 1.5,
                    .any = true,
                    .all = true,
                    .first = "one"});
  EXPECT_EQ(sum, (Part{11, 7, 2, 4, 0.75, 32, 1.5, true, true, "one"}));
  // What is not known for one of them is not known, and the slowest is the slowest that is known.
  add_figures(sum, {.greatest = 8, .all = false, .first = "two"});
  EXPECT_EQ(sum, (Part{11, 8, 0, 4, 0.75, std::nullopt, 1.5, true, false, "one"}));
  // Growth is that of counts alone, and never below 0.
  EXPECT_EQ(grown_since(Part{.count = 3, .greatest = 5, .newest = 6},
                        Part{.count = 10, .greatest = 4, .newest = 9}),
            (Part{.count = 7, .greatest = 4, .newest = 9}));
  EXPECT_EQ(grown_since(Part{.count = 3}, Part{.count = 2}).count, 0U);
}

TEST(FigureRows, AreTheSameBehindSharedMemoryAsBefore) {
  SharedFigures<Part> shared;
  EXPECT_EQ(shared.get().known, std::nullopt) << "before it is set";
  const Part part{1, 2, 3, 4, 0.1, 0, 0, true, false, {}};
  shared.set(part);
  EXPECT_EQ(shared.get(), part);
  shared.set({});
  EXPECT_EQ(shared.get(), Part{});
}

}  // namespace

}  // namespace shmif::perf::figure_rows

namespace shmif::perf::figures_json {

// In a result as JSON, each key holds the figure that it is named for, and the test knows each key.

namespace {

using Json = nlohmann::json;
using test::Figures;

/// The figures of the sample: of the first job and the first group all, and of the others what
/// stands at their top. Without the sentences about what went wrong, which distinct.txt has.
Figures shown() {
  Figures all = test::flattened(Json::parse(to_json(test::distinct_sample().run, Bins::with)));
  std::erase_if(all, [](const auto& figure) {
    const std::string& place = figure.first;
    const auto has = [&](const char* part) { return place.find(part) != std::string::npos; };
    const bool of_list = place.starts_with("jobs.") || place.starts_with("groups.");
    const bool is_first = place.starts_with("jobs.0.") || place.starts_with("groups.0.");
    return place.starts_with("warnings.") || has(".problems.") ||
           (has(".bins.") && !place.starts_with("jobs.0.latency_ns.")) ||
           (of_list && !is_first && std::ranges::count(place, '.') > 2);
  });
  return all;
}

/// The numbers were compared with the members that they are of. In a changed file, look at each:
/// where a row has another figure's member, the test below finds a number twice.
TEST(JsonFigures, EachKeyHoldsTheFigureThatItIsNamedForAndNoneIsUnknown) {
  const Json known = Json::parse(
      std::ifstream(shmif::test::in_source("tests/perf/report/distinct_json.txt")), nullptr, false);
  Figures wanted;
  for (const auto& [place, figures] : known.items()) {
    for (const auto& [key, value] : figures.items()) {
      wanted[place.empty() ? key : place + '.' + key] = value;
    }
  }
  const Figures figures = shown();
  test::expect_figures(wanted, figures);
  if (!HasFailure()) return;
  std::map<std::string, Json> lines;
  for (const auto& [place, value] : figures) {
    const std::size_t dot = place.rfind('.');
    lines[dot == std::string::npos ? "" : place.substr(0, dot)][place.substr(dot + 1)] = value;
  }
  std::string text;
  for (const auto& [place, of] : lines) {
    text += (text.empty() ? "{" : ",\n ") + Json(place).dump() + ": " + of.dump();
  }
  ADD_FAILURE() << "distinct_json.txt would be:\n" << text << "}\n";
}

TEST(JsonFigures, NoTwoNumbersOfTheSampleAreAlikeAndNoneIsNothing) {
  std::map<double, std::string> places;
  for (const auto& [place, value] :
       test::flattened(Json::parse(to_json(test::distinct_sample().run, Bins::without)))) {
    if (place.ends_with("_reason")) continue;  // what is there needs none
    // The jitter of a job is the greatest of its flows'.
    if (place.ends_with(".loss.jitter_ns") && place.starts_with("jobs.")) continue;
    EXPECT_FALSE(value.is_null() || value.is_structured()) << place;
    if (!value.is_number()) continue;
    EXPECT_NE(value.get<double>(), 0) << place;
    const auto [other, is_new] = places.try_emplace(value.get<double>(), place);
    EXPECT_TRUE(is_new) << place << " and " << other->second << " are " << value;
  }
  EXPECT_GT(places.size(), 1000U);
}

}  // namespace

}  // namespace shmif::perf::figures_json
