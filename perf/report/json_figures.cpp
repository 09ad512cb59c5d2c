#include "perf/report/json_figures.hpp"

namespace shmif::perf {

OrderedJson json_number(std::optional<double> value) {
  return value && std::isfinite(*value) ? OrderedJson(*value) : OrderedJson(nullptr);
}

OrderedJson json_integer(std::optional<std::uint64_t> value) {
  return value ? OrderedJson(*value) : OrderedJson(nullptr);
}

OrderedJson json_integer(std::optional<int> value) {
  return value ? OrderedJson(*value) : OrderedJson(nullptr);
}

OrderedJson json_text(const std::string& value) {
  return value.empty() ? OrderedJson(nullptr) : OrderedJson(value);
}

void put_or_reason(OrderedJson& into, const std::string& key, OrderedJson value,
                   const char* reason) {
  const bool missing = value.is_null();
  into[key] = std::move(value);
  into[key + "_reason"] = missing ? OrderedJson(reason) : OrderedJson(nullptr);
}

}  // namespace shmif::perf
