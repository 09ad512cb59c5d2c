#pragma once
// Faults for planted.cpp. The folder has a name that .clang-tidy counts among ours.

#include <map>
#include <string>
#include <vector>

struct PlantedBase {
  virtual ~PlantedBase() {}  // finds modernize-use-equals-default
  virtual int kind() const { return 0; }
};
struct PlantedDerived : PlantedBase {
  virtual int kind() const { return 1; }  // finds modernize-use-override
};

int planted_count = 3;  // finds misc-definitions-in-headers

int planted_twice(int first);  // finds readability-inconsistent-declaration-parameter-name
int planted_twice(int last);
std::size_t planted_text(std::string text, const std::string& other);
int planted_copy(std::map<int, int> numbers);
bool planted_equal(const char* one, const char* other);

template <typename T>
int planted_template(const T& value, int unused) {  // finds misc-unused-parameters
  if (value.size() == 0) return 1;
  return 0;
}
