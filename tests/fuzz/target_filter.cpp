#include <netdb.h>

#include "shmif/filter.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"

// A word in an expression may be the name of a host. Nobody is asked for those here.
extern "C" {
int getaddrinfo(const char*, const char*, const addrinfo*, addrinfo**) {
  return EAI_NONAME;
}
hostent* gethostbyname(const char*) {
  return nullptr;
}
netent* getnetbyname(const char*) {
  return nullptr;
}
int getnetbyname_r(const char*, netent*, char*, size_t, netent** result, int* why) {
  *result = nullptr;
  *why = HOST_NOT_FOUND;
  return 0;
}
}

namespace shmif::fuzz {

void filter(Bytes bytes) {
  const std::string expression(bytes.begin(), bytes.end());
  const std::string_view name = name_in_filter(expression);
  require(name.empty() || expression.find(name) != std::string::npos, "a name from elsewhere");
  const auto compiled = FrameFilter::compile(expression);
  if (!compiled) {
    require(compiled.error().message.size() > expression.size(), "a refusal without a reason");
    return;
  }
  std::array<std::byte, 80> payload{};
  for (const unsigned type : {0x00U, 0x06U, 0xddU}) {
    payload[12] = type == 0xdd ? std::byte{0x86} : std::byte{0x08};
    payload[13] = static_cast<std::byte>(type);
    for (std::size_t size = 14; size <= payload.size(); size += 11) {
      static_cast<void>(compiled->matches(FrameView(payload.data(), size)));
    }
  }
}

}  // namespace shmif::fuzz
