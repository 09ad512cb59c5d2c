// docs/lab.schema.json and the reader know the same keys.

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "tests/support/run_tool.hpp"
#include "tools/lab/keys.hpp"

namespace shmif::test {
namespace {

using nlohmann::json;
using tools::LabKey;
using tools::LabTable;
using tools::ValueKind;

json lab_schema() {
  std::ifstream file(in_source("docs/lab.schema.json"));
  return json::parse(file);
}

/// The types of JSON for the kinds that a key takes.
std::set<std::string> types_of(const LabKey& key) {
  const auto takes = [&](ValueKind kind) { return (key.kinds & static_cast<unsigned>(kind)) != 0; };
  std::set<std::string> types;
  if (takes(ValueKind::text)) types.insert("string");
  if (takes(ValueKind::integer)) types.insert("integer");
  if (takes(ValueKind::real)) types.insert("number");
  if (takes(ValueKind::boolean)) types.insert("boolean");
  if (takes(ValueKind::list)) types.insert("array");
  if (takes(ValueKind::table)) types.insert("object");
  return types;
}

void expect_same_keys(const LabTable& table, const json& definition) {
  SCOPED_TRACE(table.name);
  EXPECT_EQ(definition["additionalProperties"], false);
  std::set<std::string> in_schema;
  for (const auto& [name, value] : definition["properties"].items()) in_schema.insert(name);
  for (const LabKey& key : table.keys) {
    EXPECT_EQ(in_schema.erase(key.name), 1U) << key.name << " is not in the schema";
    const json& row = definition["properties"][key.name];
    EXPECT_EQ(row["description"], key.text) << key.name;
    std::set<std::string> types;
    if (row["type"].is_string()) {
      types.insert(row["type"].get<std::string>());
    } else {
      for (const json& each : row["type"]) types.insert(each.get<std::string>());
    }
    EXPECT_EQ(types, types_of(key)) << key.name;
  }
  EXPECT_TRUE(in_schema.empty()) << *in_schema.begin() << " is only in the schema";
}

TEST(LabSchema, HasTheKeysOfTheReader) {
  const json schema = lab_schema();
  expect_same_keys(tools::kLabKeys, schema);
  for (const LabTable* const table : {&tools::kBusKeys, &tools::kHostKeys, &tools::kCaptureKeys,
                                      &tools::kGatewayKeys, &tools::kPerfKeys, &tools::kEventKeys,
                                      &tools::kTestKeys, &tools::kFileKeys, &tools::kMachineKeys}) {
    ASSERT_TRUE(schema["definitions"].contains(table->name)) << table->name;
    expect_same_keys(*table, schema["definitions"][table->name]);
  }
  EXPECT_EQ(schema["definitions"].size(), 9U);
}

// An editor with the schema says the same of a file as `check`.
TEST(LabSchema, TakesTheExamplesAndRefusesAWrongKey) {
  const std::string script = R"(
import json, pathlib, sys, tomllib
import jsonschema
schema = json.load(open(sys.argv[1] + "/docs/lab.schema.json"))
labs = sorted(pathlib.Path(sys.argv[1], "examples/labs").glob("*.toml"))
assert labs
for lab in labs:
    document = tomllib.loads(lab.read_text())
    jsonschema.validate(document, schema)
    next(iter(document["host"].values()))["gatway"] = "x"
    try:
        jsonschema.validate(document, schema)
    except jsonschema.ValidationError:
        continue
    sys.exit(f"{lab}: a wrong key is taken")
print("valid")
)";
  const ToolResult result = run_program({SHMIF_PYTHON, "-c", script, in_source("")});
  EXPECT_EQ(result.out, "valid\n") << result.err;
}

}  // namespace
}  // namespace shmif::test
