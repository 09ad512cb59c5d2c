#include "tools/page/page_json.hpp"

#include <nlohmann/json.hpp>

namespace shmif::tools {

std::string page_json(const Json& json) {
  return json.dump(-1, ' ', true, Json::error_handler_t::replace) + '\n';
}

}  // namespace shmif::tools
