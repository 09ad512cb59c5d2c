#include <string>
#include <string_view>
#include <system_error>

#include "tools/common/module.hpp"
#include "tools/page/http_server.hpp"

namespace shmif::tools {

namespace {

const HttpModule& http_module() {
  static const HttpModule& loaded =
      load_module<HttpModule>({.file = "shmifctl_page.so",
                               .table = "shmifctl_page",
                               .what = "the part of shmifctl that serves pages",
                               .libraries = "cpp-httplib (Debian's package libcpp-httplib0.11)",
                               .detour = "./"},
                              SHMIFCTL_PAGE_INTERFACE);
  return loaded;
}

}  // namespace

const std::string* only_value(const HttpFields& fields, std::string_view name) noexcept {
  const std::string* found = nullptr;
  for (const auto& [each, value] : fields) {
    if (each != name) continue;
    if (found != nullptr) return nullptr;
    found = &value;
  }
  return found;
}

Result<std::unique_ptr<HttpServer>> serve_http(UniqueFd listener, HttpSite site) {
  try {
    return http_module().serve(std::move(listener), std::move(site));
  } catch (const Exception& error) {
    return Error(error.code(), error.what());
  } catch (const std::system_error& error) {
    return Error(error.code(), std::string("cannot start a thread: ") + error.what() +
                                   " (ulimit -u shows the limit)");
  }
}

}  // namespace shmif::tools
