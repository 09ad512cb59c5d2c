// The reader of JSON that others wrote: what it accepts is what the libraries accept, and what it
// costs follows from the length of the text.

#include <gtest/gtest.h>
#include <malloc.h>

#include <cstddef>
#include <functional>
#include <initializer_list>
#include <utility>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>

#include "perf/report/json_reader.hpp"
#include "tests/perf/remote/served_sample.hpp"

namespace shmif::perf::json_reader {
namespace {

using Json = nlohmann::json;

/// Results of all kinds.
std::vector<std::string> results() {
  std::vector<std::string> all{test::served_sample_json()};
  for (const std::string& name : test::sample_names()) {
    all.push_back(to_json(test::sample_named(name), Bins::with));
  }
  return all;
}

/// `begin`, `count` times `item` with commas between them, and `end`.
std::string list_of(const std::string& begin, const std::string& item, std::size_t count,
                    const std::string& end) {
  std::string text = begin;
  for (std::size_t i = 0; i < count; ++i) text += (i == 0 ? "" : ",") + item;
  return text + end;
}

TEST(JsonReader, ReadsWhatTheLibraryReads) {
  for (const std::string& result : results()) {
    const Json expected = Json::parse(result);
    EXPECT_EQ(read_json(result).value(), expected);
    EXPECT_EQ(read_json(expected.dump()).value(), expected) << "without white space";
  }
  for (const char* text : {"7", "-7", "1.5e3", "null", "[]", "{}", "\"\\u00e9\"", "[[],[[1],2],{}]",
                           R"({"a":1,"b":{"a":[true,false]},"a":2})", " [ 1 , \"\" ] "}) {
    EXPECT_EQ(read_json(text).value(), Json::parse(text)) << text;
  }
  for (const char* text : {"", " ", "[", "]", "[1,]", "{\"a\"}", "{\"a\":}", "01", "nul",
                           "\"\xff\"", "{} {}", "[1 2]", "{\"a\":1,}", "'a'", "[\"\n\"]"}) {
    const auto read = read_json(text);
    ASSERT_FALSE(read) << text;
    EXPECT_EQ(read.error().message.find("it is not JSON ("), 0U) << read.error().message;
  }
}

TEST(JsonReader, NeedsNoMoreMemoryThanSixteenTimesTheText) {
  constexpr std::size_t kItems = 60'000;
  for (const char* item :
       {"{}", "[]", "\"\"", "0", "\"a\"", "[0]", "[[],[]]", R"({"a":0})", R"({"a":{}})",
        R"({"a":"b"})", "\"a text of more than fifteen bytes\"", R"(["bs","64"])",
        R"({"a name of more than fifteen bytes":0})", "1234567890.5"}) {
    const std::string text = list_of("[", item, kItems, "]");
    const auto in_use = [] {
      const auto info = ::mallinfo2();
      return info.uordblks + info.hblkhd;
    };
    const std::size_t before = in_use();
    const auto read = read_json(text);
    const std::size_t used = in_use() - before;
    if (read) {
      EXPECT_LE(used, kMaxJsonMemory * text.size() + kFreeJsonMemory) << item;
    } else {
      EXPECT_NE(read.error().message.find("more than 16 times its length"), std::string::npos)
          << read.error().message;
      EXPECT_LE(used, kFreeJsonMemory) << item;
    }
  }
  // What is short may need more.
  EXPECT_TRUE(read_json(list_of("[", "{}", 5'000, "]")));
  EXPECT_FALSE(read_json(list_of("[", "{}", 60'000, "]")));
  EXPECT_TRUE(read_json(list_of("[", "0", 60'000, "]"))) << "the tightest form that is let through";
  // Beside much that is dear, it counts whether texts and keys are in place or in memory of their
  // own.
  const std::string dear = list_of("[", "[]", 39'000, ",");
  struct Paying {
    const char *begin, *end;
    std::size_t count;  // so many pay for the others if they are in place
  };
  for (const Paying& each :
       std::initializer_list<Paying>{{"\"", "\"", 1000}, {"{\"", "\":0}", 1350}}) {
    const auto with = [&](std::size_t bytes) {
      const std::string item = each.begin + std::string(bytes, 'x') + each.end;
      return dear + list_of("", item, each.count, "]");
    };
    EXPECT_TRUE(read_json(with(15))) << each.begin;
    EXPECT_FALSE(read_json(with(16))) << each.begin;
  }
}

// Were its time quadratic, it would be killed by the time limit of tests.
TEST(JsonReader, TakesTimeInProportionToTheText) {
  const auto read =
      read_json(list_of("[", R"({"a_name_of_20_bytes_":"a text of twenty b"})", 250'000, "]"));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->size(), 250'000U);
}

TEST(JsonReader, HasLimitsOfDepthAndValues) {
  EXPECT_TRUE(read_json(std::string(8, '[') + std::string(8, ']'), {.max_depth = 8}));
  const auto deep = read_json(std::string(9, '[') + std::string(9, ']'), {.max_depth = 8});
  ASSERT_FALSE(deep);
  EXPECT_EQ(deep.error().message, "it is nested deeper than 8 levels");
  EXPECT_TRUE(read_json("[1,2,[3]]", {.max_values = 5}));
  const auto many = read_json("[1,2,[3,4]]", {.max_values = 5});
  ASSERT_FALSE(many);
  EXPECT_EQ(many.error().message, "it has more than 5 values");
  EXPECT_FALSE(read_json(std::string(1U << 20U, '[')));
}

TEST(JsonReader, EndsWhenItIsTold) {
  const std::string text = '"' + std::string(1U << 20U, 'x') + '"';
  int asked = 0;
  EXPECT_TRUE(read_json(text, {.stop = [&] { return ++asked > 1000; }}));
  EXPECT_EQ(asked, 16) << "once in 64 KiB";
  asked = 0;
  const auto stopped = read_json(text, {.stop = [&] { return ++asked == 3; }});
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, Errc::interrupted);
  EXPECT_EQ(asked, 3);
}

TEST(JsonReader, ReadsALongResultOfManyShortIntervals) {
  Json json = Json::parse(to_json(test::quiet_sample(), Bins::with));
  Json& intervals = json.at("jobs").at(0).at("intervals");
  const Json one = intervals.at(0);
  for (int i = 0; i < 5'000; ++i) intervals.push_back(one);
  const auto report = Report::parse(json.dump(), "long");
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->json(), json);
}

// ---- The schema ----

JsonSchema schema() {
  return JsonSchema::make(Json::parse(schema_text())).value();
}

/// Another implementation of JSON Schema.
class Witness {
 public:
  Witness() {
    const Json document = Json::parse(schema_text());
    valijson::SchemaParser(valijson::SchemaParser::kDraft7)
        .populateSchema(valijson::adapters::NlohmannJsonAdapter(document), schema_);
  }
  bool accepts(const Json& json) const {
    valijson::Validator validator(valijson::Validator::kStrongTypes);
    return validator.validate(schema_, valijson::adapters::NlohmannJsonAdapter(json), nullptr);
  }

 private:
  valijson::Schema schema_;
};

/// Calls `change` with some values of `json`, of all kinds and depths, and undoes each change.
void with_changes(Json& json, const std::function<void(Json&)>& change,
                  const std::function<void()>& look) {
  constexpr std::size_t kChanges = 20;
  std::size_t at = 0;
  const auto paths = json.flatten();
  const std::size_t step = 1 + paths.size() / kChanges;
  for (const auto& [path, leaf] : paths.items()) {
    if (at++ % step != 0) continue;
    Json::json_pointer place(path);
    for (std::size_t up = at / step % 3; up > 0 && !place.empty(); --up) place.pop_back();
    Json& value = json.at(place);
    const Json before = value;
    change(value);
    look();
    value = before;
  }
}

TEST(EachSample, IsAsTheSchemaHasItForTwoImplementationsAndReadAsItIsWritten) {
  const Witness witness;
  for (const std::string& result : results()) {
    const Json json = Json::parse(result);
    EXPECT_TRUE(witness.accepts(json)) << result;
    const auto report = Report::parse(result, "sample");
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_EQ(report->json(), json);
  }
}

TEST(JsonSchema, AgreesWithAnotherImplementation) {
  const JsonSchema ours = schema();
  const Witness witness;
  const std::vector<std::function<void(Json&)>> changes{
      [](Json& value) { value = nullptr; },
      [](Json& value) { value = -1; },
      [](Json& value) { value = 0.5; },
      [](Json& value) { value = "text"; },
      [](Json& value) { value = true; },
      [](Json& value) {
        if (value.is_object() && !value.empty()) value.erase(value.begin());
        if (value.is_array()) value.push_back(value.empty() ? Json() : value.at(0));
      },
      [](Json& value) {
        if (value.is_object()) value["unknown"] = 1;
        if (value.is_array() && !value.empty()) value.erase(0);
      }};
  std::size_t number = 0;
  const std::vector<std::string> some{test::served_sample_json(),
                                      to_json(test::sample_named("distinct"), Bins::without)};
  std::size_t refused = 0;
  std::size_t accepted = 0;
  for (const std::string& result : some) {
    Json json = Json::parse(result);
    EXPECT_EQ(ours.complaint(json), "");
    EXPECT_TRUE(witness.accepts(json));
    const auto change = [&](Json& value) { changes[number++ % changes.size()](value); };
    with_changes(json, change, [&] {
      const std::string complaint = ours.complaint(json);
      EXPECT_EQ(complaint.empty(), witness.accepts(json)) << complaint;
      ++(complaint.empty() ? accepted : refused);
    });
  }
  EXPECT_GT(refused, 10U);
  EXPECT_GT(accepted, 3U);
}

TEST(JsonSchema, NamesThePlaceAndWhatIsWrongThere) {
  const auto why = [](const char* rules, const char* json) {
    return JsonSchema::make(Json::parse(rules)).value().complaint(Json::parse(json));
  };
  constexpr const char* kRules = R"({"type": "object", "required": ["a"], "properties": {
      "a": {"type": ["integer", "null"], "minimum": 2, "maximum": 4},
      "b": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"$ref": "#/definitions/c"}},
      "d": {"oneOf": [{"type": "null"}, {"$ref": "#/definitions/c"}, {"type": "integer"}]},
      "e": {"additionalProperties": {"type": "number"}}},
      "additionalProperties": false,
      "definitions": {"c": {"type": "object", "required": ["x"],
                            "properties": {"x": {"enum": ["y", 1]}}}}})";
  EXPECT_EQ(why(kRules, R"({"a":2,"b":[{"x":"y"},{"x":1}],"d":null,"e":{"f":1.5}})"), "");
  EXPECT_EQ(why(kRules, "[]"), "it is not object");
  EXPECT_EQ(why(kRules, "{}"), "it has no \"a\"");
  EXPECT_EQ(why(kRules, R"({"a":1})"), "/a: it is less than 2.0");
  EXPECT_EQ(why(kRules, R"({"a":5})"), "/a: it is more than 4.0");
  EXPECT_EQ(why(kRules, R"({"a":2.5})"), "/a: it is not null or integer");
  EXPECT_EQ(why(kRules, R"({"a":2,"b":[]})"), "/b: it has 0 items");
  EXPECT_EQ(why(kRules, R"({"a":2,"b":[{"x":1},{"x":2}]})"),
            "/b/1/x: it has another value than those that are allowed");
  EXPECT_EQ(why(kRules, R"({"a":2,"d":{"x":2}})"),
            "/d/x: it has another value than those that are allowed")
      << "of the form that fits furthest";
  EXPECT_EQ(why(kRules, R"({"a":2,"d":"x"})"), "/d: it has none of the allowed forms");
  EXPECT_EQ(why(kRules, R"({"a":2,"e":{"f\u001b":""}})"), "/e/f?: it is not number");
  EXPECT_EQ(why(kRules, R"({"a":2,"f":1})"), "/f: a key of that name is not in it");
  EXPECT_EQ(why(R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", "1"),
            "it has two of the forms of which one is allowed");
}

TEST(JsonSchema, IsNotMadeOfWhatItDoesNotKnow) {
  for (const char* rules : {R"({"properties":{"a":{"pattern":"x"}}})", R"({"type":"text"})",
                            R"({"$ref":"other.json"})", R"({"$ref":"#/definitions/a"})"}) {
    const auto made = JsonSchema::make(Json::parse(rules));
    ASSERT_FALSE(made) << rules;
    EXPECT_EQ(made.error().message.find("cannot use a schema: "), 0U);
  }
}

}  // namespace
}  // namespace shmif::perf::json_reader
